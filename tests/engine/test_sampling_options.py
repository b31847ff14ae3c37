"""Penalties, biases and rules for the end on an engine: they act on what is printed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

import selar_local as sl
from selar_local.errors import OptionError

WIDE: dict[str, Any] = {"raw": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "max_tokens": 30}


@pytest.fixture(scope="module")
def ends(engine: sl.Engine) -> set[int]:
    return {token for token in range(engine.info.n_vocab) if engine.is_end(token)}


@pytest.mark.parametrize("method", ["cot", "selar", "soft-thinking", "cot-greedy"])
def test_a_large_penalty_prints_no_token_twice(engine: sl.Engine, method: str) -> None:
    options: dict[str, Any] = {"presence_penalty": 100.0, "repeat_last_n": -1}
    made = engine.generate("the user", method=method, seed=1, **WIDE, **options)
    printed = [*engine.tokenize("the user"), *made.tokens]
    assert len(made.tokens) > 10 and len(set(printed)) == len(printed)
    if method == "selar":
        assert made.usage.explored_steps > 0


def test_a_bias_forces_and_forbids(engine: sl.Engine) -> None:
    (wanted,) = [token for token in engine.tokenize("x") if engine.token_bytes(token) == b"x"]
    made = engine.generate("a", method="cot", logit_bias={wanted: 1000}, **WIDE)
    assert set(made.tokens) == {wanted}
    made = engine.generate("a", method="cot", logit_bias={wanted: 1000}, json_schema={"const": "y"}, **WIDE)
    assert made.text == '"y"'  # a grammar goes first
    for seed in range(3):
        plain = engine.generate("a", method="cot", seed=seed, **WIDE).tokens
        without = engine.generate("a", method="cot", seed=seed, logit_bias=dict.fromkeys(plain, -math.inf), **WIDE)
        assert not set(plain) & set(without.tokens)


def test_log_probabilities_are_the_model_s_own(engine: sl.Engine) -> None:
    plain = engine.generate("a", method="cot", seed=1, logprobs=5, **{**WIDE, "max_tokens": 1})
    options: dict[str, Any] = {"presence_penalty": 2.0, "logit_bias": {5: 9.0}, "typical_p": 0.5}
    changed = engine.generate("a", method="cot", seed=1, logprobs=5, **{**WIDE, "max_tokens": 1}, **options)
    assert plain.logprobs[0].top == changed.logprobs[0].top


def test_no_end_before_min_tokens_and_none_with_ignore_eos(engine: sl.Engine, ends: set[int]) -> None:
    lively: dict[str, Any] = {**WIDE, "method": "cot", "logit_bias": dict.fromkeys(ends, 30.0)}
    assert all(len(engine.generate("a", seed=seed, **lively).tokens) < 15 for seed in range(3))
    for seed in range(3):
        made = engine.generate("a", seed=seed, min_tokens=20, **lively)
        assert len(made.tokens) > 20 and made.finish_reason == "stop"
        made = engine.generate("a", seed=seed, ignore_eos=True, **lively)
        assert len(made.tokens) == 30 and made.finish_reason == "length" and not set(made.tokens) & ends


def test_a_stop_token_ends_the_text_before_it(engine: sl.Engine) -> None:
    plain = engine.generate("a", method="cot", seed=2, **WIDE)
    stop = plain.tokens[4]
    first = plain.tokens.index(stop)
    made = engine.generate("a", method="cot", seed=2, stop_token_ids=[stop], **WIDE)
    assert made.tokens == plain.tokens[: first + 1] and made.finish_reason == "stop"
    assert plain.text.startswith(made.text)
    assert b"".join(map(engine.token_bytes, made.tokens[:first])).decode("utf-8", "replace") == made.text


def test_what_is_off_leaves_every_bit(engine: sl.Engine) -> None:
    off: dict[str, Any] = {
        "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "repeat_last_n": 5, "typical_p": 1.0,
        "dry_multiplier": 0.0, "xtc_probability": 0.0, "logit_bias": {}, "min_tokens": 0,
    }  # fmt: skip
    for method in ("cot", "selar"):
        plain = list(engine.stream("the user", method=method, seed=4, **WIDE))
        assert list(engine.stream("the user", method=method, seed=4, **WIDE, **off)) == plain


@pytest.mark.parametrize(
    "options",
    [{"logit_bias": {10**6: 1.0}}, {"stop_token_ids": [10**6]}, {"repeat_penalty": 0}, {"dry_base": 0.5}],
)
def test_what_the_model_does_not_have_is_refused(engine: sl.Engine, options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(options))} "):
        engine.stream("a", raw=True, **options)


def test_all_tokens_forbidden_is_refused(engine: sl.Engine) -> None:
    forbidden = dict.fromkeys(range(engine.info.n_vocab), False)
    with pytest.raises(OptionError, match="forbids every token"):
        engine.stream("a", raw=True, logit_bias=forbidden)


@pytest.fixture(scope="module")
def isolated(model: Any) -> Iterator[sl.IsolatedEngine]:
    with sl.load(model, threads=1, isolated=True) as opened:
        yield opened


def test_an_isolated_engine_says_the_same(engine: sl.Engine, isolated: sl.IsolatedEngine) -> None:
    options: dict[str, Any] = {
        "presence_penalty": 1.0, "dry_multiplier": 1.0, "dry_sequence_breakers": ["\n"], "logit_bias": {"7": False},
    }  # fmt: skip
    texts = [one.generate("the user", method="cot", seed=1, **WIDE, **options).text for one in (engine, isolated)]
    assert texts[0] == texts[1]
