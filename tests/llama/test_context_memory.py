"""The context guard counts what each layer keeps: all positions, a window, or one state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from selar_local.config import EngineConfig
from selar_local.errors import OptionError
from selar_local.llama import context
from selar_local.llama.context import LlamaContext
from selar_local.llama.context_memory import CacheSize, measure
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.library import C
from selar_local.llama.model import LlamaModel

ROW = 2 * 64 * 2  # bytes of K and V of a position in a layer of the tiny models: 64 numbers each, in F16
CELL = 28  # bytes at most that a saved position takes besides


def measured(path: Path, *, window: int = 0) -> CacheSize:
    model = LlamaModel(open_gguf(path), EngineConfig(threads=1))
    params = C.llama_context_default_params()
    params.swa_full = not window
    size = measure(model.pointer, params, window)
    model.close()
    assert size is not None
    return size


@pytest.mark.parametrize(
    ("family", "layers"),
    [("llama", 2), ("llama4", 4), ("qwen35", 1), ("lfm2", 1), ("granitehybrid", 1), ("jamba", 1), ("falcon-h1", 2)],
)
def test_layers_with_attention_alone_grow_with_the_context(
    family_model: Callable[..., Path], family: str, layers: int
) -> None:
    size = measured(family_model(family))
    assert layers * ROW <= size.per_token <= layers * ROW + CELL
    assert size.per_token_in_window == size.window == 0


def test_a_recurrent_model_does_not_grow(family_model: Callable[..., Path]) -> None:
    size = measured(family_model("mamba"))
    assert size.per_token == size.per_token_in_window == 0 < size.fixed
    assert size.needed(10**6, 128) == size.needed(10, 128)


def test_layers_with_a_window_grow_as_far_as_that(family_model: Callable[..., Path]) -> None:
    size = measured(family_model("gemma3"), window=16)
    assert ROW <= size.per_token <= ROW + CELL and ROW <= size.per_token_in_window <= ROW + CELL
    assert size.needed(10_000, 128) - size.needed(9_000, 128) == 1000 * size.per_token
    assert size.needed(10_000, 128) == size.fixed + 10_000 * size.per_token + 256 * size.per_token_in_window
    whole = measured(family_model("gemma3"))
    assert 2 * ROW <= whole.per_token <= 2 * ROW + 2 * CELL


@pytest.mark.parametrize(
    ("family", "swa_full", "fits"),
    [("llama", False, False), ("qwen35", False, True), ("mamba", False, True), ("gemma3", False, True),
     ("gemma3", True, False)],
)  # fmt: skip
def test_a_context_that_the_machine_cannot_hold(
    family_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, family: str, swa_full: bool, fits: bool
) -> None:
    """A machine that has memory for 1.3 layers of 32768 positions."""
    monkeypatch.setattr(context, "memory_limit", lambda: int(1.3 * ROW * 32768))
    config = EngineConfig(threads=1, ctx_size=32768, swa_full=swa_full)
    model = LlamaModel(open_gguf(family_model(family)), config)
    try:
        if fits:
            LlamaContext(model, config).close()
        else:
            with pytest.raises(OptionError, match=r"a context of 32768 tokens needs about .* lower the context size"):
                LlamaContext(model, config)
    finally:
        model.close()
