"""Every family of architectures: whether rows are their tokens to the bit, and how its memory works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.family_gguf import FAMILIES

import selar_local as sl
from selar_local.config import EngineConfig
from selar_local.errors import UnsupportedModel
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.library import C
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods import METHODS
from selar_local.methods.base import Token


@pytest.fixture(scope="module")
def ids_alone(family_model: Callable[..., Path]) -> Iterator[sl.Engine]:
    """GLM-4 text: llama.cpp stops its process when it is fed a row."""
    with sl.load(family_model("glm4"), threads=1) as engine:
        yield engine


CONFIG = EngineConfig(threads=1, ctx_size=256)


def kind_of(runtime: LlamaRuntime) -> str:
    """How its memory works, in the words of `Family`."""
    pointer = runtime.model.pointer
    if C.llama_model_is_recurrent(pointer) or C.llama_model_is_hybrid(pointer):
        return "recurrent" if C.llama_model_is_recurrent(pointer) else "hybrid"
    return "window" if runtime.needs_checkpoints else "attention"


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.rows])
def test_rows_are_their_tokens_to_the_bit(family_model: Callable[..., Path], family: str) -> None:
    runtime = LlamaRuntime(family_model(family), CONFIG)
    assert kind_of(runtime) == FAMILIES[family].kind
    runtime.close()
    assert runtime.injection_max_abs_diff == 0.0


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if not row.rows])
def test_families_that_take_ids_alone(family_model: Callable[..., Path], family: str) -> None:
    """They open and decode ids. Nothing is ever fed as a row: over some of them llama.cpp would stop its process."""
    runtime = LlamaRuntime(family_model(family), CONFIG)
    assert kind_of(runtime) == FAMILIES[family].kind
    (logits,) = runtime.prefill([Chunk(0, 0, [5, 6, 7], last=True)], bool)
    (after,) = runtime.step([Feed(0, 3, Token(8))], prefer_rows=True)
    assert logits is not None and np.isfinite(after).all()
    runtime.close()
    assert runtime.injection_max_abs_diff is None and not runtime.rows_are_exact
    assert runtime.no_vectors is not None and "takes no vectors" in runtime.no_vectors


@pytest.mark.parametrize("method", [name for name, cls in METHODS.items() if cls.feeds_vectors])
def test_methods_that_feed_vectors_are_refused_there(ids_alone: sl.Engine, method: str) -> None:
    with pytest.raises(UnsupportedModel, match=rf"^{method} cannot be used, cot can: .*glm4.* takes no vectors: "):
        ids_alone.stream("the", raw=True, method=method)


def test_a_request_that_names_no_method_runs_with_cot_there(ids_alone: sl.Engine) -> None:
    unnamed = ids_alone.stream("the", raw=True, seed=1, max_tokens=5)
    result = ids_alone.generate("the", raw=True, seed=1, max_tokens=5, method="cot")
    list(unnamed)
    assert unnamed.method == sl.CoT()
    assert unnamed.result.tokens == result.tokens
    assert [note for note in result.notes if note.startswith("soft methods cannot be used: ")] == list(result.notes)
    conversation = sl.Conversation(ids_alone, max_tokens=3)
    assert conversation.method == sl.CoT()
    conversation.say("the")
    assert conversation.turns == 1


def test_the_error_comes_through_another_process(family_model: Callable[..., Path]) -> None:
    with sl.load(family_model("glm4"), threads=1, isolated=True) as engine:
        with pytest.raises(UnsupportedModel, match="selar cannot be used"):
            engine.generate("the", raw=True, method="selar")
        assert engine.generate("the", raw=True, max_tokens=2).usage.completion_tokens > 0
