"""What steps fed, from the event to the file: compared with the inputs that the model really got."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from methods.fakes import Words, generate, linear, logits_of, scripted
from support import traces as made

from selar_local.engine.events import fed_by
from selar_local.methods import Coconut, CoT, Method, MoI, Multiplex, Selar, SoftThinking, SwiReasoning
from selar_local.methods.base import Decision, Mixture, Setting, Stepper, StepView, Token, Vector
from selar_local.methods.entropy import candidate_entropy
from selar_local.trace import read_trace

VOCABULARY = Words(" yes", " no", " maybe", ends=("<end>",))
METHODS = [
    Selar(tau=0.2),
    Selar(tau=0.2, k=5, contrast=0.0),
    Selar(tau=0.0, k=4, contrast=2.5, repel=2, symbol_guard=False),
    Selar(tau=0.1, anchor=0.4),
    Selar(tau=0.1, show="heaviest"),
    Selar(tau=0.1, anchor=0.5, show="heaviest"),
    Selar(tau=0.1, gate_on="full", strict_gate=True),
    Selar(tau=0.7, invert_gate=True, symbol_guard=False),
    Selar(tau=0.1, max_share=0.2, scope="thinking"),
    Selar(tau=0.2, invert_gate=True, gate_by="p-max", symbol_guard=False),
    MoI(),
    MoI(tau=0.3, mix_on="filtered"),
    Multiplex(),
    Multiplex(draws=8, averaged=True, show="heaviest"),
    SoftThinking(),
    SoftThinking(max_topk=4),
    SoftThinking(noise="gumbel"),
    SwiReasoning(soft_rows=40),
    SwiReasoning(symbol_guard=False),
    Coconut(),
    CoT(),
]


@pytest.mark.parametrize("method", METHODS, ids=str)
@pytest.mark.parametrize("sampling", [{}, {"top_k": 2}, {"top_p": 0.6}])
def test_events_and_traces_have_what_was_fed(method: Method, sampling, tmp_path):
    done = generate(method, linear(VOCABULARY.n_vocab), VOCABULARY, prompt_tail="<think>", **sampling)
    found = made.written(tmp_path / "t.jsonl", method, done, VOCABULARY)
    inputs = [fed_by(one) for one in done.inputs[done.result.usage.latent_steps :]]
    if isinstance(method, Coconut):
        inputs = inputs[-(len(done.events) - 1) :]
    assert [event.fed for event in done.events] == [*inputs[: len(done.events) - 1], ()]
    for step, event in zip(found.steps, done.events, strict=True):
        own = ((event.token, 1.0),) if event.fed == () and not event.explored else event.fed
        assert (step.fed, step.drawn, step.kept) == (own, event.drawn, event.kept)
        assert event.explored or event.fed in ((), ((event.token, 1.0),))
    if not isinstance(method, (Coconut, CoT)):
        assert sum(len(step.fed or ()) > 1 for step in found.steps) > 2


def test_a_trace_names_only_what_is_not_the_token(tmp_path):
    method = Selar(tau=0.1, show="heaviest")
    done = generate(method, linear(VOCABULARY.n_vocab), VOCABULARY)
    made.written(tmp_path / "t.jsonl", method, done, VOCABULARY)
    _, steps, end = read_trace(tmp_path / "t.jsonl")
    for step, event in zip(steps, done.events, strict=True):
        assert ("drawn" in step) is (event.drawn != event.token)
        assert ("fed" in step) is event.explored and ("kept" in step) is (event.kept is not None)
    assert any("drawn" in step for step in steps)
    fed = {str(token) for step in steps for token, _ in step.get("fed", ())}
    assert end is not None and fed <= end["pieces"].keys()


def test_the_kinds_of_input():
    assert fed_by(Token(7)) == ((7, 1.0),)
    assert fed_by(Mixture(np.array([3, 9]), np.array([-0.5, 1.5]))) == ((3, -0.5), (9, 1.5))
    assert fed_by(Vector(np.zeros(4, np.float32))) is None


@dataclass(frozen=True, kw_only=True)
class Hidden(Method):
    name: ClassVar[str] = "hidden"
    summary: ClassVar[str] = "for tests"
    source: ClassVar[str] = "tests"
    feeds_vectors: ClassVar[bool] = True

    def start(self, setting: Setting) -> Stepper:
        return _Hidden()


class _Hidden(Stepper):
    def __call__(self, view: StepView) -> Decision:
        return Decision(Vector(np.ones(16, np.float32)))


def test_a_vector_is_recorded_as_none(tmp_path):
    done = generate(Hidden(), linear(VOCABULARY.n_vocab), VOCABULARY, max_tokens=3)
    assert [event.fed for event in done.events] == [None, None, ()]
    found = made.written(tmp_path / "t.jsonl", Hidden(), done, VOCABULARY)
    assert [step.fed for step in found.steps] == [None, None, ()]


# -- why a step stayed a certain one --------------------------------------------------------------------


def kept(method: Method, **how: object) -> list[str | None]:
    done = generate(method, linear(VOCABULARY.n_vocab), VOCABULARY, **how)
    for event in done.events:
        if isinstance(method, Selar) and event.entropy is not None:
            opens = event.entropy > method.tau if method.strict_gate else event.entropy >= method.tau
            assert (event.explored or event.kept is not None) is (opens != method.invert_gate)
        assert not (event.explored and event.kept)
    return [event.kept for event in done.events]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_every_open_gate_explores_or_has_its_reason(strict, invert):
    for tau in (0.0, 0.2, 0.5, 0.8, 1.0):
        gate = {"tau": tau, "strict_gate": strict, "invert_gate": invert}
        assert set(kept(Selar(**gate, symbol_guard=False))) <= {None, "end"}
        assert set(kept(Selar(**gate, max_share=0.1), prompt_tail="<think>")) <= {None, "symbol guard", "budget", "end"}
        assert set(kept(Selar(**gate, scope="thinking"))) <= {None, "symbol guard", "scope", "end"}


def test_the_reasons_of_selar():
    assert set(kept(Selar(tau=0.0))) == {"symbol guard", None}
    assert "budget" in kept(Selar(tau=0.0, max_share=0.1)) and "budget" not in kept(Selar(tau=0.0))
    assert set(kept(Selar(tau=0.0, scope="thinking", symbol_guard=False))) == {"scope"}
    assert set(kept(Selar(tau=2.0))) == set(kept(CoT())) == {None}


@pytest.mark.parametrize("method", [Selar(tau=0.5), SoftThinking(), SwiReasoning()], ids=str)
def test_the_token_that_ends_the_text_is_never_fed(method):
    torn = logits_of({VOCABULARY["<end>"]: 0.6, VOCABULARY[" no"]: 0.4}, VOCABULARY.n_vocab)
    done = generate(method, scripted([torn]), VOCABULARY, prompt_tail="<think>", seed=3)
    last = done.events[-1]
    assert done.result.finish_reason == "stop" and (last.fed, last.explored, last.kept) == ((), False, "end")


def test_the_reasons_of_other_methods():
    assert set(kept(SwiReasoning())) == {None, "symbol guard"}


def test_the_entropy_of_candidates_is_selars():
    done = generate(Selar(), linear(VOCABULARY.n_vocab), VOCABULARY)
    for event in done.events:
        assert candidate_entropy(event.top) == event.entropy
    assert candidate_entropy(((5, 1.0),)) is None
    assert candidate_entropy(((5, 0.0), (6, 0.0))) is None
