"""Hidden states beside the logits: what they are, and that taking them changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from gguf.quants import dequantize
from support.prefill import prefill
from support.tiny_gguf import QuickReader

from selar_local.config import EngineConfig
from selar_local.llama.inputs import Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Token, Vector

TinyModel = Callable[..., Path]
FLAVOURS = ("llama", "qwen2", "qwen3", "gemma3", "qwen2vl")
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off", "threads": 1, "ctx_size": 64}


@pytest.fixture(params=FLAVOURS)
def path(request: pytest.FixtureRequest, tiny: TinyModel) -> Path:
    return tiny(architecture=request.param, tie_embeddings=False)


@pytest.fixture
def runtime(path: Path) -> Iterator[LlamaRuntime]:
    opened = LlamaRuntime(path, EngineConfig(parallel=2, **EXACT))
    yield opened
    opened.close()


def output_matrix(path: Path) -> np.ndarray:
    tensor = next(t for t in QuickReader(path).tensors if t.name == "output.weight")
    return dequantize(tensor.data, tensor.tensor_type).astype(np.float64)


def test_the_output_matrix_makes_the_logits_of_it(runtime: LlamaRuntime, path: Path) -> None:
    matrix = output_matrix(path)
    logits = prefill(runtime, 0, 0, [10, 20, 30], hidden=True)
    assert logits is not None
    np.testing.assert_allclose(matrix @ runtime.hidden_state(0), logits, atol=1e-4)
    (logits,) = runtime.step([Feed(0, 3, Token(40))], True, hidden=True)
    np.testing.assert_allclose(matrix @ runtime.hidden_state(0), logits, atol=1e-4)


def test_each_row_has_its_own(runtime: LlamaRuntime, path: Path) -> None:
    matrix = output_matrix(path)
    for sequence, prompt in enumerate(([10, 20], [30, 40, 50])):
        prefill(runtime, sequence, 0, prompt)
    both = runtime.step([Feed(0, 2, Token(7)), Feed(1, 3, Token(8))], False, hidden=True)
    for row, logits in enumerate(both):
        np.testing.assert_allclose(matrix @ runtime.hidden_state(row), logits, atol=1e-4)
    assert np.abs(runtime.hidden_state(0) - runtime.hidden_state(1)).max() > 0.1


@pytest.mark.parametrize("prompt", [[10], [10, 20, 30, 40, 50]])
def test_taking_it_changes_no_logits(runtime: LlamaRuntime, prompt: list[int]) -> None:
    # The last prompt token goes alone where its state is wanted: compare with the same chunks.
    if len(prompt) > 1:
        prefill(runtime, 0, 0, prompt[:-1], last=False)
    plain = prefill(runtime, 0, len(prompt) - 1, prompt[-1:])
    assert plain is not None
    plain = plain.copy()
    (after,) = runtime.step([Feed(0, len(prompt), Token(60))], False)
    after = after.copy()
    runtime.forget(0)
    taken = prefill(runtime, 0, 0, prompt, hidden=True)
    assert taken is not None and taken.tobytes() == plain.tobytes()
    assert runtime.step([Feed(0, len(prompt), Token(60))], False, hidden=True)[0].tobytes() == after.tobytes()
    # And it is over when nobody asks any more.
    (again,) = runtime.step([Feed(0, len(prompt) + 1, Token(61))], False)
    assert np.isfinite(again).all()


def test_it_can_be_fed_back_and_is_a_copy(runtime: LlamaRuntime) -> None:
    prefill(runtime, 0, 0, [10, 20], hidden=True)
    states = [runtime.hidden_state(0)]
    kept = states[0].copy()
    for position in (2, 3, 4):
        (logits,) = runtime.step([Feed(0, position, Vector(states[-1]))], True, hidden=True)
        assert np.isfinite(logits).all()
        states.append(runtime.hidden_state(0))
    assert states[0].tobytes() == kept.tobytes()
    assert len({state.tobytes() for state in states}) == 4


def test_tokens_and_vectors_in_one_step_where_rows_are_not_exact(
    runtime: LlamaRuntime, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = output_matrix(path)
    monkeypatch.setattr(runtime, "rows_are_exact", False)
    for sequence in (0, 1):
        prefill(runtime, sequence, 0, [10, 20])
    state = np.full(runtime.model.n_embd, 0.1, np.float32)
    both = runtime.step([Feed(0, 2, Token(7)), Feed(1, 2, Vector(state))], True, hidden=True)
    for row, logits in enumerate(both):
        np.testing.assert_allclose(matrix @ runtime.hidden_state(row), logits, atol=1e-4)


def test_a_file_that_names_a_pooling_gives_them_all_the_same(tiny: TinyModel) -> None:
    path = tiny(tie_embeddings=False, metadata={"llama.pooling_type": 3})
    runtime = LlamaRuntime(path, EngineConfig(**EXACT))
    try:
        logits = prefill(runtime, 0, 0, [10, 20], hidden=True)
        np.testing.assert_allclose(output_matrix(path) @ runtime.hidden_state(0), logits, atol=1e-4)
    finally:
        runtime.close()
