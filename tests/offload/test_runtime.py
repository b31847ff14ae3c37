"""What the decode loop rests on, with layers on a device: rows, mixtures, batches, states.

Within the device, rows and ids must agree to the bit: the embedding matrix stays with the CPU, so a row enters the same
graph as the token's own. Between device and CPU they cannot: the CPU rounds activations to 8 bits for quantised
weights and the device multiplies in 16- or 32-bit numbers. `APART` bounds that, as a share of the largest logit.
Against the same weights as 32-bit numbers on the CPU, Gemma 3 on the CPU is 0.053 apart, on lavapipe 0.013: 0.066
in all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from support.prefill import prefill

from selar_local.llama.inputs import Feed
from selar_local.llama.output_head import OutputHead
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, Token

from .conftest import Pair

APART = 0.07
STEPS = 40
Floats = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def empty(pair: Pair) -> Iterator[None]:
    for runtime in (pair.device, pair.cpu):
        runtime.clear()
    yield


def logits_of(runtime: LlamaRuntime, prompt: list[int], sequence: int = 0) -> Floats:
    """The logits after the prompt; nothing of the sequence is left from before."""
    runtime.forget(sequence)
    logits = prefill(runtime, sequence, 0, prompt)
    assert logits is not None
    return logits.copy()


def apart(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max() / np.abs(other).max())


def test_the_injection_check(pair: Pair) -> None:
    assert pair.device.no_vectors is None
    assert pair.device.injection_max_abs_diff == 0.0 and pair.device.rows_are_exact


def test_rows_are_ids_over_many_steps(pair: Pair) -> None:
    """Two passes over the same tokens, which the first one chooses."""
    logits, tokens, as_ids = logits_of(pair.device, pair.prompt), list[int](), list[Floats]()
    for step in range(STEPS):
        tokens.append(int(logits.argmax()))
        (view,) = pair.device.step([Feed(0, len(pair.prompt) + step, Token(tokens[-1]))], False)
        logits = view.copy()
        as_ids.append(logits)
    logits_of(pair.device, pair.prompt)
    for step, token in enumerate(tokens):
        (view,) = pair.device.step([Feed(0, len(pair.prompt) + step, Token(token))], True)
        assert np.array_equal(view, as_ids[step]), f"step {step}: {np.abs(view - as_ids[step]).max()}"
    assert len(set(tokens)) > 3


def test_device_and_cpu_agree(pair: Pair) -> None:
    on_device, on_cpu = (logits_of(runtime, pair.prompt) for runtime in (pair.device, pair.cpu))
    assert 0 < apart(on_device, on_cpu) < APART, "0: nothing was computed on the device"
    assert on_device.argmax() == on_cpu.argmax()


def test_mixtures(pair: Pair) -> None:
    first, second = (int(token) for token in np.argsort(logits_of(pair.cpu, pair.prompt))[-2:])
    ids, place = np.array([first, second]), len(pair.prompt)
    found = []
    for runtime in (pair.device, pair.cpu):
        logits_of(runtime, pair.prompt)
        steps = []
        for weights in ([1.0, 0.0], [0.6, 0.4]):
            (view,) = runtime.step([Feed(0, place, Mixture(ids, np.array(weights)))], True)
            steps.append(view.copy())
            runtime.truncate(0, place)
        (view,) = runtime.step([Feed(0, place, Token(first))], True)
        assert np.array_equal(steps[0], view)
        found.append(steps[1])
        assert apart(steps[1], view) > 0.001, "the mixture is the token"
    assert apart(*found) < APART


def test_two_sequences_at_once(pair: Pair) -> None:
    """Their logits may differ from those alone by rounding: a batch of two runs through other kernels."""
    other = pair.device.model.prompt_tokens("One, two, three,")
    alone = []
    for prompt in (pair.prompt, other):
        token = int(logits_of(pair.device, prompt).argmax())
        (view,) = pair.device.step([Feed(0, len(prompt), Token(token))], True)
        alone.append((token, view.copy()))
    for sequence, prompt in enumerate((pair.prompt, other)):
        logits_of(pair.device, prompt, sequence)
    feeds = [Feed(i, len(p), Token(alone[i][0])) for i, p in enumerate((pair.prompt, other))]
    for view, (_, expected) in zip(pair.device.step(feeds, True), alone, strict=True):
        assert apart(view, expected) < APART


def test_hidden_states_and_the_logit_lens(pair: Pair) -> None:
    head = OutputHead(pair.device.gguf, pair.device.model.n_vocab)
    states, hidden, logits = [], [], []
    for runtime in (pair.device, pair.cpu):
        assert runtime.layers is not None
        token = int(logits_of(runtime, pair.prompt).argmax())
        with runtime.layers.capturing():
            (view,) = runtime.step([Feed(0, len(pair.prompt), Token(token))], True, hidden=True)
        logits.append(view.copy())
        hidden.append(runtime.hidden_state(0).copy())
        states.append(runtime.layers.states()[:, 0])
    assert states[0].shape == states[1].shape == (len(states[0]), pair.device.model.n_embd)
    for on_device, on_cpu in zip(*states, strict=True):
        assert apart(on_device, on_cpu) < APART
    np.testing.assert_allclose(
        head.normed(states[0][-1:])[0], hidden[0], rtol=1e-3, atol=1e-3 * np.abs(hidden[0]).max()
    )
    assert apart(head.logits(states[0][-1:])[0], logits[0]) < APART
