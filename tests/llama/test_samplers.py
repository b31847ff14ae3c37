"""Our logits and filters beside llama.cpp's own samplers, on random logits and texts."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from selar_local.config import EngineConfig, SamplingConfig
from selar_local.llama.breakers import breakers_of
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.library import C
from selar_local.llama.model import LlamaModel
from selar_local.methods.adjustment import Adjustment, Changes
from selar_local.methods.distribution import filtered_distribution

OFF = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}
DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
SAMPLINGS = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.6, 1.0, 1.5]),
        "top_k": st.sampled_from([0, 5, 40]),
        "typical_p": st.sampled_from([1.0, 0.9, 0.5, 0.1]),
        "top_p": st.sampled_from([1.0, 0.9, 0.4]),
        "min_p": st.sampled_from([0.0, 0.05, 0.3]),
        "xtc_probability": st.sampled_from([0.0, 1.0]),
        "xtc_threshold": st.sampled_from([0.02, 0.1, 0.4]),
        "repeat_penalty": st.sampled_from([1.0, 1.1, 0.8, 2.0]),
        "presence_penalty": st.sampled_from([0.0, 1.5, -1.0]),
        "frequency_penalty": st.sampled_from([0.0, 0.4]),
        "repeat_last_n": st.sampled_from([0, 3, 64, 200]),
        "dry_multiplier": st.sampled_from([0.0, 0.8, 2.0]),
        "dry_base": st.sampled_from([1.0, 1.75, 4.0]),
        "dry_allowed_length": st.integers(0, 3),
        "dry_penalty_last_n": st.sampled_from([5, 64, 200]),
        "logit_bias": st.sampled_from([{}, {3: 4.0, 9: -2.0}]),
    }
)


@pytest.fixture(scope="module")
def model(tiny: Any) -> Iterator[LlamaModel]:
    opened = LlamaModel(open_gguf(tiny()), EngineConfig())
    yield opened
    opened.close()


def samplers(model: LlamaModel, own: SamplingConfig) -> Iterator[Any]:
    """llama.cpp's, with our place for the temperature."""
    bias = own.biases()
    entries = (C.llama_logit_bias * len(bias))(*[C.llama_logit_bias(token, value) for token, value in bias.items()])
    yield C.llama_sampler_init_logit_bias(model.n_vocab, len(bias), entries)
    yield C.llama_sampler_init_penalties(
        model.n_vocab, own.repeat_last_n, own.repeat_penalty, own.frequency_penalty, own.presence_penalty
    )
    texts = [text.encode() for text in own.dry_sequence_breakers]
    yield C.llama_sampler_init_dry(
        model.vocab, own.dry_multiplier, own.dry_base, own.dry_allowed_length, own.dry_penalty_last_n,
        (ctypes.c_char_p * len(texts))(*texts), len(texts),
    )  # fmt: skip
    yield C.llama_sampler_init_temp(own.temperature)
    yield C.llama_sampler_init_top_k(own.top_k)
    yield C.llama_sampler_init_typical(own.typical_p, 0)
    yield C.llama_sampler_init_top_p(own.top_p, 0)
    yield C.llama_sampler_init_min_p(own.min_p, 0)
    yield C.llama_sampler_init_xtc(own.xtc_probability, own.xtc_threshold, 0, 1)


def theirs(model: LlamaModel, own: SamplingConfig, text: list[int], logits: np.ndarray) -> dict[int, float]:
    """Candidates with their probabilities."""
    data = np.zeros(len(logits), DATA)
    data["id"], data["logit"] = np.arange(len(logits)), logits
    array = C.llama_token_data_array(
        data=data.ctypes.data_as(ctypes.POINTER(C.llama_token_data)), size=len(logits), selected=-1, sorted=False
    )
    for sampler in samplers(model, own):
        for token in text:
            C.llama_sampler_accept(sampler, token)
        C.llama_sampler_apply(sampler, ctypes.byref(array))
        C.llama_sampler_free(sampler)
    left = [(array.data[i].id, array.data[i].logit) for i in range(array.size)]
    powers = np.exp(np.array([logit for _, logit in left]) - max(logit for _, logit in left))
    return dict(zip([token for token, _ in left], (powers / powers.sum()).tolist(), strict=True))


def ours(model: LlamaModel, own: SamplingConfig, text: list[int], logits: np.ndarray) -> dict[int, float]:
    breakers = breakers_of(model, own.dry_sequence_breakers)
    adjusted = Adjustment.of(own, Changes(bias=own.biases(), breakers=breakers), text)
    changed = logits if adjusted is None else adjusted(logits)
    found = filtered_distribution(changed, own, xtc=own.xtc_probability > 0)
    return {i: p for i, p in zip(found.ids.tolist(), found.probs.tolist(), strict=True) if p > 0}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SAMPLINGS, st.integers(0, 2**32 - 1), st.integers(0, 150))
def test_the_distribution_is_llama_cpp_s(model: LlamaModel, options: dict[str, Any], seed: int, length: int) -> None:
    random = np.random.default_rng(seed)
    logits = (3 * random.standard_normal(model.n_vocab)).astype(np.float32)
    text = random.choice(random.integers(0, model.n_vocab, 6), length).tolist()  # of few tokens, which repeat
    own = SamplingConfig(**options)
    candidates = ours(model, replace(own, typical_p=1.0, top_p=1.0, min_p=0.0, xtc_probability=0.0), text, logits)
    all_of_them = len(candidates) == (own.top_k or model.n_vocab) and min(candidates.values()) > 1e-37
    assume(own.typical_p == 1 or all_of_them)  # with a share of 0 llama.cpp's entropy is NaN
    got, expected = ours(model, own, text, logits), theirs(model, own, text, logits)
    on_an_edge = set(got) ^ set(expected)  # a sum of shares that rounding moves over a limit
    assert len(on_an_edge) <= 1
    if not on_an_edge:
        assert got == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"typical_p": 0.3},
        {"xtc_probability": 1.0, "xtc_threshold": 0.02},
        {"dry_multiplier": 2.0},
        {"repeat_penalty": 2.0},
    ],
)
def test_each_of_them_changes_something(model: LlamaModel, options: dict[str, Any]) -> None:
    logits = (2 * np.random.default_rng(0).standard_normal(model.n_vocab)).astype(np.float32)
    text = [model.encode(" the")[0], model.encode(" user")[0]] * 4
    plain, own = SamplingConfig(**OFF), SamplingConfig(**OFF, **options)
    assert ours(model, own, text, logits) != ours(model, plain, text, logits)
    assert ours(model, own, text, logits) == pytest.approx(theirs(model, own, text, logits), abs=2e-5)


@pytest.mark.parametrize("breaker", ["\n", ":", " user", "user:", "the answer is", "é", "x" * 50, "\n\n\n"])
def test_breakers_are_found_as_llama_cpp_finds_them(model: LlamaModel, breaker: str) -> None:
    """A text that repeats itself, with the breaker at every place in turn."""
    own = SamplingConfig(**OFF, dry_multiplier=1.0, dry_sequence_breakers=(breaker,))
    before, after = model.encode("the number of the user"), model.encode("the number of")
    broken = model.encode(breaker[:40])
    logits = np.zeros(model.n_vocab, np.float32)
    for place in range(len(after) + 1):
        text = [*before, *after[:place], *broken, *after[place:]]
        assert ours(model, own, text, logits) == pytest.approx(theirs(model, own, text, logits), abs=1e-6)
