"""The states after each layer: what they are, that taking them changes nothing, and that nothing escapes into C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.prefill import prefill

from selar_local.config import EngineConfig
from selar_local.errors import DecodeError, UnsupportedModel
from selar_local.llama import layer_states, library
from selar_local.llama.context import LlamaContext
from selar_local.llama.inputs import Feed
from selar_local.llama.layer_states import LayerStates
from selar_local.llama.output_head import OutputHead
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, Token

TinyModel = Callable[..., Path]
FLAVOURS = ("llama", "qwen2", "qwen3", "gemma3", "qwen2vl")
EXACT = {"cache_type_k": "f32", "cache_type_v": "f32", "flash_attn": "off", "threads": 1, "ctx_size": 64}
N_LAYER = 3
MIXTURE = Mixture(np.array([7, 9]), np.array([0.6, 0.4]))


def opened(path: Path, watch: bool = True, **options: int) -> LlamaRuntime:
    return LlamaRuntime(path, EngineConfig(**{**EXACT, **options}), watch_layers=watch)


@pytest.fixture(params=FLAVOURS)
def path(request: pytest.FixtureRequest, tiny: TinyModel) -> Path:
    return tiny(architecture=request.param, n_layer=N_LAYER)


@pytest.fixture
def runtime(path: Path) -> Iterator[LlamaRuntime]:
    one = opened(path, parallel=3)
    yield one
    one.close()


@pytest.fixture
def single(tiny: TinyModel) -> Iterator[LlamaRuntime]:
    one = opened(tiny(n_layer=N_LAYER))
    yield one
    one.close()


def watched(runtime: LlamaRuntime) -> LayerStates:
    assert runtime.layers is not None
    return runtime.layers


def test_the_last_one_is_the_hidden_state_before_the_final_norm(runtime: LlamaRuntime) -> None:
    head = OutputHead(runtime.gguf, runtime.model.n_vocab)
    prefill(runtime, 0, 0, [10, 20, 30])
    for position, item in enumerate((Token(40), MIXTURE, Token(5)), 3):
        with watched(runtime).capturing():
            runtime.step([Feed(0, position, item)], True, hidden=True)
        states = watched(runtime).states()
        assert states.shape == (N_LAYER, 1, runtime.model.n_embd) and states.dtype == np.float32
        np.testing.assert_allclose(head.normed(states[-1])[0], runtime.hidden_state(0), rtol=1e-4, atol=1e-4)
        assert min(np.abs(np.diff(states[:, 0], axis=0)).max(axis=1)) > 0.1, "layers alike"


def test_taking_them_changes_no_bit(path: Path) -> None:
    said = []
    for watch, capture in ((False, False), (True, False), (True, True)):
        runtime = opened(path, watch)
        logits = [prefill(runtime, 0, 0, [10, 20, 30])]
        for position, item in enumerate((Token(40), MIXTURE, Token(5)), 3):
            if capture:
                with watched(runtime).capturing():
                    logits += runtime.step([Feed(0, position, item)], True)
            else:
                logits += runtime.step([Feed(0, position, item)], True)
            logits[-1] = logits[-1].copy()
        said.append(b"".join(one.tobytes() for one in logits if one is not None))
        runtime.close()
    assert said[0] == said[1] == said[2]


def test_a_context_that_was_not_asked_has_no_callback(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    create = library.C.llama_init_from_model

    def noted(model: object, params: object) -> object:
        given.append(bool(params.cb_eval))  # type: ignore[attr-defined]
        return create(model, params)

    monkeypatch.setattr(library.C, "llama_init_from_model", noted)
    for watch in (False, True):
        runtime = opened(tiny(), watch)
        assert (runtime.layers is not None) is watch
        runtime.close()
    assert given == [False, True]
    assert LlamaContext.__init__.__defaults__ == (None,)


def test_each_row_has_its_own(runtime: LlamaRuntime) -> None:
    prompts = ([10, 20], [30, 40, 50])
    for sequence, prompt in enumerate(prompts):
        prefill(runtime, sequence, 0, prompt)
    with watched(runtime).capturing():
        runtime.step([Feed(0, 2, Token(7)), Feed(1, 3, Token(8))], False)
    both = watched(runtime).states()
    assert both.shape == (N_LAYER, 2, runtime.model.n_embd)
    for sequence, prompt, token in ((0, prompts[0], 7), (1, prompts[1], 8)):
        runtime.truncate(sequence, len(prompt))
        with watched(runtime).capturing():
            runtime.step([Feed(sequence, len(prompt), Token(token))], False)
        np.testing.assert_allclose(watched(runtime).states()[:, 0], both[:, sequence], atol=1e-3)


def test_they_are_copies_of_one_decode(single: LlamaRuntime) -> None:
    prefill(single, 0, 0, [10, 20])
    layers = watched(single)
    with pytest.raises(UnsupportedModel, match="names no layer states"):
        layers.states()
    with layers.capturing():
        single.step([Feed(0, 2, Token(7))], True)
    first = layers.states()
    kept = first.copy()
    single.step([Feed(0, 3, Token(8))], True)
    assert layers.states().tobytes() == kept.tobytes()  # nobody asked for that step's
    with layers.capturing():
        single.step([Feed(0, 4, Token(9))], True)
    assert first.tobytes() == kept.tobytes() != layers.states().tobytes()


def test_inputs_that_are_no_outputs_are_told(single: LlamaRuntime) -> None:
    with watched(single).capturing():
        prefill(single, 0, 0, [10, 20, 30])
    with pytest.raises(DecodeError, match="no outputs"):
        watched(single).states()


def test_a_batch_computed_in_pieces_is_told(runtime: LlamaRuntime) -> None:
    for sequence in (0, 2):
        prefill(runtime, sequence, 0, [10, 20])
    with pytest.raises(DecodeError, match="in pieces"), watched(runtime).capturing():
        runtime.step([Feed(0, 2, Token(7)), Feed(2, 2, Token(8))], False)  # no neighbours
    for sequence in (0, 2):
        runtime.truncate(sequence, 2)
    with watched(runtime).capturing():
        runtime.step([Feed(0, 2, Token(7))], False)
    assert watched(runtime).states().shape[1] == 1


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_nothing_is_raised_through_llama_cpp(
    single: LlamaRuntime, error: BaseException, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    prefill(single, 0, 0, [10, 20])

    def fail(tensor: object, layer: int) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(watched(single), "_take", fail)
        with pytest.raises(type(error)), watched(single).capturing():
            single.step([Feed(0, 2, Token(7))], True)
    assert capfd.readouterr().err == ""  # ctypes would have said that it ignored an exception
    with watched(single).capturing():
        (logits,) = single.step([Feed(0, 3, Token(7))], True)
    assert np.isfinite(logits).all() and watched(single).states().shape[0] == N_LAYER


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (b"l_out-0", 0), (b"l_out-31", 31), (b"l_out", None), (b"l_out-", None), (b"l_out-3 (view)", None),
        (b"CPU#l_out-3#0", None), (b"attn_out-3", None), (b"", None), (None, None),
    ],
)  # fmt: skip
def test_names(single: LlamaRuntime, name: bytes | None, layer: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched(single), "_name", lambda tensor: name)
    assert watched(single)._layer(None) == layer


def test_a_layer_that_is_missing_or_of_another_shape_is_told(
    single: LlamaRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefill(single, 0, 0, [10, 20])
    layers = watched(single)
    with monkeypatch.context() as patch:
        patch.setattr(layers, "n_layer", N_LAYER + 1)
        with layers.capturing():
            single.step([Feed(0, 2, Token(7))], True)
        with pytest.raises(UnsupportedModel, match=f"no state after layer {N_LAYER + 1}"):
            layers.states()
    monkeypatch.setattr(layers, "n_embd", layers.n_embd + 1)
    with pytest.raises(UnsupportedModel, match="another shape"), layers.capturing():
        single.step([Feed(0, 3, Token(7))], True)


def test_ggml_out_of_reach_is_told(single: LlamaRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_states.ggml, "symbol", lambda *arguments: None)
    with pytest.raises(UnsupportedModel, match="out of reach"):
        LayerStates(single.model)
