"""Final norm and output matrix outside llama.cpp: the last layer's state gives the model's own logits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.prefill import prefill
from support.tiny_gguf import dequantise_to_f32, split_gguf

from selar_local.analysis.lens.session import TOLERANCE
from selar_local.config import EngineConfig
from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama import ggml, output_head
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.inputs import Feed
from selar_local.llama.output_head import OutputHead
from selar_local.llama.runtime import LlamaRuntime
from selar_local.llama.tensor_rows import TensorRows
from selar_local.methods.base import Mixture, Token

TinyModel = Callable[..., Path]
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off", "threads": 1, "ctx_size": 64}
BAR = 1e-3  # of the largest logit, in F32
INPUTS = (Token(40), Mixture(np.array([7, 9, 11]), np.array([0.8, 0.5, -0.3])), Token(5), Token(200))


def states_and_logits(path: Path) -> tuple[LlamaRuntime, np.ndarray, np.ndarray]:
    """(n, n_embd) states after the last layer, and the model's (n, n_vocab) logits there."""
    runtime = LlamaRuntime(path, EngineConfig(**EXACT), watch_layers=True)
    assert runtime.layers is not None
    prompt = runtime.model.prompt_tokens("the answer is so")
    prefill(runtime, 0, 0, prompt)
    states, logits = [], []
    for position, item in enumerate(INPUTS, len(prompt)):
        with runtime.layers.capturing():
            (own,) = runtime.step([Feed(0, position, item)], True)
        logits.append(own.copy())
        states.append(runtime.layers.states()[-1, 0])
    return runtime, np.array(states), np.array(logits)


def difference(path: Path) -> float:
    """The largest, as a share of the largest logit."""
    runtime, states, logits = states_and_logits(path)
    with closing(runtime):
        lens = OutputHead(runtime.gguf, runtime.model.n_vocab).logits(states)
    assert lens.shape == logits.shape and lens.dtype == np.float32
    return float(np.abs(lens - logits).max() / np.abs(logits).max())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "gemma3", "qwen2vl"])
def test_in_f32_it_is_the_model_s_own(architecture: str, tied: bool, tiny: TinyModel) -> None:
    assert difference(tiny(architecture=architecture, tie_embeddings=tied, n_layer=3)) < BAR / 100


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_1", "Q5_0", "Q4_0"])
def test_other_types_are_dequantised(kind: str, tiny: TinyModel) -> None:
    for tied in (True, False):
        # llama.cpp rounds the state too where it multiplies it with blocks.
        assert difference(tiny(weight_type=kind, tie_embeddings=tied, n_embd=64)) < TOLERANCE / 2


def test_soft_capping_is_applied(tiny: TinyModel) -> None:
    plain = tiny(architecture="gemma3", n_layer=3)
    capped = tiny(architecture="gemma3", n_layer=3, metadata={"gemma3.final_logit_softcapping": 5.0})
    runtime, states, logits = states_and_logits(capped)
    with closing(runtime):
        assert np.abs(logits).max() < 5.0
        lens = OutputHead(runtime.gguf, runtime.model.n_vocab).logits(states)
        uncapped = OutputHead(open_gguf(plain), runtime.model.n_vocab).logits(states)
    np.testing.assert_allclose(lens, logits, atol=1e-4)
    assert np.abs(uncapped - logits).max() > 1.0


def test_a_bias_is_added(tiny: TinyModel) -> None:
    path = tiny(architecture="qwen2", tie_embeddings=False, output_bias=True)
    assert "output.bias" in open_gguf(path).tensors
    assert difference(path) < BAR / 100


@pytest.mark.parametrize(("architecture", "factor"), [("llama", 4.0), ("granite", 0.25), ("minicpm", 0.25)])
def test_a_scale_of_the_logits(architecture: str, factor: float, tiny: TinyModel) -> None:
    gguf = open_gguf(tiny())
    own = {f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5}
    states = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    plain = OutputHead(replace(gguf, architecture=architecture, metadata=own), 300).logits(states)
    scaled = replace(gguf, architecture=architecture, metadata={**own, f"{architecture}.logit_scale": 4.0})
    np.testing.assert_allclose(OutputHead(scaled, 300).logits(states), factor * plain, rtol=1e-5)


def test_gemma2_is_capped_where_its_file_says_nothing(tiny: TinyModel) -> None:
    gguf = open_gguf(tiny())
    own = {"gemma2.attention.layer_norm_rms_epsilon": 1e-5}
    states = 1e3 * np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    head = OutputHead(replace(gguf, architecture="gemma2", metadata=own), 300)
    assert np.abs(head.logits(states)).max() <= 30.0


def test_blocks_of_rows_serve_all_states(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny(weight_type="Q8_0", tie_embeddings=False)
    states = np.random.default_rng(1).standard_normal((50, 64)).astype(np.float32)
    n_vocab = open_gguf(path).tensors["output.weight"].shape[1]
    whole = OutputHead(open_gguf(path), n_vocab).logits(states)
    monkeypatch.setattr(output_head, "_BLOCK_BYTES", 4 * 64 * 7)
    head = OutputHead(open_gguf(path), n_vocab)
    read, block = [], TensorRows.block

    def noted(matrix: TensorRows, start: int, end: int) -> Any:
        read.append((start, end))
        return block(matrix, start, end)

    monkeypatch.setattr(TensorRows, "block", noted)
    out = np.full((50, n_vocab), np.nan, np.float32)
    assert head.logits(states, out) is out
    np.testing.assert_allclose(out, whole, rtol=1e-5, atol=1e-5)
    assert max(end - start for start, end in read) == 7, "more than a block was in memory"
    assert [start for start, _ in read] == list(range(0, n_vocab, 7)), "not one pass over the matrix"


def test_without_ggml_s_own_function(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = open_gguf(tiny(weight_type="Q8_0"))
    states = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    own = OutputHead(gguf, 300).logits(states)
    monkeypatch.setattr(ggml, "to_float", lambda kind: None)
    np.testing.assert_array_equal(OutputHead(gguf, 300).logits(states), own)


def test_a_matrix_in_another_part(tiny: TinyModel, tmp_path: Path) -> None:
    path = tiny(tie_embeddings=False)
    first, *_ = split_gguf(path, tmp_path, 3)
    states = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)
    split, whole = OutputHead(open_gguf(first), 300), OutputHead(open_gguf(path), 300)
    assert not split.tied
    np.testing.assert_array_equal(split.logits(states), whole.logits(states))


def test_heads_of_another_kind_are_refused(tiny: TinyModel) -> None:
    gguf = open_gguf(tiny(tie_embeddings=False))
    tensors = dict(gguf.tensors)
    norm = tensors["output_norm.weight"]

    def head(changed: dict[str, Any], **more: Any) -> OutputHead:
        kept = {name: tensor for name, tensor in {**tensors, **changed}.items() if tensor is not None}
        return OutputHead(replace(gguf, tensors=kept, **more), 300)

    assert head({}).n_embd == 64
    for changed in ({"output_norm.weight": None}, {"output_norm.bias": norm}):
        with pytest.raises(UnsupportedModel, match="is no RMS norm"):
            head(changed)
    with pytest.raises(UnsupportedModel, match="is no RMS norm"):
        head({}, metadata={"llama.attention.layer_norm_epsilon": 1e-5})
    short = tensors["output.weight"]._replace(shape=(64, 299))
    narrow = norm._replace(shape=(32,))
    for changed in ({"output.weight": short}, {"output.weight": norm}, {"output_norm.weight": narrow}):
        with pytest.raises(UnsupportedModel, match="of another kind"):
            head(changed)
    gone = tensors["output.weight"]._replace(part=Path("no such file"))
    with pytest.raises(ModelFileError, match=r"output\.weight cannot be read"):
        head({"output.weight": gone})


@pytest.mark.gguf
def test_real_models(models_dir: Path) -> None:
    paths = sorted(path for path in models_dir.glob("*.gguf") if path.stat().st_size < 6e8)
    for path in paths:
        assert difference(path) < TOLERANCE, path.name
    if not paths:
        pytest.skip(f"no small GGUF file in {models_dir}")


@pytest.mark.gguf
def test_real_models_in_f32(models_dir: Path, tmp_path: Path) -> None:
    paths = sorted(path for path in models_dir.glob("*.gguf") if path.stat().st_size < 3e8)
    for path in paths:
        exact = dequantise_to_f32(path, tmp_path / "f32.gguf")
        assert difference(exact) < BAR, path.name
        exact.unlink()  # gigabytes, and pytest keeps the folders of three sessions
    if not paths:
        pytest.skip(f"no small GGUF file in {models_dir}")
