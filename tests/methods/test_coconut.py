"""Coconut: markers and hidden states between prompt and text, without a token of their own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.errors import DecodeError, OptionError
from selar_local.methods.base import Decision, NextInput, Token, Vector

from .fakes import Words, generate, linear, logits_of, scripted, start, view

WORDS = Words(" a", " b", "<|start-latent|>", "<|end-latent|>", "<s>", "<e>", ends=["<end>"])
START, END = WORDS["<|start-latent|>"], WORDS["<|end-latent|>"]
PLAIN = Words(" a", " b")
A, B = WORDS[" a"], WORDS[" b"]
TORN = logits_of({A: 0.5, B: 0.4}, WORDS.n_vocab)


def decisions(method: sl.Coconut, count: int, vocabulary: Words = WORDS) -> list[Decision]:
    """The first decisions; the hidden state of step i is full of i, and is there where it was asked for."""
    stepper = start(method, vocabulary)
    found: list[Decision] = []
    wanted = method.needs_hidden
    for i in range(count):
        hidden = np.full(3, i, np.float32) if wanted else None
        found.append(stepper(view(TORN[: vocabulary.n_vocab], B if vocabulary is WORDS else 65, hidden=hidden)))
        wanted = found[-1].needs_hidden
    return found


def shown(chosen: NextInput) -> int | float:
    """A token's id, or what a vector is full of as a float."""
    if isinstance(chosen, Vector):
        assert chosen.values.dtype == np.float32 and len(set(chosen.values.tolist())) == 1
        return float(chosen.values[0])
    assert isinstance(chosen, Token)
    return chosen.id


@pytest.mark.parametrize(
    ("vocabulary", "options", "plan", "needs"),
    [
        # The state behind the start marker is the first that is fed: that of step 1.
        (WORDS, {"latent_steps": 3}, [START, 1.0, 2.0, 3.0, END], [True, True, True, False, False]),
        (WORDS, {"latent_steps": 1}, [START, 1.0, END], [True, False, False]),
        (WORDS, {"latent_steps": 0}, [START, END], [False, False]),
        (WORDS, {}, [START, *map(float, range(1, 7)), END], [True] * 6 + [False] * 2),
        (PLAIN, {"latent_steps": 3}, [0.0, 1.0, 2.0], [True, True, False]),  # a model without the markers
        (PLAIN, {"latent_steps": 1}, [0.0], [False]),
        (PLAIN, {"latent_steps": 0}, [], []),
        (PLAIN, {"latent_steps": 2, "latent_start": " a"}, [A, 1.0, 2.0], [True, True, False]),
        (PLAIN, {"latent_steps": 2, "latent_end": 9}, [0.0, 1.0, 9], [True, False, False]),
        (WORDS, {"latent_steps": 1, "latent_start": "<s>", "latent_end": "<e>"}, [WORDS["<s>"], 1.0, WORDS["<e>"]],
         [True, False, False]),
        (WORDS, {"latent_steps": 1, "latent_start": 0}, [0, 1.0, END], [True, False, False]),
    ],
)  # fmt: skip
def test_the_plan_of_markers_and_states(
    vocabulary: Words, options: dict[str, Any], plan: list[int | float], needs: list[bool]
) -> None:
    found = decisions(sl.Coconut(**options), len(plan) + 3, vocabulary)
    latent, text = found[: len(plan)], found[len(plan) :]
    assert [(type(x), x) for x in (shown(d.next_input) for d in latent)] == [(type(x), x) for x in plan]
    assert [d.needs_hidden for d in latent] == needs
    assert all(d.silent and d.mode == "latent" and d.token is None and not d.last for d in latent)
    drawn = B if vocabulary is WORDS else 65
    assert text == [Decision(Token(drawn), mode="normal")] * 3
    assert all(d.entropy is None for d in found)


def test_the_state_fed_is_a_copy() -> None:
    """What the view holds is valid during the step only."""
    stepper, hidden = start(sl.Coconut(latent_steps=1), PLAIN), np.ones(3, np.float32)
    found = stepper(view(TORN[: PLAIN.n_vocab], 65, hidden=hidden)).next_input
    hidden[:] = 7
    assert isinstance(found, Vector) and found.values.tolist() == [1, 1, 1]


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_missing_state_is_an_error_at_the_step_that_needs_it(step: int) -> None:
    stepper, given = start(sl.Coconut(latent_steps=3), PLAIN), np.ones(3, np.float32)
    for _ in range(step):
        stepper(view(TORN[: PLAIN.n_vocab], 65, hidden=given))
    with pytest.raises(DecodeError, match="hidden state"):
        stepper(view(TORN[: PLAIN.n_vocab], 65))


def test_markers_need_no_state() -> None:
    stepper = start(sl.Coconut(latent_steps=0), WORDS)
    assert [stepper(view(TORN)).next_input for _ in range(3)] == [Token(START), Token(END), Token(A)]


# -- whole generations --------------------------------------------------------------------------


def test_a_generation_feeds_its_own_states_and_shows_the_text_alone() -> None:
    found = generate(sl.Coconut(latent_steps=2), scripted([TORN]), WORDS, max_tokens=3)
    assert found.inputs[0] == Token(START) and found.inputs[3] == Token(END)
    assert [shown(chosen) for chosen in found.inputs[1:3]] == [1.0, 2.0]
    assert found.tokens == [A, A, A]  # greedy, and counted from the text on
    assert [event.index for event in found.events] == [0, 1, 2]
    assert [event.mode for event in found.events] == ["normal"] * 3
    assert found.result.text == " a a a"
    assert found.result.usage.completion_tokens == 3
    assert found.result.usage.explored_steps == 0
    assert found.result.usage.latent_steps == 2
    assert found.result.mean_entropy is None


def test_each_state_is_that_of_the_position_before() -> None:
    """The linear model's state is another at each position."""
    model, seen = linear(PLAIN.n_vocab), linear(PLAIN.n_vocab)
    found = generate(sl.Coconut(latent_steps=4), model, PLAIN, max_tokens=5)
    chosen: NextInput = Token(5)
    for fed in found.inputs[:4]:
        state = seen(chosen)[1]
        assert isinstance(fed, Vector)
        np.testing.assert_array_equal(fed.values, state)
        chosen = Vector(state)
    for token in found.tokens:
        logits = seen(chosen)[0]
        assert token == logits.argmax()
        chosen = Token(token)


def test_without_latent_steps_and_markers_it_is_greedy_decoding() -> None:
    found = generate(sl.Coconut(latent_steps=0), linear(PLAIN.n_vocab), PLAIN)
    assert found.tokens == generate(sl.CoTGreedy(), linear(PLAIN.n_vocab), PLAIN).tokens
    assert found.result.usage.latent_steps == 0


def test_an_ending_token_counts_in_the_text_only() -> None:
    """The model would end at every position; latent ones show nothing."""
    found = generate(sl.Coconut(latent_steps=2), scripted([logits_of({WORDS["<end>"]: 1.0}, WORDS.n_vocab)]), WORDS)
    assert len(found.inputs) == 4
    assert found.tokens == [WORDS["<end>"]]
    assert found.result.finish_reason == "stop"


# -- options ------------------------------------------------------------------------------------


def test_defaults() -> None:
    method = sl.Coconut()
    assert (method.latent_steps, method.latent_start, method.latent_end) == (6, None, None)
    assert method.greedy and method.feeds_vectors and method.needs_hidden
    assert sl.Coconut(latent_steps=10_000).latent_steps == 10_000


@pytest.mark.parametrize(
    "options",
    [
        {"latent_steps": -1}, {"latent_steps": 10_001}, {"latent_steps": 1.0}, {"latent_steps": True},
        {"latent_steps": math.nan}, {"latent_start": ""}, {"latent_start": -1}, {"latent_start": True},
        {"latent_end": 1.0}, {"latent_end": ""},
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Coconut(**options)


@pytest.mark.parametrize("name", ["latent_start", "latent_end"])
@pytest.mark.parametrize("token", [PLAIN.n_vocab, "<|start-latent|>", "no such"])
def test_a_marker_that_the_model_lacks(name: str, token: int | str) -> None:
    with pytest.raises(OptionError, match=name):
        start(sl.Coconut(**{name: token}), PLAIN)


@pytest.mark.parametrize(
    ("text", "prompt"), [("Q", "Q\n"), ("Q\n", "Q\n"), ("Q\n\n", "Q\n\n"), ("Q ", "Q \n"), ("", "\n")]
)
def test_the_question_ends_with_a_newline(text: str, prompt: str) -> None:
    assert sl.Coconut().prompt_text(text) == prompt
