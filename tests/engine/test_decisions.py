"""What a method's decision can ask of the loop: replaced tokens, latent positions, an end, sampling, coupling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scripted_runtime import END, ScriptedRuntime, drive, outcome, request

from selar_local.config import SamplingConfig
from selar_local.engine.events import is_mismatched
from selar_local.engine.scheduler import Scheduler
from selar_local.methods import Coconut, Method
from selar_local.methods.base import Decision, Mixture, Setting, Stepper, StepView, Token, Vector

Decide = Callable[[StepView, int], Decision]


class Deciding(Stepper):
    """Decides by a function of the view and the number of the step."""

    def __init__(self, decide: Decide) -> None:
        self.decide, self.steps = decide, 0

    def __call__(self, view: StepView) -> Decision:
        self.steps += 1
        return self.decide(view, self.steps - 1)


@dataclass(frozen=True)
class Scripted(Method):
    name: ClassVar[str] = "scripted"
    summary: ClassVar[str] = "for tests"
    source: ClassVar[str] = "tests"
    decide: Decide
    greedy: ClassVar[bool] = True

    def start(self, setting: Setting) -> Stepper:
        return Deciding(self.decide)


@dataclass(frozen=True)
class WithHidden(Scripted):
    needs_hidden: ClassVar[bool] = True


def run(decide: Decide, script: Sequence[int], cls: type[Scripted] = Scripted, capacity: int = 100, **options: object):
    runtime = ScriptedRuntime({5: script}, capacity=capacity)
    runtime.strict = False
    sequence = request([5, 5, 5], cls(decide=decide), **options)
    drive(Scheduler(runtime, 1), sequence)
    assert runtime.held == {}
    return outcome(sequence), [chosen for _, chosen in runtime.fed]


def soft(*ids: int) -> Mixture:
    return Mixture(np.array(ids), np.full(len(ids), 1 / len(ids)))


# -- tokens in place of the drawn one ---------------------------------------------------------


def test_a_replaced_token_is_shown_recorded_and_does_not_change_what_is_fed():
    got, fed = run(lambda view, i: Decision(Token(view.token), token=40 + i), [10, 11], max_tokens=2)
    assert got.result.tokens == (40, 41)
    assert got.result.text == "<40><41>"
    assert fed == [Token(10)]


def test_a_replaced_token_that_ends_ends_the_text():
    got, _ = run(lambda view, i: Decision(Token(view.token), token=END if i == 1 else None), [10, 11, 12])
    assert got.result.tokens == (10, END)
    assert got.result.finish_reason == "stop"


def test_an_ending_token_that_was_replaced_does_not_end_the_text():
    got, _ = run(lambda view, i: Decision(Token(20), token=20 if view.token == END else None), [10], max_tokens=4)
    assert got.result.tokens == (10, 20, 20, 20)
    assert got.result.finish_reason == "length"


def test_a_method_can_end_the_text():
    got, _ = run(lambda view, i: Decision(Token(view.token), last=i == 1), [10, 11, 12, 13])
    assert got.result.tokens == (10, 11)
    assert (got.result.finish_reason, got.result.context_full) == ("length", False)


def test_modes_and_exploration_are_reported():
    def decide(view: StepView, i: int) -> Decision:
        return Decision(soft(10, 11), 0.5, mode="soft") if i else Decision(Token(10), 0.5)

    got, _ = run(decide, [10, 10, 10], max_tokens=3)
    assert [(event.mode, event.explored) for event in got.events] == [(None, False), ("soft", True), ("soft", True)]
    assert got.result.usage.explored_steps == 2


# -- latent positions -------------------------------------------------------------------------


def latent(n: int) -> Decide:
    def decide(view: StepView, i: int) -> Decision:
        if i >= n:
            assert view.hidden is None
            return Decision(Token(view.token))
        assert view.hidden is not None
        return Decision(Vector(view.hidden.copy()), silent=True, needs_hidden=i < n - 1)

    return decide


def test_steps_that_feed_more_of_another_token_than_they_print_are_counted():
    """A tie is no mismatch, nor is a vector, nor the last step, which feeds nothing."""
    weights = [(0.6, 0.4), (0.4, 0.6), (0.5, 0.5), (1.5, -0.5), (-0.5, 1.5), None, (0.4, 0.6)]

    def decide(view: StepView, step: int) -> Decision:
        if weights[step] is None:
            return Decision(Vector(np.zeros(4, dtype=np.float32)))
        return Decision(Mixture(np.array([view.token, 9]), np.array(weights[step])))

    got, _ = run(decide, [10] * 7, max_tokens=7)
    assert [is_mismatched(event.token, event.fed) for event in got.events] == [
        False,
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert got.result.usage.mismatched_steps == 2


def test_latent_positions_are_fed_and_not_shown():
    got, fed = run(latent(3), [10, 11, 12, 13, 14], WithHidden)
    assert got.result.tokens == (13, 14, END)  # the three positions before them had logits nobody asked for
    assert got.result.usage.latent_steps == 3
    assert got.result.usage.completion_tokens == 3
    assert got.result.usage.explored_steps == 0
    # The hidden state of the position before: after 3, 4 and 5 inputs.
    assert [chosen.values.tolist() for chosen in fed[:3]] == [[3, 3], [4, 4], [5, 5]]
    assert fed[3:] == [Token(13), Token(14)]


def test_latent_positions_take_no_tokens_of_the_limit():
    got, _ = run(latent(3), [10] * 9, WithHidden, max_tokens=2)
    assert got.result.tokens == (10, 10)
    assert got.result.finish_reason == "length" and not got.result.context_full
    none, _ = run(latent(3), [10] * 9, WithHidden, max_tokens=0)
    assert none.events == [] and none.result.usage.latent_steps == 0


def test_the_context_can_fill_up_at_a_latent_position():
    got, _ = run(latent(8), [10] * 20, WithHidden, capacity=5)
    assert got.events == []
    assert (got.result.finish_reason, got.result.context_full) == ("length", True)


def test_coconut_on_the_loop():
    runtime = ScriptedRuntime({5: [10, 11, 12, 13]}, batch_size=2)
    runtime.strict = False
    sequence = request([5, 6, 7], Coconut(latent_steps=1, latent_start=20, latent_end=21))
    drive(Scheduler(runtime, 1), sequence)
    got = outcome(sequence)
    first, state, last = (chosen for _, chosen in runtime.fed[:3])
    assert (first, last) == (Token(20), Token(21))
    assert state.values.tolist() == [4, 4]  # the start marker's own state
    assert got.result.tokens == (13, END)
    assert got.result.usage.latent_steps == 1


# -- the method's own sampling ----------------------------------------------------------------


def test_a_stepper_s_sampling_filters_the_coming_steps():
    class Narrowing(Deciding):
        def __call__(self, view: StepView) -> Decision:
            self.sampling = SamplingConfig(top_k=1, greedy=True)
            return super().__call__(view)

    @dataclass(frozen=True)
    class Narrow(Scripted):
        def start(self, setting: Setting) -> Stepper:
            return Narrowing(self.decide)

    seen = []

    def decide(view: StepView, i: int) -> Decision:
        seen.append(int((view.distribution.probs > 0).sum()))
        return Decision(Token(view.token))

    run(decide, [(10, 11, 12), (10, 11, 12)], Narrow, max_tokens=2)
    assert seen == [3, 1]


def test_what_a_token_would_do_to_the_thinking():
    pieces = {7: b"<think>", 8: b"</think>", 9: b"hm"}
    seen = []

    def decide(view: StepView, i: int) -> Decision:
        seen.append((view.thinking, view.thinking_after(8), view.thinking_after(9), view.keeps_thinking()))
        return Decision(Token(view.token))

    got, _ = run(decide, [7, 9, 8, 9], pieces=pieces, max_tokens=4)
    assert seen[0] == (False, False, False, False)
    assert seen[1] == (True, False, True, True)
    assert seen[2] == (True, False, True, False)
    assert seen[3] == (False, False, False, False)
    assert (got.result.thinking, got.result.text) == ("hm", "hm")  # asking changed nothing
