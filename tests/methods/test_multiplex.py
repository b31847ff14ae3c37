"""Multiplex Thinking: the draws, their weights, where the thinking ends, and the oracle's step for any logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import methods as oracle
from oracle.multiplex import Multiplex as Known
from oracle.multiplex import multiplex_step

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Mixture, Setting, Token
from selar_local.methods.distribution import draw, filtered_distribution
from selar_local.methods.multiplex import multiplexed

from .fakes import ALL, Logits, Words, generate, linear, logits_of, shares, start, view
from .strategies import samplings

WORDS = Words("a's", "b's", "c's", "<think>", "</think>", ends=["<end>"])
PLAIN = Words("a's", "b's", "c's", ends=["<end>"])
A, B, C, OPEN, CLOSE, END = (WORDS[word] for word in ("a's", "b's", "c's", "<think>", "</think>", "<end>"))
THREE = logits_of({A: 0.5, B: 0.3, C: 0.2}, WORDS.n_vocab)
SURE = logits_of({A: 1.0}, WORDS.n_vocab)
N_VOCAB = 40
ROWS = np.random.default_rng(8).standard_normal((N_VOCAB, 6))
LETTERS = Words()


def weights(first: int, *numbers: float, averaged: bool = False) -> dict[int, float]:
    found = multiplexed(filtered_distribution(THREE, ALL), first, numbers, averaged)
    return dict(zip(found.ids.tolist(), found.weights.tolist(), strict=True))


def test_the_test_vector() -> None:
    assert weights(B, 0.1, 0.49) == pytest.approx({A: 0.76923, B: 0.23077}, abs=1e-5)
    assert weights(B, 0.1, 0.49, averaged=True) == pytest.approx({A: 0.66667, B: 0.33333}, abs=1e-5)


@pytest.mark.parametrize(("number", "token"), [(0.0, A), (0.49, A), (0.51, B), (0.79, B), (0.81, C), (0.9999999999, C)])
def test_a_number_draws_as_the_first_draw_does(number: float, token: int) -> None:
    assert draw(filtered_distribution(THREE, ALL), number) == token
    assert weights(token, number) == {token: 1.0}


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1, exclude_max=True), st.integers(0, 50), st.floats(0.05, 1))
def test_further_draws_are_made_as_the_first(seed: int, u: float, top_k: int, top_p: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, N_VOCAB).astype(np.float32)
    distribution = filtered_distribution(logits, SamplingConfig(top_k=top_k, top_p=top_p), 3)
    token = draw(distribution, u)
    assert multiplexed(distribution, token, [u]).ids.tolist() == [token]


def test_its_own_numbers_draw_the_others() -> None:
    """The sequence's own draw is the first; the others come from the method's numbers, one set a step."""
    stepper = start(sl.Multiplex(draws=3, averaged=True), WORDS, seed=9)
    numbers = Setting(WORDS, ALL, 100, seed=9).noise().random((50, 2))
    for pair in numbers:
        found = stepper(view(THREE, B))
        drawn = [B, *(draw(filtered_distribution(THREE, ALL), u) for u in pair)]
        if len(set(drawn)) == 1:
            assert found == Decision(Token(B))
        else:
            assert shares(found) == pytest.approx({token: drawn.count(token) / 3 for token in set(drawn)})


def test_draws_that_agree_are_a_plain_token() -> None:
    assert start(sl.Multiplex(), WORDS)(view(SURE)) == Decision(Token(A))
    steps = generate(sl.Multiplex(), lambda _: (THREE, np.zeros(1)), WORDS, max_tokens=200)
    explored = [event.explored for event in steps.events]
    assert explored == [isinstance(chosen, Mixture) for chosen in steps.inputs] + explored[-1:]
    assert 0.7 < np.mean(explored) < 0.95  # three of .5 .3 .2 agree at 16 %
    assert steps.result.usage.explored_steps == sum(explored)


@pytest.mark.parametrize("greedy", [False, True])
def test_one_draw_is_cot(greedy: bool) -> None:
    cot = generate(sl.CoT(), linear(LETTERS.n_vocab), LETTERS, greedy=greedy)
    one = generate(sl.Multiplex(draws=1), linear(LETTERS.n_vocab), LETTERS, greedy=greedy)
    assert len(one.events) == 40
    assert one.events == cot.events and one.inputs == cot.inputs


@pytest.mark.parametrize("seed", range(20))
def test_the_first_draws_are_those_of_cot(seed: int) -> None:
    """Where the model gives the same logits whatever it is fed, the printed texts are the same."""
    cot, several = (
        generate(method, lambda _: (THREE, np.zeros(1)), WORDS, seed=seed) for method in (sl.CoT(), sl.Multiplex())
    )
    assert several.tokens == cot.tokens and several.result.text == cot.result.text


def test_a_greedy_first_draw() -> None:
    stepper = start(sl.Multiplex(draws=8), WORDS)
    for _ in range(20):
        found = stepper(view(THREE))
        assert found.token in (None, A)
        assert not found.explored or A in shares(found)
    assert sl.Multiplex().sampling({"temperature": 0.0}).greedy


def test_the_heaviest_is_shown() -> None:
    stepper = start(sl.Multiplex(draws=8, show="heaviest"), WORDS)
    for _ in range(50):
        found = stepper(view(THREE, C))
        heavy = shares(found)
        assert found.token == max(heavy, key=heavy.__getitem__)
    ending = logits_of({A: 0.6, CLOSE: 0.2, END: 0.2}, WORDS.n_vocab)
    assert start(sl.Multiplex(draws=8, show="heaviest"), WORDS)(view(ending, END)).token == END
    closing = start(sl.Multiplex(draws=8, show="heaviest"), WORDS)(view(ending, CLOSE))
    assert (closing.next_input, closing.token) == (Token(CLOSE), CLOSE)


def test_the_closing_token_ends_it() -> None:
    stepper = start(sl.Multiplex(draws=8), WORDS)
    assert stepper(view(THREE, B)).explored
    closing = stepper(view(logits_of({CLOSE: 0.4, A: 0.3, B: 0.3}, WORDS.n_vocab), CLOSE))
    assert (closing.next_input, closing.token, closing.kept) == (Token(CLOSE), CLOSE, "end of thinking")
    assert all(stepper(view(THREE, B, thinking=False)) == Decision(Token(B)) for _ in range(20))


def test_a_further_draw_that_closes_does_not() -> None:
    stepper = start(sl.Multiplex(draws=8), WORDS)
    nearly = logits_of({CLOSE: 0.7, A: 0.3}, WORDS.n_vocab)
    assert CLOSE in shares(stepper(view(nearly, A)))
    assert stepper(view(THREE, B)).explored


def test_tags_of_several_tokens() -> None:
    """The last token that spells the tag closes the thinking: its own row is fed, and what follows is plain."""
    stepper = start(sl.Multiplex(draws=8), PLAIN)
    even = logits_of({PLAIN["a's"]: 0.5, ord(">"): 0.5}, PLAIN.n_vocab)
    after = {"thinking_after": lambda token: token != ord(">")}
    assert stepper(view(even, PLAIN["a's"], **after)).explored
    assert stepper(view(even, ord(">"), **after)).next_input == Token(ord(">"))
    assert not any(stepper(view(even, PLAIN["a's"], thinking=False)).explored for _ in range(20))
    n = LETTERS.n_vocab
    spelled = generate(sl.Multiplex(draws=8), linear(n, begin=b"<think>ab</think>"), LETTERS, max_tokens=60)
    assert spelled.result.thinking == "ab" and spelled.result.usage.explored_steps == 0
    opened = generate(sl.Multiplex(draws=8), linear(n), LETTERS, prompt_tail="<think>")
    assert opened.result.usage.explored_steps > 30


def test_a_prompt_that_has_closed_the_thinking() -> None:
    assert not any(start(sl.Multiplex(draws=8), WORDS, thinking_over=True)(view(THREE, B)).explored for _ in range(20))
    closed = generate(sl.Multiplex(), linear(LETTERS.n_vocab), LETTERS, prompt_tail="<think>\n</think>\n")
    assert closed.events == generate(sl.CoT(), linear(LETTERS.n_vocab), LETTERS).events


def test_notes() -> None:
    notes = [
        sl.Multiplex().notes(WORDS, has_thinking=thinks, thinking_over=over)
        for thinks, over in ((True, False), (True, True), (False, False))
    ]
    assert [len(note) for note in notes] == [0, 1, 1]
    assert sl.Multiplex(draws=1).notes(WORDS, has_thinking=False, thinking_over=False) == ()
    assert "the prompt has ended" in notes[1][0] and "no thinking tags" in notes[2][0]


def test_an_end_token_ends_the_text() -> None:
    ending = logits_of({END: 0.6, A: 0.4}, WORDS.n_vocab)
    found = generate(sl.Multiplex(draws=8), lambda _: (ending, np.zeros(1)), WORDS, greedy=True)
    assert (found.tokens, found.result.finish_reason, found.inputs) == ([END], "stop", [])
    assert found.result.usage.explored_steps == 0


@pytest.mark.parametrize(
    "options",
    [{"draws": 0}, {"draws": 9}, {"draws": 2.0}, {"draws": True}, {"averaged": 1}, {"averaged": None}, {"show": "all"}],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Multiplex(**options)


LOGITS = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(0, 3, N_VOCAB).astype(np.float32))
SAMPLING = samplings(fewest=1)


@settings(max_examples=80, deadline=None)
@given(LOGITS, st.integers(1, 8), st.booleans(), st.sampled_from(["drawn", "heaviest"]), SAMPLING, st.integers(0, 999))
def test_a_step_is_the_oracle_s(
    logits: Logits, draws: int, averaged: bool, show: Any, sampling: SamplingConfig, seed: int
) -> None:
    filters = oracle.Filters(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    wide = logits.astype(np.float64)
    distribution = filtered_distribution(logits, sampling, 3)
    stepper = start(sl.Multiplex(draws=draws, averaged=averaged, show=show), LETTERS, sampling, seed=seed)
    noise = oracle.noise_generator(seed)
    for u in oracle.uniform_numbers(seed, 3):
        token = draw(distribution, u)
        found = stepper(view(logits, token, sampling))
        expected = multiplex_step(False, wide, ROWS, filters, Known(draws, averaged, show), u, noise)
        assert (token if found.token is None else found.token) == expected.token
        assert found.explored == expected.explored
        if found.explored:
            assert isinstance(found.next_input, Mixture)
            assert found.next_input.ids.tolist() == expected.ids.tolist()
            np.testing.assert_allclose(found.next_input.weights, expected.weights, atol=1e-9)
