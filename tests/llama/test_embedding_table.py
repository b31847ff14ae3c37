"""Rows of the embedding matrix, against gguf's own reading of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf.quants import dequantize
from support.tiny_gguf import QuickReader, split_gguf

from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama import ggml
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.gguf_file import GgufFile, open_gguf

Tiny = Callable[..., Path]
TYPES = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]


def matrix(path: Path) -> np.ndarray:
    """The whole matrix as gguf reads it."""
    tensor = next(t for t in QuickReader(path).tensors if t.name == "token_embd.weight")
    return dequantize(tensor.data, tensor.tensor_type)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("by_ggml", [True, False])
def test_rows_of_every_type(tiny, monkeypatch, kind, by_ggml):
    if not by_ggml:
        monkeypatch.setattr(ggml, "to_float", lambda _number: None)
    path = tiny(token_embd_type=kind)
    table, wanted = EmbeddingTable(open_gguf(path)), matrix(path)
    assert table.type_name == kind.lower()
    assert (table.n_vocab, table.n_embd) == wanted.shape
    ids = np.array([0, 7, wanted.shape[0] - 1, 7, 100])
    assert np.array_equal(table.rows(ids), wanted[ids])
    row = np.empty(table.width, np.float32)
    for token in ids.tolist():
        table.row(token, row)
        assert np.array_equal(row, wanted[token])


def test_all_rows_though_few_are_remembered(tiny):
    path = tiny(token_embd_type="Q8_0")
    table, wanted = EmbeddingTable(open_gguf(path)), matrix(path)
    table._recent_limit = 3
    order = np.random.default_rng(0).integers(0, table.n_vocab, 300)
    for ids in order.reshape(60, 5):
        assert np.array_equal(table.rows(ids), wanted[ids])


def test_mixtures(tiny):
    path = tiny(token_embd_type="F16")
    table, wanted = EmbeddingTable(open_gguf(path)), matrix(path).astype(np.float64)
    ids, weights = np.array([3, 200, 9]), np.array([1.4, -0.7, 0.25])
    out = np.full(table.width, np.nan, np.float32)
    table.mix(ids, weights, out)
    assert np.allclose(out, weights @ wanted[ids], rtol=0, atol=1e-6)
    table.mix(np.array([9]), np.array([1.0]), out)
    assert np.array_equal(out, wanted[9].astype(np.float32))
    table.mix(np.array([9]), np.array([0.5]), out)
    assert np.array_equal(out, (0.5 * wanted[9]).astype(np.float32))
    table.mix(np.array([9, 9]), np.array([1.0, 0.0]), out)
    assert np.array_equal(out, wanted[9].astype(np.float32))


def test_gemma_3_scales_in_float32(tiny):
    path = tiny(architecture="gemma3", n_embd=96)
    table, wanted = EmbeddingTable(open_gguf(path)), matrix(path)
    scale = np.float32(np.sqrt(96))
    assert table.scale == scale
    out = np.empty(96, np.float32)
    table.row(5, out)
    assert np.array_equal(out, wanted[5] * scale)
    table.mix(np.array([5]), np.array([1.0]), out)
    assert np.array_equal(out, wanted[5] * scale)
    table.mix(np.array([5, 6]), np.array([0.5, 0.5]), out)
    assert np.allclose(out, (wanted[5] + wanted[6]) / 2 * scale, atol=1e-5)
    assert np.array_equal(table.rows(np.array([5]))[0], wanted[5])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "qwen2vl"])
def test_the_others_are_not_scaled(tiny, architecture):
    assert EmbeddingTable(open_gguf(tiny(architecture=architecture))).scale == 1.0


def test_granite_with_deepstack_scales_tokens_only(tiny):
    gguf = open_gguf(tiny())
    granite = changed(gguf, architecture="granite", metadata={**gguf.metadata, "granite.embedding_scale": 12.0})
    assert EmbeddingTable(granite).scale == 1.0
    assert EmbeddingTable(granite, width=192).scale == 12.0


def test_wide_inputs_are_padded_with_zeros(tiny):
    path = tiny()
    table, wanted = EmbeddingTable(open_gguf(path), width=100), matrix(path)
    for fill in (
        lambda out: table.row(4, out),
        lambda out: table.mix(np.array([4]), np.array([1.0]), out),
        lambda out: table.mix(np.array([4, 5]), np.array([1.0, 0.0]), out),
    ):
        out = np.full(100, 9.0, np.float32)
        fill(out)
        assert np.array_equal(out[:64], wanted[4])
        assert not out[64:].any()


@pytest.mark.parametrize("token", [-1, 325, 2**40])
def test_ids_outside_the_vocabulary(tiny, token):
    table = EmbeddingTable(open_gguf(tiny()))
    assert table.n_vocab == 325
    out = np.zeros(table.width, np.float32)
    with pytest.raises(IndexError, match="outside the vocabulary"):
        table.row(token, out)
    with pytest.raises(IndexError, match="outside the vocabulary"):
        table.rows(np.array([0, token]))
    with pytest.raises(IndexError, match="outside the vocabulary"):
        table.mix(np.array([token]), np.array([1.0]), out)


def test_the_matrix_may_be_in_any_part_of_a_split_file(tiny, tmp_path):
    path = tiny(token_embd_type="Q8_0")
    parts = split_gguf(path, tmp_path, 3)
    table = EmbeddingTable(open_gguf(parts[0]))
    assert np.array_equal(table.rows(np.array([1, 300])), matrix(path)[[1, 300]])


def test_a_file_without_the_matrix(tiny):
    gguf = open_gguf(tiny())
    with pytest.raises(UnsupportedModel, match="no token-embedding matrix"):
        EmbeddingTable(changed(gguf, tensors={}))


def test_a_file_that_became_shorter(tiny, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny().read_bytes())
    gguf = open_gguf(path)
    with path.open("r+b") as file:
        file.truncate(gguf.tensors["token_embd.weight"].offset + 10)
    with pytest.raises(ModelFileError, match="cannot be read"):
        EmbeddingTable(gguf)


def changed(gguf: GgufFile, **changes: object) -> GgufFile:
    """A copy with some of its facts replaced."""
    facts = {name: getattr(gguf, name) for name in gguf.__dataclass_fields__}
    return GgufFile(**{**facts, **changes})
