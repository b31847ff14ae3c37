"""The oracle against llama.cpp, and its filters against cases worked by hand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from math import log
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import numpy.typing as npt
import pytest
from support.tiny_gguf import tiny_vocabulary, write_tiny_gguf

from selar_local.llama import library

from .methods import (
    Filters,
    Selar,
    cot,
    draw,
    filtered_distribution,
    normalised_entropy,
    selar,
    selar_step,
    soft_vector,
    soft_weights,
)
from .together import Together
from .transformer import Raw, Transformer
from .weights import FLAVOURS, Array, Weights

M_ROPE_TYPES = (8, 40)
TOLERANCE = 1e-3
# ggml rounds Gemma's GELU to half precision. A gate that lies on a rounding boundary is rounded differently
# after float32 and after float64 arithmetic, which moves logits by up to 4e-3 (seen over 20 seeds).
GEMMA_TOLERANCE = 1e-2
PROMPT = [40, 71, 300, 5, 260, 17, 270, 33, 282, 90, 111, 64, 301, 12, 8, 199, 254, 305, 290, 77, 261, 50, 3]
DECODED = [281, 66, 9, 310, 128]


class LlamaCpp:
    """One model and one float32 context of llama.cpp, fed by hand."""

    def __init__(self, path: Path) -> None:
        library.start()
        self.model = lib.llama_model_load_from_file(str(path).encode(), lib.llama_model_default_params())
        assert self.model is not None
        options = lib.llama_context_default_params()
        options.n_ctx = options.n_batch = options.n_ubatch = 64
        options.n_threads = options.n_threads_batch = 1
        options.type_k = options.type_v = 0  # GGML_TYPE_F32
        options.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = lib.llama_init_from_model(self.model, options)
        assert self.context is not None
        self.n_vocab = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self.model))
        self.uses_m_rope = lib.llama_model_rope_type(self.model) in M_ROPE_TYPES
        self.n_past = 0

    def close(self) -> None:
        lib.llama_free(self.context)
        lib.llama_model_free(self.model)

    def decode_tokens(self, ids: Sequence[int]) -> Array:
        """Feed ids, return the last one's logits."""
        # The batch only points at its arrays: a name keeps each alive.
        tokens = (lib.llama_token * len(ids))(*ids)
        batch = lib.llama_batch_get_one(tokens, len(ids))
        assert lib.llama_decode(self.context, batch) == 0
        self.n_past += len(ids)
        return self._logits()

    def decode_row(self, row: npt.NDArray[np.float32]) -> Array:
        """Feed one embedding as it is, return its logits."""
        position = self.n_past
        # An M-RoPE model reads four positions for each embedding.
        numbers = [position, position, position, 0] if self.uses_m_rope else [position]
        positions = (lib.llama_pos * len(numbers))(*numbers)
        values = np.ascontiguousarray(row, np.float32)
        batch = lib.llama_batch(
            n_tokens=1,
            token=None,
            embd=values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            pos=positions,
            n_seq_id=None,
            seq_id=None,
            logits=None,
        )
        assert lib.llama_decode(self.context, batch) == 0
        self.n_past += 1
        return self._logits()

    def _logits(self) -> Array:
        pointer = lib.llama_get_logits_ith(self.context, -1)
        return np.ctypeslib.as_array(pointer, (self.n_vocab,)).astype(np.float64)


@pytest.fixture(params=[*FLAVOURS, "llama-untied", "gemma3-untied"])
def model_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    architecture, _, untied = request.param.partition("-")
    return write_tiny_gguf(
        tmp_path / "model.gguf", architecture=architecture, n_layer=3, seed=5, tie_embeddings=not untied
    )


@pytest.fixture
def reference(model_path: Path) -> Iterator[LlamaCpp]:
    llama = LlamaCpp(model_path)
    yield llama
    llama.close()


def test_logits_equal_llama_cpp(model_path: Path, reference: LlamaCpp) -> None:
    transformer = Transformer(Weights.load(model_path))
    tolerance = GEMMA_TOLERANCE if transformer.is_gemma else TOLERANCE
    cache = transformer.new_cache()

    def compare(inputs: Sequence[int | Array], expected: Array) -> None:
        actual = transformer.forward(inputs, cache)
        np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=tolerance)

    compare(PROMPT, reference.decode_tokens(PROMPT))
    for token in DECODED:
        compare([token], reference.decode_tokens([token]))
    vector = np.array([0.8, 0.5, -0.3]) @ transformer.rows[[280, 70, 30]]
    # llama.cpp scales Gemma's tokens and leaves embeddings alone, so the caller scales them.
    row = vector.astype(np.float32) * np.float32(transformer.embedding_scale)
    compare([vector], reference.decode_row(row))
    compare(DECODED[:1], reference.decode_tokens(DECODED[:1]))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Transformer:
    path = tmp_path_factory.mktemp("small") / "model.gguf"
    return Transformer(Weights.load(write_tiny_gguf(path)))


def test_a_row_equals_its_token_and_chunks_equal_the_whole(small: Transformer) -> None:
    whole = small.forward(PROMPT, small.new_cache())
    cache = small.new_cache()
    small.forward([small.rows[PROMPT[0]], *PROMPT[1:9]], cache)
    np.testing.assert_allclose(small.forward(PROMPT[9:], cache), whole, atol=1e-10)


def test_a_copied_cache_is_independent(small: Transformer) -> None:
    cache = small.new_cache()
    small.forward(PROMPT, cache)
    twin = cache.copy()
    first = small.forward([7], cache)
    small.forward([8, 9], twin)
    assert (len(cache), len(twin)) == (len(PROMPT) + 1, len(PROMPT) + 2)
    twin = small.new_cache()
    small.forward(PROMPT, twin)
    np.testing.assert_allclose(small.forward([7], twin), first, atol=1e-10)


# Four logits whose probabilities at temperature 1 are 0.4, 0.3, 0.2 and 0.1, by id: 1, 3, 0, 2.
LOGITS = np.log([0.2, 0.4, 0.1, 0.3])


@pytest.mark.parametrize(
    ("filters", "ids", "probabilities"),
    [
        (Filters(1.0, 0, 1.0, 0.0), [1, 3, 0, 2], [0.4, 0.3, 0.2, 0.1]),
        (Filters(1.0, 3, 1.0, 0.0), [1, 3, 0], [4 / 9, 3 / 9, 2 / 9]),
        # The sums are 0.4, 0.7, 0.9: the third is the first beyond 0.75.
        (Filters(1.0, 0, 0.75, 0.0), [1, 3, 0], [4 / 9, 3 / 9, 2 / 9]),
        # After top_k 3 they are 0.444, 0.778, so two tokens are enough.
        (Filters(1.0, 3, 0.75, 0.0), [1, 3], [4 / 7, 3 / 7]),
        # 0.6 of 0.4 is 0.24: 0.3 stays, 0.2 goes.
        (Filters(1.0, 0, 1.0, 0.6), [1, 3], [4 / 7, 3 / 7]),
        # Half the temperature squares the probabilities: 16, 9, 4, 1 of 30.
        (Filters(0.5, 0, 1.0, 0.0), [1, 3, 0, 2], [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        # The sums are 16/30 and 25/30: top_p 0.8 keeps two, and min_p 0.6 of 16/25 (0.384) drops 9/25.
        (Filters(0.5, 0, 0.8, 0.6), [1], [1.0]),
    ],
)
def test_filters(filters: Filters, ids: list[int], probabilities: list[float]) -> None:
    kept, shares = filtered_distribution(LOGITS, filters)
    assert kept.tolist() == ids
    np.testing.assert_allclose(shares, probabilities, rtol=1e-12)


def test_equal_logits_keep_the_lower_ids() -> None:
    kept, shares = filtered_distribution(np.array([1.0, 2.0, 2.0, 2.0]), Filters(1.0, 2, 1.0, 0.0))
    assert (kept.tolist(), shares.tolist()) == ([1, 2], [0.5, 0.5])


@pytest.mark.parametrize(("uniform", "token"), [(None, 1), (0.0, 1), (0.39, 1), (0.41, 3), (0.89, 0), (0.95, 2)])
def test_draw_takes_the_first_token_whose_sum_exceeds_the_number(uniform: float | None, token: int) -> None:
    assert draw(*filtered_distribution(LOGITS, Filters(1.0, 0, 1.0, 0.0)), uniform) == token


def test_normalised_entropy() -> None:
    assert normalised_entropy(np.full(3, 0.2), 3) == pytest.approx(1.0)
    assert normalised_entropy(np.array([0.7]), 3) == 0.0
    # Two equal halves among three places.
    assert normalised_entropy(np.array([0.4, 0.4]), 3) == pytest.approx(log(2) / log(3))
    # Only the two largest count: 3/4 and 1/4.
    expected = -(0.75 * log(0.75) + 0.25 * log(0.25)) / log(2)
    assert normalised_entropy(np.array([0.2, 0.6, 0.1, 0.1]), 2) == pytest.approx(expected)


def test_contrast_at_an_even_mix_of_three_makes_the_first_weight_a_third_negative() -> None:
    shares = np.full(3, 1 / 3)
    np.testing.assert_allclose(soft_weights(shares, 1.0), [-1 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(soft_vector(shares, np.eye(3), 1.0), [-1 / 3, 2 / 3, 2 / 3])


def test_gate_and_guard() -> None:
    filters, rows = Filters(1.0, 0, 1.0, 0.0), np.eye(4)
    open_step = selar_step(LOGITS, rows, filters, Selar(tau=0.9), 0.8)
    assert open_step.explored
    assert (open_step.token, open_step.ids.tolist()) == (0, [1, 3, 0])
    assert open_step.weights is not None and open_step.vector is not None
    np.testing.assert_allclose(open_step.vector[open_step.ids], open_step.weights)
    assert not selar_step(LOGITS, rows, filters, Selar(tau=0.98), 0.8).explored
    assert not selar_step(LOGITS, rows, filters, Selar(tau=0.9, guarded=frozenset({0})), 0.8).explored
    # One token is left after top_k 1, so only the unfiltered distribution opens the gate.
    narrow = Filters(1.0, 1, 1.0, 0.0)
    assert not selar_step(LOGITS, rows, narrow, Selar(tau=0.9), None).explored
    full = selar_step(LOGITS, rows, narrow, Selar(tau=0.9, gate_on="full"), None)
    assert full.entropy == pytest.approx(open_step.entropy)
    assert full.vector is not None
    np.testing.assert_allclose(full.vector, rows[1])


def test_selar_feeds_vectors_and_cot_feeds_tokens(small: Transformer) -> None:
    steps = list(selar(small, PROMPT, 12))
    assert {step.explored for step in steps} == {True, False}
    cache = small.new_cache()
    inputs: list[Any] = list(PROMPT)
    for step in steps:
        np.testing.assert_allclose(step.logits, small.forward(inputs, cache), atol=1e-9)
        inputs = [step.token if step.vector is None else step.vector]

    plain = list(cot(small, PROMPT, 12))
    texts = [list(PROMPT) + [step.token for step in plain[:count]] for count in range(12)]
    assert [step.token for step in plain] == [int(small.forward(text, small.new_cache()).argmax()) for text in texts]
    assert not any(step.explored for step in plain)
    never = list(selar(small, PROMPT, 12, settings=Selar(tau=1.1)))
    assert [step.token for step in never] == [step.token for step in plain]


def test_an_end_token_is_yielded_and_ends_the_text(small: Transformer) -> None:
    uniforms = [0.3, 0.7, 0.1, 0.9, 0.5]
    tokens = [step.token for step in selar(small, PROMPT, 5, uniforms=uniforms)]
    ended = [step.token for step in selar(small, PROMPT, 5, uniforms=uniforms, end_ids={tokens[2]})]
    assert ended == tokens[: tokens.index(tokens[2]) + 1]


def test_the_vocabulary_spells_every_byte() -> None:
    vocabulary = tiny_vocabulary(thinking_tokens=True)
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens)
    assert vocabulary.tokens[-2:] == ["<think>", "</think>"]
    assert all(left + right in vocabulary.tokens for left, right in map(str.split, vocabulary.merges))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_many_texts_at_once_are_each_alone(flavour: str, tiny: Callable[..., Path]) -> None:
    together = Together(Weights.load(tiny(architecture=flavour, seed=1)))
    caches, twins = [together.new_cache() for _ in range(4)], [together.new_cache() for _ in range(4)]
    for length, cache, twin in zip((2, 16, 40, 3), caches, twins, strict=True):
        together.forward(list(range(length)), cache)
        together.forward(list(range(length)), twin)
    hidden = Raw(np.linspace(-3.0, 3.0, together.hyper.n_embd))
    for inputs in ([5, together.rows[7] - 0.3 * together.rows[9], 250, hidden], [99, 98, hidden, 97]):
        expected = [together.forward_with_hidden([item], twin) for item, twin in zip(inputs, twins, strict=True)]
        for both, own in zip(zip(*together.forward_each(inputs, caches), strict=True), expected, strict=True):
            for actual, alone in zip(both, own, strict=True):
                np.testing.assert_allclose(actual, alone, atol=1e-10)
