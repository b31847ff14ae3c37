"""SeLaR's step for any logits: its mixture as a vector, the oracle's step, plain decoding where it should be that."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import methods as oracle

import selar_local as sl
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.events import TokenEvent
from selar_local.engine.request import Request
from selar_local.engine.sequence import Sequence
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Mixture, NextInput, Setting, StepView, Token
from selar_local.methods.distribution import filtered_distribution
from selar_local.methods.selar import contrastive_weights

Logits = npt.NDArray[np.float32]
ROWS = np.random.default_rng(8).standard_normal((40, 6))
N_VOCAB = len(ROWS)


class Letters:
    """A vocabulary whose token of a character is its code."""

    n_vocab = 128

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_of(self, text: str) -> int | None:
        return ord(text) if len(text) == 1 else None

    def piece(self, token: int) -> bytes:
        return bytes([token])

    def is_end(self, token: int) -> bool:
        return False


def decide(method: sl.Selar, logits: Logits, sampling: SamplingConfig, token: int | None = None) -> Decision:
    distribution = filtered_distribution(logits, sampling, method.n_candidates)
    chosen = int(distribution.ids[0]) if token is None else token
    return method.start(Setting(Letters(), sampling, 100))(
        StepView(logits, distribution, chosen, sampling.temperature, False)
    )


def vector(chosen: NextInput) -> npt.NDArray[np.float64]:
    assert isinstance(chosen, Mixture)
    return chosen.weights @ ROWS[chosen.ids]


LOGITS = st.lists(st.floats(-12, 12, width=32), min_size=N_VOCAB, max_size=N_VOCAB, unique=True).map(
    lambda values: np.array(values, np.float32)
)
METHODS = st.builds(
    sl.Selar,
    k=st.integers(2, 50),
    tau=st.floats(0, 1),
    contrast=st.floats(0, 3),
    symbol_guard=st.just(False),
    gate_on=st.sampled_from(["filtered", "full"]),
)
SAMPLING = st.builds(
    SamplingConfig,
    temperature=st.floats(0.2, 3),
    top_k=st.integers(0, 50),
    top_p=st.floats(0.05, 1),
    min_p=st.floats(0, 0.3),
)


@settings(max_examples=200, deadline=None)
@given(LOGITS, METHODS, SAMPLING)
def test_a_step_is_the_oracle_s(logits: Logits, method: sl.Selar, sampling: SamplingConfig) -> None:
    known = oracle.Selar(method.k, method.tau, method.contrast, gate_on=method.gate_on)
    filters = oracle.Filters(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    wide = logits.astype(np.float64)
    expected = oracle.selar_step(wide, ROWS, filters, known, None)
    found = decide(method, logits, sampling)
    relative = np.exp((np.sort(wide)[::-1][: sampling.top_k or None] - wide.max()) / sampling.temperature)
    sums = np.cumsum(relative) / relative.sum()
    # A number that meets the edge of a filter may be decided either way.
    assume(np.abs(sums - sampling.top_p).min() > 1e-9 and np.abs(relative - sampling.min_p).min() > 1e-9)
    assert found.entropy == pytest.approx(expected.entropy, abs=1e-9)
    if abs(expected.entropy - method.tau) > 1e-9:
        assert found.explored == expected.explored
    if found.explored and expected.vector is not None:
        np.testing.assert_allclose(vector(found.next_input), expected.vector, atol=1e-8)
    if not found.explored:
        assert found.next_input == Token(expected.token)


@settings(max_examples=100, deadline=None)
@given(LOGITS, SAMPLING, st.integers(2, 8), st.floats(0, 3))
def test_weights_sum_to_one_and_the_formula_holds(
    logits: Logits, sampling: SamplingConfig, k: int, contrast: float
) -> None:
    method = sl.Selar(k=k, tau=0, contrast=contrast, symbol_guard=False)
    found = decide(method, logits, sampling)
    assert isinstance(found.next_input, Mixture) and found.entropy is not None
    assert found.next_input.weights.sum() == pytest.approx(1)
    plain = decide(replace(method, contrast=0), logits, sampling)
    e, dominant = vector(plain.next_input), ROWS[int(logits.argmax())]
    d = e - dominant
    if (length := float(np.linalg.norm(d))) > 1e-9:  # as the paper has it: a unit vector, then its length again
        expected = e + contrast * found.entropy * (d / length) * length
        np.testing.assert_allclose(vector(found.next_input), expected, atol=1e-8)
    q = plain.next_input
    assert isinstance(q, Mixture)
    assert (q.weights >= 0).all() and (np.diff(q.weights) <= 0).all()


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.permutations(range(N_VOCAB)), SAMPLING)
def test_the_order_of_the_vocabulary_does_not_matter(
    logits: Logits, order: list[int], sampling: SamplingConfig
) -> None:
    method = sl.Selar(k=4, tau=0, symbol_guard=False)
    here, there = (decide(method, values, sampling).next_input for values in (logits, logits[order]))
    assert isinstance(here, Mixture) and isinstance(there, Mixture)
    assert here.ids.tolist() == [order[i] for i in there.ids.tolist()]
    np.testing.assert_array_equal(here.weights, there.weights)


def test_ties_take_the_lower_id_as_dominant() -> None:
    found = decide(sl.Selar(k=2, symbol_guard=False), np.zeros(5, np.float32), SamplingConfig()).next_input
    assert isinstance(found, Mixture)
    assert found.ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.weights, [0.0, 1.0], atol=1e-12)  # (1 + 1) / 2 - 1


def test_more_candidates_than_tokens() -> None:
    found = decide(sl.Selar(k=9, tau=0.1, symbol_guard=False), np.zeros(3, np.float32), SamplingConfig(top_p=1.0))
    assert isinstance(found.next_input, Mixture)
    assert found.next_input.ids.tolist() == [0, 1, 2]
    assert found.entropy == pytest.approx(math.log(3) / math.log(9))


def test_weights_of_a_mixture_by_hand() -> None:
    # 1.5 of each share, less 0.5 on the first: 0.75 - 0.5, 0.45, 0.3.
    found = contrastive_weights(np.array([8, 2, 5, 1]), [0.5, 0.3, 0.2], 0.5)
    assert found.ids.tolist() == [8, 2, 5]
    np.testing.assert_allclose(found.weights, [0.25, 0.45, 0.3])


def test_a_strict_gate_never_explores_a_sure_step() -> None:
    sure = np.array([50, 0, 0], np.float32)
    assert decide(sl.Selar(tau=0, symbol_guard=False), sure, SamplingConfig()).explored
    assert not decide(sl.Selar(tau=0, symbol_guard=False, strict_gate=True), sure, SamplingConfig()).explored


def test_the_guard_and_the_gate_both_have_to_agree() -> None:
    logits = np.full(128, -np.inf, np.float32)
    logits[[ord("7"), ord(" ")]] = 0
    assert not decide(sl.Selar(), logits, SamplingConfig(), ord("7")).explored
    assert decide(sl.Selar(), logits, SamplingConfig(), ord(" ")).explored
    assert decide(sl.Selar(symbol_guard=False), logits, SamplingConfig(), ord("7")).explored
    # The entropy is reported whether or not the step is guarded.
    assert decide(sl.Selar(), logits, SamplingConfig(), ord("7")).entropy == pytest.approx(math.log(2) / math.log(3))


# -- whole decodings on a fake model ----------------------------------------------------------


def run(method: sl.Method, text: bytes = b"", **options: object) -> list[TokenEvent]:
    """Forty tokens of a small linear model that sees the last input only; `text`: what it says first in any case."""
    random = np.random.default_rng(11)
    rows, weights = random.standard_normal((128, 16)), random.standard_normal((16, 128))
    sampling = SamplingConfig(**{"seed": 3, "temperature": 1.0, **options})
    sequence = Sequence(Request((5,), method, sampling, GenerationConfig(max_tokens=40)), Letters())
    given_first = iter(text)
    sequence.next_input = Token(5)
    while not sequence.finished:
        chosen = sequence.next_input
        mixed = rows[chosen.id] if isinstance(chosen, Token) else chosen.weights @ rows[chosen.ids]
        logits = (0.5 * mixed @ weights).astype(np.float32)
        if (forced := next(given_first, None)) is not None:
            logits[:] = -np.inf
            logits[forced] = 0
        sequence.take(logits, 1000)
    messages = [sequence.messages.get() for _ in range(sequence.messages.qsize())]
    return [message for message in messages if isinstance(message, TokenEvent)]


def tokens(events: list[TokenEvent]) -> list[int]:
    return [event.token for event in events]


@pytest.mark.parametrize("greedy", [False, True])
def test_a_gate_that_never_opens_is_plain_decoding(greedy: bool) -> None:
    plain = tokens(run(sl.CoT(), greedy=greedy))
    never = run(sl.Selar(tau=1.01), greedy=greedy)
    assert tokens(never) == plain
    assert not any(event.explored for event in never)
    assert all(event.entropy is not None for event in never)
    always = run(sl.Selar(tau=0, symbol_guard=False), greedy=greedy)
    assert all(event.explored for event in always)
    assert tokens(always) != plain


def test_scope_thinking_explores_between_the_tags_only() -> None:
    opening, closing = b"<think>hm", b"</think>"
    method = sl.Selar(tau=0, symbol_guard=False, scope="thinking")
    events = run(method, opening + closing)
    explored = [event.explored for event in events]
    begins, ends = len(b"<think>") - 1, len(opening + closing) - 1
    assert explored == [begins < i < ends for i in range(40)]
    assert not any(event.explored for event in run(method, b"no tag"))
    assert all(event.explored for event in run(replace(method, scope="all"), opening + closing))


# -- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"k": 1}, {"k": 0}, {"k": -3}, {"k": 1001}, {"k": 3.0}, {"k": "3"}, {"k": True}, {"k": None},
        {"tau": -1}, {"tau": math.nan}, {"tau": math.inf}, {"tau": "0.5"}, {"tau": None}, {"tau": False},
        {"contrast": -0.1}, {"contrast": math.nan}, {"contrast": math.inf}, {"contrast": "1"},
        {"gate_on": "Full"}, {"gate_on": ""}, {"gate_on": None}, {"scope": "think"}, {"scope": None},
        {"scope": ["all"]},
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Selar(**options)  # type: ignore[arg-type]


def test_the_paper_s_defaults() -> None:
    method = sl.Selar()
    assert (method.k, method.tau, method.contrast, method.symbol_guard) == (3, 0.5, 1.0, True)
    assert (method.gate_on, method.scope, method.strict_gate) == ("filtered", "all", False)
    assert method.n_candidates == 3 and sl.Selar(k=7).n_candidates == 7
    assert method.feeds_vectors and not method.greedy
    sampling = SamplingConfig()
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.6, 20, 0.95, 0.0)


@pytest.mark.parametrize("options", [{"symbol_guard": "no"}, {"strict_gate": 7}])
def test_a_switch_is_on_or_off(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        sl.Selar(**options)
