"""SwiReasoning: its modes by the entropy's trend, what is mixed in at a switch, injected tokens, and soft vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import swireasoning as oracle
from oracle.methods import Filters

import selar_local as sl
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Mixture, Token
from selar_local.methods.swireasoning import soft_mixture
from selar_local.methods.symbols import symbol_ids

from .fakes import ALL, Logits, Words, entropy_of, generate, logits_of, scripted, shares, start, view

LETTERS = [f"{letter}'s" for letter in "abcdefgh"]
WORDS = Words(*LETTERS, "<think>", "</think>", "\\n", "\n\n", " final", ends=["<end>"])
PLAIN = Words(*LETTERS, "\n\n", " final")  # neither tags nor the line break, which are several tokens here
A, B, C, H = (WORDS[f"{letter}'s"] for letter in "abch")
OPEN, CLOSE, BREAK, END = (WORDS[word] for word in ("<think>", "</think>", "\\n", "<end>"))
ANSWER = [WORDS["\n\n"], *map(ord, "The"), WORDS[" final"], *map(ord, " answer is")]


def even(count: int, vocabulary: Words = WORDS) -> Logits:
    """The first `count` letters, each as likely: an entropy of log `count`."""
    return logits_of(dict.fromkeys(range(A, A + count), 1 / count), vocabulary.n_vocab)


def steps(
    method: sl.SwiReasoning,
    counts: Sequence[int],
    tokens: dict[int, int] | int = H,
    vocabulary: Words = WORDS,
    **setting: Any,
) -> list[Decision]:
    """A decision for each `even(count)`. tokens: the one drawn at all steps, or some by step (else H)."""
    drawn = dict.fromkeys(range(len(counts)), tokens) if isinstance(tokens, int) else tokens
    stepper = start(method, vocabulary, **setting)
    return [stepper(view(even(count, vocabulary), drawn.get(i, H))) for i, count in enumerate(counts)]


def modes(found: Sequence[Decision]) -> str:
    """s or n, the mode after each step; large where the input is a mixture."""
    letters = [(decision.mode or "?")[0] for decision in found]
    return "".join(
        letter.upper() if decision.explored else letter for letter, decision in zip(letters, found, strict=True)
    )


def forced(found: Sequence[Decision]) -> dict[int, int]:
    """The tokens that were shown in place of the drawn ones, by step."""
    return {i: decision.token for i, decision in enumerate(found) if decision.token is not None}


def ends(found: Sequence[Decision]) -> int | None:
    """The step whose decision is that the text ends."""
    return next((i for i, decision in enumerate(found) if decision.last), None)


# -- modes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "counts", "expected"),
    [
        # Soft until the entropy is below the first one; equal is not below.
        (1, [4, 4, 5, 4, 3], "SSSSN"),
        (1, [4, 8, 5, 4, 4], "SSSSS"),
        # The entropy at the switch is the reference then: to soft above it, to normal below the next one.
        (1, [4, 2, 2, 1, 2, 3, 3, 4, 2, 3], "SNnnnSSSNS"),
        (1, [4, 3, 4, 3, 4], "SNSNS"),
        # The first reference is forgotten at the first switch.
        (1, [8, 2, 3, 7, 3, 2], "SNSSSN"),
        # At least so many steps in normal mode, the one that switched to it counted.
        (2, [4, 3, 4, 4, 3, 4], "SNnSNn"),
        (3, [4, 3, 4, 4, 4, 3, 4], "SNnnSNn"),
        (3, [4, 3, 4, 4, 2, 2, 4], "SNnnnnS"),
        (9, [4, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4], "SNnnnnnnnnS"),
        (0, [4, 3, 4, 3, 4], "SNSNS"),
        # The window is no matter for a switch to normal.
        (5, [4, 3, 4, 4, 4, 4, 4, 3, 2], "SNnnnnSNn"),
        # Neither entropy nor mode are those of the first step alone.
        (1, [1, 1, 1], "SSS"),
        (1, [1], "S"),
    ],
)
def test_modes_by_the_trend_of_the_entropy(window: int, counts: list[int], expected: str) -> None:
    found = steps(sl.SwiReasoning(window_size=window), counts)
    assert modes(found) == expected
    assert [d.entropy for d in found] == pytest.approx([math.log(count) for count in counts], abs=1e-6)
    assert forced(found) == {}
    assert not any(d.last or d.silent or d.needs_hidden for d in found)


def test_the_default_window() -> None:
    assert modes(steps(sl.SwiReasoning(), [4, 3] + [4] * 520)) == "SN" + 511 * "n" + 9 * "S"


def test_entropy_and_mixture_are_those_of_all_tokens_at_temperature_one() -> None:
    """The filters are for the draw alone."""
    values = logits_of({A: 0.6, B: 0.2, C: 0.2}, WORDS.n_vocab)
    sharp = sl.SwiReasoning().sampling({"temperature": 0.1, "top_k": 1, "top_p": 0.5, "min_p": 0.9})
    for sampling in (ALL, sharp, sl.SwiReasoning().sampling({"temperature": 0})):
        stepper = start(sl.SwiReasoning(soft_mass=1.0), WORDS, sampling)
        stepper(view(values, B, sampling))
        found = stepper(view(values, B, sampling))
        assert found.entropy == pytest.approx(entropy_of(values), abs=1e-6)
        assert {token: weight for token, weight in shares(found).items() if weight} == pytest.approx(
            {A: 0.6, B: 0.2, C: 0.2}
        )


@pytest.mark.parametrize(
    ("tokens", "counts", "expected"),
    [
        # Drawing </think> locks normal for good: no switch, nothing mixed in.
        ({1: CLOSE}, [4, 4, 8, 8, 2, 8], "Snnnnn"),
        ({0: CLOSE}, [4, 8, 2, 8], "nnnn"),
        ({3: CLOSE}, [4, 3, 3, 3, 8, 8], "SNnnnn"),
        # Even where the entropy would have switched at that step, either way.
        ({1: CLOSE}, [4, 3, 8, 8], "Snnn"),
        ({2: CLOSE}, [4, 3, 4, 8, 8], "SNnnn"),
        # Drawing <think> is nothing special.
        ({1: OPEN, 3: OPEN}, [4, 4, 3, 3, 8], "SSNnS"),
    ],
)
def test_a_drawn_closing_token_locks(tokens: dict[int, int], counts: list[int], expected: str) -> None:
    found = steps(sl.SwiReasoning(window_size=1), counts, tokens)
    assert modes(found) == expected
    at = min((step for step, token in tokens.items() if token == CLOSE), default=None)
    if at is not None:
        assert found[at].next_input == Token(CLOSE)
        assert all(d.next_input == Token(H) for d in found[at + 1 :])


def test_a_switch_that_the_lock_forestalls_is_not_counted() -> None:
    stepper = start(sl.SwiReasoning(window_size=1, max_switch_count=1), WORDS)
    for count, token in ((4, H), (3, CLOSE), (2, H), (1, H)):
        stepper(view(even(count), token))
    assert (stepper.switch_count, stepper.locked, stepper.mode) == (0, True, "normal")  # type: ignore[attr-defined]


def test_a_prompt_that_closed_the_thinking() -> None:
    found = steps(sl.SwiReasoning(window_size=1), [4, 3, 8, 2, 8], thinking_over=True)
    assert modes(found) == "nnnnn"
    assert all(d.next_input == Token(H) and d.token is None for d in found)


def test_without_a_closing_token_nothing_locks() -> None:
    # In PLAIN the id of WORDS' closing token is another token.
    found = steps(sl.SwiReasoning(window_size=1), [4, 4, 3, 4], {1: CLOSE}, PLAIN)
    assert modes(found) == "SSnS"  # and nothing is mixed in at the switch to normal


# -- what is mixed in ---------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("at", [1, 3, 9])
def test_a_switch_to_normal_mixes_in_the_closing_token(beta: float, at: int) -> None:
    method = sl.SwiReasoning(window_size=1, beta=beta)
    found = steps(method, [4] * at + [3, 3], max_tokens=10)
    share = beta + (1 - beta) * at / 10
    assert shares(found[at]) == pytest.approx({H: share, CLOSE: 1 - share})
    assert found[at + 1].next_input == Token(H)  # at the switch only


@pytest.mark.parametrize("at", [1, 4])
def test_beta_may_be_the_share_of_the_soft_vector(at: int) -> None:
    method = sl.SwiReasoning(window_size=1, beta=0.2, beta_on="soft", alpha=0.5)
    found = steps(method, [4] * at + [2, 2, 3], max_tokens=10)
    share = 0.2 + 0.8 * at / 10
    assert shares(found[at]) == pytest.approx({A: share / 2, B: share / 2, CLOSE: 1 - share})
    assert found[at].mode == "normal" and found[at].token is None
    assert found[at + 1].next_input == Token(H)
    share = 0.5 + 0.5 * (at + 2) / 10  # a switch to soft is as ever
    assert shares(found[at + 2]) == pytest.approx({**dict.fromkeys(range(A, A + 3), share / 3), OPEN: 1 - share})
    # Nothing is mixed in where nothing closes the thinking.
    assert steps(method, [4, 2], vocabulary=PLAIN)[1].next_input == Token(H)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("at", [2, 4, 8])
def test_a_switch_to_soft_mixes_in_the_opening_token(alpha: float, at: int) -> None:
    method = sl.SwiReasoning(window_size=1, alpha=alpha)
    found = steps(method, [4, 1] + [1] * (at - 2) + [2, 2], max_tokens=10)
    share = alpha + (1 - alpha) * at / 10
    assert shares(found[at]) == pytest.approx({A: share / 2, B: share / 2, OPEN: 1 - share})
    assert shares(found[at + 1]) == pytest.approx({A: 0.5, B: 0.5})


@pytest.mark.parametrize("max_tokens", [0, 1, 4])
def test_ramps_end_at_one(max_tokens: int) -> None:
    method = sl.SwiReasoning(window_size=1, alpha=0.1, beta=0.1)
    found = steps(method, [4, 4, 4, 4, 4, 3, 4], max_tokens=max_tokens)
    assert shares(found[5]) == pytest.approx({H: 1.0, CLOSE: 0.0})
    assert shares(found[6]) == pytest.approx({**dict.fromkeys(range(A, A + 4), 0.25), OPEN: 0.0})


@pytest.mark.parametrize(("max_tokens", "share"), [(0, 1.0), (1, 1.0), (2, 0.55)])
def test_the_ramp_of_a_text_of_a_few_tokens(max_tokens: int, share: float) -> None:
    found = steps(sl.SwiReasoning(beta=0.1), [4, 3], max_tokens=max_tokens)
    assert shares(found[1]) == pytest.approx({H: share, CLOSE: 1 - share})


def test_the_first_step_mixes_in_the_line_break() -> None:
    # The token of a backslash and an n, not that of a newline.
    found = steps(sl.SwiReasoning(alpha=0.0), [2, 2])
    assert shares(found[0]) == pytest.approx({A: 0.45, B: 0.45, BREAK: 0.1})
    assert shares(found[1]) == pytest.approx({A: 0.5, B: 0.5})
    (alone,) = steps(sl.SwiReasoning(), [2], vocabulary=PLAIN)
    assert shares(alone) == pytest.approx({A: 0.5, B: 0.5})
    assert PLAIN.token_of("\n") is not None


@pytest.mark.parametrize("symbol", ["7", "x", "=", "\\", "{"])
def test_the_guard_feeds_the_token_and_leaves_the_mode(symbol: str) -> None:
    token = WORDS[symbol]
    assert token in symbol_ids(WORDS) and H not in symbol_ids(WORDS)
    guarded = steps(sl.SwiReasoning(window_size=1), [4, 4, 3, 3, 4, 4], token)
    assert modes(guarded) == "ssNnss"  # normal is mixed all the same, and so it is without the guard
    assert all(d.next_input == Token(token) and d.token is None for i, d in enumerate(guarded) if i != 2)
    assert shares(guarded[2]) == pytest.approx({token: 0.706, CLOSE: 0.294})
    free = steps(sl.SwiReasoning(window_size=1, symbol_guard=False), [4, 4, 3, 3, 4, 4], token)
    assert modes(free) == "SSNnSS"
    # A guarded step to soft has mixed nothing in, and the next one does not make up for it.
    made_up = steps(sl.SwiReasoning(window_size=1, alpha=0.0), [4, 1, 2, 2], {2: token})
    assert modes(made_up) == "SNsS"
    assert shares(made_up[3]) == pytest.approx({A: 0.5, B: 0.5})


# -- switches are counted -----------------------------------------------------------------------

TURNS = [4, 3] * 8  # with a window of 1: soft and normal in turn, to normal at steps 1, 3, 5, ...


def test_no_limit_by_default() -> None:
    assert forced(steps(sl.SwiReasoning(window_size=1), TURNS * 4)) == {}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_switches_to_normal_are_counted(limit: int) -> None:
    """From the limit on to twice the limit the next step is </think>; beyond, the answer's beginning."""
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=limit), TURNS)
    convergence = {2 * n: CLOSE for n in range(limit, 2 * limit + 1)}
    begin = 2 * (2 * limit + 1)
    shown = forced(found)
    assert {step: token for step, token in shown.items() if step < begin} == convergence
    assert shown[begin] == CLOSE and shown[begin + 1] == ANSWER[0]


def test_what_is_injected_beyond_twice_the_limit() -> None:
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 4, 3, 4, 3] + [3] * 40)
    expected = dict(enumerate([CLOSE, *ANSWER], 6))
    assert forced(found) == {2: CLOSE, 4: CLOSE, **expected}
    assert [found[step].next_input for step in expected] == [Token(token) for token in expected.values()]
    # 32 tokens counted from the step of the switch, which is step 5.
    assert ends(found) == 36


def test_a_switch_during_the_last_tokens_starts_the_injection_anew() -> None:
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 4, 3, 4, 3, 3, 4, 3] + [3] * 40)
    assert forced(found) == {2: CLOSE, 4: CLOSE, 6: CLOSE, 7: ANSWER[0], 8: ANSWER[1]} | dict(
        enumerate([CLOSE, *ANSWER], 9)
    )
    assert ends(found) == 8 + 31


def test_nothing_ends_after_a_convergence() -> None:
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 4, 3] + [3] * 100)
    assert forced(found) == {2: CLOSE, 4: CLOSE}
    assert ends(found) is None


def test_an_injected_closing_token_does_not_lock_nor_does_one_drawn_in_its_place() -> None:
    # At step 2 </think> is injected; the entropy rises again, and the mode is soft.
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 4, 4], {2: CLOSE})
    assert modes(found) == "SNSS"
    assert found[2].token == CLOSE
    assert shares(found[2]) == pytest.approx({**dict.fromkeys(range(A, A + 4), 0.25), OPEN: 0.0})
    # Where the mode stays normal it is fed as it is.
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 3, 4], {2: CLOSE})
    assert (modes(found), found[2].next_input, found[2].token) == ("SNnS", Token(CLOSE), CLOSE)


def test_the_injected_token_takes_the_place_of_the_drawn_one_in_guard_and_mixture() -> None:
    """Of the answer's beginning "T" is guarded and "\\n\\n" is not, whatever is drawn."""
    quick = sl.SwiReasoning(window_size=0, max_switch_count=1, beta=0.0)
    turns = [4, 3, 4, 3, 4, 3, 4, 4, 3]
    found = steps(quick, turns, ord("7"), max_tokens=20)
    # Step 6 is soft: </think> is injected, which is free; 7 is soft: "\n\n" is free; 8 switches: "T" is mixed in.
    assert modes(found) == "sNSNSNSSN"
    assert shares(found[8]) == pytest.approx({ANSWER[1]: 0.4, CLOSE: 0.6})
    assert shares(found[3]) == pytest.approx({ord("7"): 0.15, CLOSE: 0.85})  # nothing is left to inject at step 3
    found = steps(quick, [4, 3, 4, 3, 4, 3, 4, 4, 4], H, max_tokens=20)
    assert modes(found) == "SNSNSNSSs"
    assert found[8].next_input == Token(ord("T"))


def test_a_vocabulary_without_a_closing_token_spells_it() -> None:
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3] + [3] * 20, vocabulary=PLAIN)
    closing = [PLAIN["\n\n"], *map(ord, "</think>"), PLAIN["\n\n"]]
    assert forced(found) == dict(enumerate(closing, 2))
    assert modes(found) == "S" + 21 * "n"
    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), [4, 3, 4, 3, 4, 3] + [3] * 40, vocabulary=PLAIN)
    answer = PLAIN.encode("</think>\n\nThe final answer is")
    assert "".join(PLAIN.words[token] for token in answer) == "</think>\n\nThe final answer is"
    assert {step: token for step, token in forced(found).items() if step > 5} == dict(enumerate(answer, 6))
    assert forced(found)[2] == closing[0] and forced(found)[4] == closing[0]
    assert ends(found) == 36


def test_a_vocabulary_that_spells_nothing_injects_nothing() -> None:
    class Mute(Words):
        def encode(self, text: str) -> list[int]:
            return []

    found = steps(sl.SwiReasoning(window_size=1, max_switch_count=1), TURNS[:6] + [3] * 40, vocabulary=Mute(*LETTERS))
    assert forced(found) == {}
    assert ends(found) == 36


# -- against the oracle -------------------------------------------------------------------------


@settings(max_examples=35, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(0, 5),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 1),
    limit=st.one_of(st.none(), st.integers(1, 3)),
    max_tokens=st.integers(50, 100),
    whole=st.booleans(),
    guard=st.booleans(),
)
def test_any_run_is_the_oracle_s(
    seed: int, window: int, alpha: float, beta: float, limit: int | None, max_tokens: int, whole: bool, guard: bool
) -> None:
    vocabulary = WORDS if whole else PLAIN
    close = CLOSE if whole else None
    known = oracle.Swir(
        max_tokens,
        window_size=window,
        alpha_0=alpha,
        beta_0=beta,
        max_switch_count=limit,
        guarded=symbol_ids(vocabulary) if guard else frozenset(),
        think_start=OPEN if whole else None,
        think_end=close,
        backslash_n=BREAK if whole else None,
        convergence=(close,) if close else tuple(PLAIN.encode("\n\n</think>\n\n")),
        termination=(close, *ANSWER) if close else tuple(PLAIN.encode("</think>\n\nThe final answer is")),
    )
    method = sl.SwiReasoning(
        alpha=alpha, beta=beta, window_size=window, max_switch_count=limit, symbol_guard=guard, soft_mass=1.0,
        soft_rows=0,
    )  # fmt: skip
    stepper, state = start(method, vocabulary, max_tokens=max_tokens), oracle.SwirState()
    random = np.random.default_rng(seed)
    rows = random.standard_normal((vocabulary.n_vocab, 3))
    for i in range(50):
        logits = random.normal(0, random.uniform(0.5, 4), vocabulary.n_vocab).astype(np.float32)
        if whole and i < 30:
            logits[CLOSE] = -np.inf  # else it is locked too soon
        u = random.random()
        expected, state = oracle.swir_step(state, logits.astype(np.float64), rows, Filters(1, 0, 1, 0), known, u)
        drawn = oracle.draw(*oracle.filtered_distribution(logits.astype(np.float64), Filters(1, 0, 1, 0)), u)
        found = stepper(view(logits, drawn))
        assert found.entropy == pytest.approx(expected.entropy, abs=1e-5)
        assert (found.mode, found.explored) == (expected.mode, expected.explored)
        assert found.token == (expected.token if expected.injected else None)
        assert found.last == state.finished
        if isinstance(found.next_input, Mixture):
            ids, weights = found.next_input
            assert weights.sum() == pytest.approx(1)
            np.testing.assert_allclose(weights @ rows[ids], expected.vector, atol=1e-6)
        else:
            assert found.next_input == Token(expected.token)
        if found.last:
            break


# -- soft vectors -------------------------------------------------------------------------------


def total(logits: Logits) -> float:
    wide = logits.astype(np.float64)
    return float(np.exp(wide - wide.max()).sum())


def test_a_soft_mixture_by_hand() -> None:
    values = logits_of({3: 0.5, 1: 0.25, 4: 0.125, 0: 0.125}, 6)
    for mass, rows, expected in (
        (1.0, 0, {3: 0.5, 1: 0.25, 0: 0.125, 4: 0.125}),
        (0.9, 0, {3: 0.5, 1: 0.25, 0: 0.125, 4: 0.125}),
        (0.87, 0, {3: 4 / 7, 1: 2 / 7, 0: 1 / 7}),  # of equal ones the lower id
        (0.7, 0, {3: 2 / 3, 1: 1 / 3}),
        (0.4, 0, {3: 1.0}),
        (1e-9, 0, {3: 1.0}),
        (1.0, 1, {3: 1.0}),
        (1.0, 2, {3: 2 / 3, 1: 1 / 3}),
        (0.7, 3, {3: 2 / 3, 1: 1 / 3}),
        (1.0, 99, {3: 0.5, 1: 0.25, 0: 0.125, 4: 0.125}),
    ):
        ids, weights = soft_mixture(values, total(values), mass, rows)
        found = {token: weight for token, weight in zip(ids.tolist(), weights.tolist(), strict=True) if weight}
        assert found == pytest.approx(expected, rel=1e-6), (mass, rows)
        assert list(found) == list(expected)
    whole = soft_mixture(values, total(values))  # by itself without a bound
    assert whole.ids[whole.weights > 0].tolist() == [3, 1, 0, 4]


SHAPES = st.sampled_from(["flat", "steep", "alike", "few"])


def shaped(seed: int, n: int, shape: str) -> Logits:
    random = np.random.default_rng(seed)
    values = random.normal(0, {"flat": 0.5, "steep": 6, "alike": 0, "few": 2}[shape], n).astype(np.float32)
    if shape == "few":
        values[random.permutation(n)[: n - max(1, n // 10)]] = -np.inf
    return values


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 700),
    shape=SHAPES,
    mass=st.floats(1e-6, 1),
    rows=st.one_of(st.just(0), st.integers(1, 800)),
)
@example(0, 300, "flat", 1.0, 0)
@example(0, 700, "few", 1.0, 0)
def test_a_soft_mixture_is_off_by_no_more_than_its_bound(seed: int, n: int, shape: str, mass: float, rows: int) -> None:
    logits = shaped(seed, n, shape)
    ids, weights = soft_mixture(logits, total(logits), mass, rows)
    p = np.exp(logits.astype(np.float64) - float(logits.max()))
    p /= p.sum()
    order = np.argsort(-logits, kind="stable")
    assert ids.tolist() == order[: len(ids)].tolist()
    assert 1 <= len(ids) <= (rows or n)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, p[ids] / p[ids].sum(), rtol=1e-9)
    # As few as cover the mass, up to a rounding of the sums, unless the rows are too few.
    sums = np.cumsum(p[order])
    if len(ids) < min(rows or n, n):
        assert sums[len(ids) - 1] >= mass - 1e-9
    if len(ids) > 1:
        assert sums[len(ids) - 2] < mass + 1e-9
    table = np.random.default_rng(seed + 1).standard_normal((n, 5))
    left_out = 1 - p[ids].sum()
    error = np.linalg.norm(weights @ table[ids] - p @ table)
    assert error <= 2 * left_out * np.linalg.norm(table, axis=1).max() + 1e-9


def test_the_options_bound_the_soft_vector() -> None:
    values = logits_of({A + i: 2.0**-i for i in range(8)}, WORDS.n_vocab)

    def fed(**options: Any) -> int:
        stepper = start(sl.SwiReasoning(**options), WORDS)
        stepper(view(values, H))
        return sum(weight > 0 for weight in shares(stepper(view(values, H))).values())

    assert fed() == fed(soft_mass=1.0, soft_rows=0) == 8
    assert fed(soft_mass=0.9) == 4
    assert fed(soft_rows=3) == 3
    assert fed(soft_mass=0.5, soft_rows=3) == 1


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), mass=st.floats(0.1, 1), rows=st.integers(0, 40), count=st.integers(1, 4))
def test_the_order_of_the_vocabulary_does_not_matter(seed: int, mass: float, rows: int, count: int) -> None:
    random = np.random.default_rng(seed)
    script = random.normal(0, 2, (count, PLAIN.n_vocab)).astype(np.float32)
    order = random.permutation(PLAIN.n_vocab)
    where = np.argsort(order)
    method = sl.SwiReasoning(soft_mass=mass, soft_rows=rows, symbol_guard=False, window_size=1)
    here, there = start(method, PLAIN), start(method, PLAIN)
    for logits in script:
        a = here(view(logits, H))
        b = there(view(logits[order], int(where[H])))
        assert (a.mode, a.explored) == (b.mode, b.explored)
        assert a.entropy == pytest.approx(b.entropy, abs=1e-9)
        if isinstance(a.next_input, Mixture) and isinstance(b.next_input, Mixture):
            assert a.next_input.ids.tolist() == order[b.next_input.ids].tolist()
            np.testing.assert_array_equal(a.next_input.weights, b.next_input.weights)


# -- whole generations --------------------------------------------------------------------------


def test_the_budget_ends_the_text() -> None:
    script = [even(count) for count in [4, 3, 4, 3, 4, 3] + [3] * 60]
    found = generate(sl.SwiReasoning(window_size=1, max_switch_count=1), scripted(script), WORDS, max_tokens=60)
    assert len(found.tokens) == 5 + 32
    assert found.result.finish_reason == "length" and not found.result.context_full
    assert [found.tokens[2], found.tokens[4]] == [CLOSE, CLOSE]
    assert found.tokens[6 : 7 + len(ANSWER)] == [CLOSE, *ANSWER]
    assert "".join(map(WORDS.words.__getitem__, [CLOSE, *ANSWER])) == "</think>\n\nThe final answer is"
    assert found.inputs[6 : 7 + len(ANSWER)] == [Token(token) for token in (CLOSE, *ANSWER)]
    assert [event.mode for event in found.events[:7]] == ["soft", "normal"] * 3 + ["normal"]


def test_ramps_go_by_the_generation_s_own_limit() -> None:
    script = [even(count) for count in (4, 4, 4, 3)]
    found = generate(sl.SwiReasoning(window_size=1), scripted(script), WORDS, max_tokens=6)
    fed = found.inputs[3]
    assert isinstance(fed, Mixture) and fed.ids[-1] == CLOSE
    assert fed.weights.tolist() == pytest.approx([0.85, 0.15])


def test_a_drawn_end_token_ends_the_text_while_soft() -> None:
    values = logits_of({END: 1.0}, WORDS.n_vocab)
    found = generate(sl.SwiReasoning(), scripted([even(4), values]), WORDS)
    assert found.tokens[-1] == END and len(found.tokens) == 2
    assert found.result.finish_reason == "stop"
    assert not found.events[-1].explored


@pytest.mark.parametrize("tail", ["<think>\n\n</think>\n\n", "</think>"])
def test_a_prompt_that_closed_the_thinking_is_plain_decoding(tail: str) -> None:
    script = scripted([even(count) for count in (4, 3, 5, 2, 8, 1, 8)])
    found = generate(sl.SwiReasoning(window_size=1), script, WORDS, prompt_tail=tail)
    again = scripted([even(count) for count in (4, 3, 5, 2, 8, 1, 8)])
    assert found.tokens == generate(sl.CoT(), again, WORDS, prompt_tail=tail).tokens
    assert not any(event.explored for event in found.events)


# -- options ------------------------------------------------------------------------------------


def test_defaults() -> None:
    method = sl.SwiReasoning()
    assert (method.alpha, method.beta, method.window_size, method.max_switch_count) == (1.0, 0.7, 512, None)
    assert (method.think_start, method.think_end, method.symbol_guard) == (None, None, True)
    assert (method.beta_on, method.soft_mass, method.soft_rows) == ("token", 0.999, 512)
    assert method.entropy_unit == "nats" and method.feeds_vectors and not method.greedy


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": -0.1}, {"alpha": 1.1}, {"alpha": math.nan}, {"alpha": "1"}, {"beta": -0.1}, {"beta": 1.01},
        {"window_size": -1}, {"window_size": 1.0}, {"window_size": True},
        {"max_switch_count": 0}, {"max_switch_count": -1}, {"max_switch_count": 1.0},
        {"think_start": ""}, {"think_start": -1}, {"think_end": True}, {"think_end": 1.0},
        {"symbol_guard": 1}, {"symbol_guard": None},
        {"soft_mass": 0}, {"soft_mass": 1.1}, {"soft_mass": -1}, {"soft_mass": math.nan},
        {"soft_rows": -1}, {"soft_rows": 1.0}, {"beta_on": "Soft"}, {"beta_on": None},
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.SwiReasoning(**options)


@pytest.mark.parametrize("name", ["think_start", "think_end"])
@pytest.mark.parametrize("token", [WORDS.n_vocab, 10**9, "<think> ", "no such"])
def test_a_named_token_that_the_model_lacks(name: str, token: int | str) -> None:
    with pytest.raises(OptionError, match=f"{name} "):
        start(sl.SwiReasoning(**{name: token}), WORDS)


@pytest.mark.parametrize(
    ("opening", "closing"), [("b's", "c's"), (B, C), (None, "c's"), (B, None), ("<think>", "</think>"), (0, 1)]
)
def test_tokens_named_by_text_or_id(opening: int | str | None, closing: int | str | None) -> None:
    def token(name: int | str | None, own: int) -> int:
        return own if name is None else WORDS[name] if isinstance(name, str) else name

    begins, ends = token(opening, OPEN), token(closing, CLOSE)
    method = sl.SwiReasoning(
        window_size=1, alpha=0.0, beta=0.0, think_start=opening, think_end=closing, max_switch_count=1
    )
    found = steps(method, [8, 1, 2, 2], {0: A}, max_tokens=10**9)
    assert shares(found[1]) == pytest.approx({H: 0, ends: 1}, abs=1e-6)
    assert found[2].token == ends  # it is injected too
    fed = found[2].next_input
    assert isinstance(fed, Mixture)
    assert fed.ids[-1] == begins and fed.weights.tolist() == pytest.approx([0, 0, 1], abs=1e-6)
    assert modes(steps(method, [4, 4, 8], {1: ends})) == "Snn"  # and it locks


def test_named_tokens_on_a_vocabulary_without_its_own() -> None:
    method = sl.SwiReasoning(window_size=1, beta=0.0, think_end=9, max_switch_count=1)
    found = steps(method, [8, 1, 2, 2], vocabulary=PLAIN, max_tokens=10**9)
    assert shares(found[1]) == pytest.approx({H: 0, 9: 1}, abs=1e-6)
    assert found[2].token == 9
    assert shares(found[2]) == pytest.approx({A: 0.5, B: 0.5})  # nothing opens the thinking


def test_a_family_with_tags_of_several_tokens_has_its_own_closing_text_injected() -> None:
    method = sl.SwiReasoning(window_size=1, max_switch_count=1)
    found = steps(method, [4, 3] + [3] * 20, vocabulary=PLAIN, closing=(A, B))
    assert forced(found) == {2: A, 3: B}
    found = steps(method, [4, 3, 4, 3, 4, 3] + [3] * 40, vocabulary=PLAIN, closing=(A, B))
    answer = [A, B, *PLAIN.encode("The final answer is")]
    assert {step: token for step, token in forced(found).items() if step > 5} == dict(enumerate(answer, 6))


@pytest.mark.parametrize("limit", [None, 1])
def test_tags_of_several_tokens_lock_the_mode_unless_they_were_injected(limit: int | None) -> None:
    method = sl.SwiReasoning(window_size=1, max_switch_count=limit)
    stepper = start(method, PLAIN, closing=(A, B))
    open_before = [True, True, True, False, False, False]
    found = [
        stepper(view(even(count, PLAIN), H, thinking=thinks))
        for count, thinks in zip([4, 3, 4, 4, 3, 4], open_before, strict=True)
    ]
    assert modes(found) == ("SnSnnn" if limit is None else "SnSSnS")
