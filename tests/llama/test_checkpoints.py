"""Models that cannot take tokens back: a saved state is, to the bit, where the sequence was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.family_gguf import FAMILIES

from selar_local.config import EngineConfig
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, Token

CHUNK, CUT = 32, 96
TOKENS = [int(token) for token in np.random.default_rng(0).integers(5, 250, 200)]
END = len(TOKENS)

Logits = list[npt.NDArray[np.float32]]


def read(runtime: LlamaRuntime, slot: int, start: int, end: int = END) -> Logits:
    """The prompt from `start` to `end` in chunks, and the logits after it."""
    found: Sequence[npt.NDArray[np.float32] | None] = []
    for at in range(start, end, CHUNK):
        upto = min(at + CHUNK, end)
        found = runtime.prefill([Chunk(slot, at, TOKENS[at:upto], upto == end)], bool)
    return [logits.copy() for logits in found if logits is not None]


def generate(runtime: LlamaRuntime, slot: int, *, vectors: bool = False) -> Logits:
    """Five steps behind the prompt."""
    mix = Mixture(np.array([7, 9]), np.array([0.5, 0.5]))
    inputs = [mix if vectors and i % 2 else Token(20 + i) for i in range(5)]
    return [runtime.step([Feed(slot, END + i, one)], False)[0].copy() for i, one in enumerate(inputs)]


def same(one: Logits, other: Logits) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.kind in ("hybrid", "recurrent")])
def test_going_on_from_a_saved_state_is_going_on(family_model: Callable[..., Path], family: str) -> None:
    config = EngineConfig(threads=1, ctx_size=256, batch_size=CHUNK, parallel=2)
    runtime = LlamaRuntime(family_model(family, weight_type="Q8_0"), config)
    assert runtime.needs_checkpoints and not runtime.can_cut(0, CUT)
    fresh = [*read(runtime, 0, 0), *generate(runtime, 0)]
    runtime.forget(0)
    read(runtime, 0, 0, CUT)
    middle = runtime.save(0)
    read(runtime, 0, CUT)
    end = runtime.save(0)
    generate(runtime, 0, vectors=runtime.no_vectors is None)
    assert not runtime.truncate(0, END)
    assert runtime.restore(0, end, END)
    assert same(generate(runtime, 0), fresh[1:])
    runtime.copy(0, 1)  # of all that it holds now
    assert runtime.restore(1, middle, CUT)
    assert same([*read(runtime, 1, CUT), *generate(runtime, 1)], fresh)
    assert runtime.restore(0, middle, CUT)  # the other slot has changed nothing here
    assert same([*read(runtime, 0, CUT), *generate(runtime, 0)], fresh)
    runtime.close()


def test_a_window_is_cut_where_it_has_all_that_is_seen_from_there(family_model: Callable[..., Path]) -> None:
    config = EngineConfig(threads=1, ctx_size=2048, batch_size=CHUNK)
    runtime = LlamaRuntime(family_model("gemma3"), config)
    assert runtime.needs_checkpoints and runtime.exact_cut == 16
    for at in range(0, 960, CHUNK):
        runtime.prefill([Chunk(0, at, [5 + at % 200] * CHUNK, False)], bool)
    for at in range(960, 970):
        runtime.step([Feed(0, at, Token(7))], prefer_rows=False)
    assert runtime.can_cut(0, 965) and runtime.can_cut(0, 960) and runtime.can_cut(0, 0)
    assert not runtime.can_cut(0, 950) and not runtime.truncate(0, 950)
    assert runtime.truncate(0, 965)
    runtime.forget(0)
    assert not runtime.can_cut(0, 10)  # it holds nothing
    runtime.close()
    whole = LlamaRuntime(family_model("gemma3"), EngineConfig(threads=1, ctx_size=2048, swa_full=True))
    assert not whole.needs_checkpoints
    whole.close()
