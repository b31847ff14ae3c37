"""Rows of token embeddings in every type, to the bit, and the vectors that are made of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from support import tiny_gguf
from support.prefill import prefill
from support.tiny_gguf import QuickReader

import selar_local as sl
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.llama import ggml
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.inputs import Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, Setting, StepView
from selar_local.methods.distribution import filtered_distribution as ours

from .methods import Filters, Selar, selar_step
from .parity import three_ways
from .playing import EXACT, Run, opened, play
from .prompts import PROMPT
from .together import Together
from .transformer import Transformer
from .weights import FLAVOURS, Weights

GATES: tuple[Any, ...] = ("filtered", "full")

_QUANTISE = ggml.symbol(
    "ggml_quantize_chunk",
    ctypes.c_size_t,
    [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p],
)


def native_quantise(values: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[Any]:
    """Like `gguf.quants.quantize`, by ggml itself: it can write all types."""
    if values.ndim == 1 or kind in (GGMLQuantizationType.F32, GGMLQuantizationType.BF16):
        return quantize(values, kind)
    if _QUANTISE is None:
        pytest.skip("ggml's own quantisation cannot be reached in this build")
    values = np.ascontiguousarray(values, np.float32)
    rows, columns = values.shape
    out = np.zeros((rows, ggml.row_size(int(kind), columns)), np.uint8)
    importance = np.ones(columns, np.float32)
    _QUANTISE(int(kind), values.ctypes.data, out.ctypes.data, 0, rows, columns, importance.ctypes.data)
    return out.view(np.float16) if kind == GGMLQuantizationType.F16 else out


def made_up(values: npt.NDArray[np.float32], kind: GGMLQuantizationType) -> npt.NDArray[np.uint8]:
    """Random blocks of a type that ggml takes seconds to write. No scale (in byte 1 or the last) is infinite or NaN."""
    traits = ggml.type_traits()[int(kind)]
    shape = (len(values), values.shape[1] // traits.block, traits.block_bytes)
    blocks = np.random.default_rng(6).integers(0, 256, shape, np.uint8)
    blocks[:, :, [1, -1]] &= 0x3F
    return blocks.reshape(len(values), -1)


WRITERS: dict[Callable[..., npt.NDArray[Any]], tuple[str, ...]] = {
    quantize: ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"),
    native_quantise: ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "NVFP4", "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"),
    made_up: ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"),
}


def table_file(path: Path, kind: GGMLQuantizationType, by: Callable[..., Any]) -> npt.NDArray[np.float32]:
    """Write a GGUF file that holds a token-embedding matrix only; its values as gguf reads them."""
    values = np.random.default_rng(3).standard_normal((37, 512), np.float32)
    values[5], values[6, 7] = 0.0, 40.0
    data = by(values, kind)
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("token_embd.weight", data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (tensor,) = QuickReader(path).tensors
    rows: npt.NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type)
    return rows


@pytest.mark.parametrize(("name", "by"), [(name, by) for by, names in WRITERS.items() for name in names])
def test_rows_are_gguf_s_to_the_bit(
    name: str, by: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "table.gguf"
    expected = table_file(path, GGMLQuantizationType[name], by)
    table = EmbeddingTable(open_gguf(path))
    assert (table.n_vocab, table.n_embd, table.type_name.upper()) == (37, 512, name)
    assert np.isfinite(expected).all() and np.abs(expected).max() > 0
    ids = np.array([36, 0, 5, 6, 6, 11])
    assert table.rows(ids).tobytes() == expected[ids].tobytes()
    out = np.full(512, np.nan, np.float32)
    table.row(6, out)
    assert out.tobytes() == expected[6].tobytes()
    table.mix(np.array([6]), np.ones(1), out)
    assert out.tobytes() == expected[6].tobytes()
    # And where ggml's functions cannot be reached.
    monkeypatch.setattr("selar_local.llama.ggml.to_float", lambda kind: None)
    assert EmbeddingTable(open_gguf(path)).rows(ids).tobytes() == expected[ids].tobytes()


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("kind", ["F32", "F16", "Q8_0", "Q4_0", "Q4_K"])
def test_the_fed_vector_is_the_oracle_s(
    flavour: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_gguf, "quantize", native_quantise)
    options = {"architecture": flavour, "token_embd_type": kind, "n_embd": 256, "n_ff": 32, "n_layer": 1, "seed": 2}
    path = tiny_gguf.write_tiny_gguf(tmp_path / "model.gguf", **options)
    transformer = Transformer(Weights.load(path))
    runtime = LlamaRuntime(path, EngineConfig(threads=1, ctx_size=64, **EXACT))
    try:
        stepper = sl.Selar(k=5, tau=0, symbol_guard=False).start(Setting(runtime.model, SamplingConfig(), 64))
        random = np.random.default_rng(4)
        assert prefill(runtime, 0, 0, [1, 2]) is not None
        for position in range(2, 22):
            logits = (4 * random.standard_normal(runtime.model.n_vocab)).astype(np.float32)
            sampling = SamplingConfig(top_p=0.7) if position % 2 else SamplingConfig(temperature=2.0)
            distribution = ours(logits, sampling, 5)
            step = selar_step(
                logits.astype(np.float64),
                transformer.rows,
                Filters(sampling.temperature, top_p=sampling.top_p),
                Selar(k=5, tau=0),
                None,
            )
            decision = stepper(StepView(logits, distribution, step.token, sampling.temperature, False))
            assert isinstance(decision.next_input, Mixture) and step.vector is not None
            runtime.step([Feed(0, position, decision.next_input)], True)
            fed, expected = runtime.batch.rows(1)[0], step.vector * transformer.embedding_scale
            assert np.abs(fed - expected).max() <= 1e-5 * np.abs(expected).max()
    finally:
        runtime.close()


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K"])
@pytest.mark.parametrize("flavour", ["llama", "qwen3"])
def test_models_with_quantised_rows_decode_as_the_oracle(
    flavour: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the rows are quantised: llama.cpp rounds what meets a quantised matrix, and the oracle does not."""
    monkeypatch.setattr(tiny_gguf, "quantize", native_quantise)
    options = {"architecture": flavour, "token_embd_type": kind, "n_embd": 256, "n_ff": 64, "seed": 2}
    path = tiny_gguf.write_tiny_gguf(tmp_path / "model.gguf", tie_embeddings=False, **options)
    settings = [Selar(k, 0.3, contrast, gate_on=gate) for k in (3, 5) for contrast in (0.0, 1.0) for gate in GATES]
    with opened(path, parallel=4) as engine:
        played = play(engine, [Run(PROMPT, own, seed) for own in settings for seed in (None, 7)])
    state = three_ways(played, Together(Weights.load(path)))[1]
    assert state.explored > 0


@pytest.mark.gguf
def test_rows_of_real_models_are_gguf_s_to_the_bit(models_dir: Path) -> None:
    paths = sorted(models_dir.glob("*.gguf"))
    if not paths:
        pytest.skip(f"no GGUF file in {models_dir}")
    for path in paths:
        (tensor,) = (tensor for tensor in QuickReader(path).tensors if tensor.name == "token_embd.weight")
        table = EmbeddingTable(open_gguf(path))
        ids = np.random.default_rng(0).integers(0, table.n_vocab, 500)
        assert table.rows(ids).tobytes() == dequantize(tensor.data[ids], tensor.tensor_type).tobytes(), path.name
