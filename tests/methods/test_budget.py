"""The limit on the share of exploration steps: its definition, its bounds, and SeLaR under it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selar_local as sl
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Token
from selar_local.methods.budget import Budget

from .fakes import Logits, Words, generate, linear, logits_of, start, view

WORDS = Words(" a", " b", " c")
A, B, C = WORDS[" a"], WORDS[" b"], WORDS[" c"]

#: Entropies with ties among them, and whether the gate, the guard and the scope would let the step explore.
STEPS = st.lists(st.tuples(st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1)), st.booleans()), max_size=60)
SHARES = st.one_of(st.sampled_from([0.0, 0.15, 0.25, 0.5, 1.0]), st.floats(0, 1))
Steps = Sequence[tuple[float, bool]]


def decisions(share: float, steps: Steps) -> list[bool]:
    budget = Budget(share)
    return [budget.allows(rank, is_open) for rank, is_open in steps]


def by_definition(share: float, steps: Steps) -> list[bool]:
    """Each step decided anew: the threshold is an order statistic of the open ranks so far, found by sorting."""
    explored: list[bool] = []
    for n, (rank, is_open) in enumerate(steps, 1):
        places = math.floor(share * n)
        ranks = sorted((r for r, opened in steps[:n] if opened), reverse=True)
        threshold = -math.inf if len(ranks) <= places else ranks[places - 1] if places else math.inf
        explored.append(is_open and rank >= threshold and sum(explored) < places)
    return explored


@settings(max_examples=80, deadline=None)
@given(SHARES, STEPS)
def test_a_step_is_decided_by_the_definition(share: float, steps: Steps) -> None:
    assert decisions(share, steps) == by_definition(share, steps)


@settings(max_examples=80, deadline=None)
@given(SHARES, STEPS)
def test_the_share_is_never_above_the_limit(share: float, steps: Steps) -> None:
    found = decisions(share, steps)
    for n in range(len(steps) + 1):
        assert sum(found[:n]) <= share * n
    assert all(is_open for explored, (_, is_open) in zip(found, steps, strict=True) if explored)


@settings(max_examples=80, deadline=None)
@given(SHARES, STEPS, st.data())
def test_what_comes_later_changes_nothing(share: float, steps: Steps, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(steps)))
    assert decisions(share, steps[:n]) == decisions(share, steps)[:n]


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_all_of_the_steps_is_no_limit_and_none_of_them_is_none(steps: Steps) -> None:
    assert decisions(1.0, steps) == [is_open for _, is_open in steps]
    assert not any(decisions(0.0, steps))


@settings(max_examples=80, deadline=None)
@given(st.lists(SHARES, min_size=2, max_size=2).map(sorted), STEPS)
def test_a_larger_share_explores_at_least_as_often(shares: list[float], steps: Steps) -> None:
    small, large = (decisions(share, steps) for share in shares)
    for n in range(len(steps) + 1):
        assert sum(small[:n]) <= sum(large[:n])


@settings(max_examples=80, deadline=None)
@given(st.lists(SHARES, min_size=2, max_size=2).map(sorted), STEPS)
def test_after_the_same_decisions_a_larger_share_allows_what_a_smaller_one_does(
    shares: list[float], steps: Steps
) -> None:
    small, large = map(Budget, shares)
    for rank, is_open in steps:
        one, other = small.allows(rank, is_open), large.allows(rank, is_open)
        assert other or not one
        large._explored = small._explored


@settings(max_examples=80, deadline=None)
@given(SHARES, STEPS)
def test_a_text_that_stays_below_the_share_is_left_as_it_is(share: float, steps: Steps) -> None:
    opens = [is_open for _, is_open in steps]
    kept = [
        is_open and sum(opens[:n]) + is_open <= share * (n + 1) for n, is_open in enumerate(opens)
    ]  # the open steps that come late enough
    calm = [(rank, is_open) for (rank, _), is_open in zip(steps, kept, strict=True)]
    assert decisions(share, calm) == kept


@settings(max_examples=80, deadline=None)
@given(SHARES, STEPS)
def test_only_the_order_of_the_ranks_counts(share: float, steps: Steps) -> None:
    distinct = sorted({rank for rank, _ in steps})
    assert decisions(share, [(float(distinct.index(rank)), is_open) for rank, is_open in steps]) == decisions(
        share, steps
    )


def test_a_budget_by_hand() -> None:
    # A quarter: no place before step 4, two from step 8 on. Step 4 is lower than step 1, step 5 the highest so far.
    ranks = [0.6, 0.3, 0.2, 0.5, 0.9, 0.1, 0.7, 0.7, 0.95]
    assert decisions(0.25, [(rank, True) for rank in ranks]) == [
        False, False, False, False, True, False, False, True, False,
    ]  # fmt: skip
    alike = decisions(0.5, [(0.7, True)] * 8)  # equal ranks share a place, so the number of explored steps decides
    assert alike == [False, True] * 4
    assert decisions(0.5, [(0.7, False)] * 8) == [False] * 8
    # The steps that are not open are counted, their ranks are not.
    assert decisions(0.25, [(1.0, False)] * 3 + [(0.1, True)]) == [False] * 3 + [True]


@pytest.mark.parametrize(("open_share", "refused"), [(0.06, 1.5), (0.1, 3.5), (0.14, 16.0)])
def test_the_share_of_the_paper_s_models_is_left_nearly_as_it_is(open_share: float, refused: float) -> None:
    """0.15 refuses a few early steps of a text of 5,000, however long the rest is."""
    random = np.random.default_rng(5)
    missing = []
    for _ in range(40):
        opens = (random.random(5000) < open_share).tolist()
        steps = list(zip(random.uniform(0.5, 1, 5000).tolist(), opens, strict=True))
        missing.append(sum(is_open for _, is_open in steps) - sum(decisions(0.15, steps)))
    assert np.mean(missing) < refused


@pytest.mark.parametrize("open_share", [0.3, 0.69, 1.0])
def test_a_torn_model_explores_nearly_at_the_limit(open_share: float) -> None:
    random = np.random.default_rng(6)
    steps = list(zip(random.random(2000).tolist(), (random.random(2000) < open_share).tolist(), strict=True))
    found = decisions(0.15, steps)
    assert 0.13 < np.mean(found) <= 0.15
    explored = [rank for (rank, _), own in zip(steps, found, strict=True) if own]
    kept = [rank for (rank, is_open), own in zip(steps, found, strict=True) if is_open and not own]
    assert np.mean(explored) > np.mean(kept) + 0.2


# -- SeLaR under the limit ----------------------------------------------------------------------


def mix_of(torn: float) -> Logits:
    """Of entropy 0 at `torn` 0 and 1 at 1, and rising in between."""
    return logits_of({A: 1.0, B: torn, C: torn}, WORDS.n_vocab)


def explored(method: sl.Selar, torn: Sequence[float], token: int | None = None) -> list[bool]:
    stepper = start(method, WORDS)
    return [stepper(view(mix_of(own), token)).explored for own in torn]


TORN = st.lists(st.floats(0, 1), max_size=40)


@settings(max_examples=80, deadline=None)
@given(TORN, st.floats(0, 1), SHARES, st.booleans(), st.booleans())
def test_selar_ranks_the_steps_at_which_its_gate_opens(
    torn: list[float], tau: float, share: float, invert: bool, strict: bool
) -> None:
    method = sl.Selar(tau=tau, invert_gate=invert, strict_gate=strict, max_share=share)
    free = start(sl.Selar(tau=tau, invert_gate=invert, strict_gate=strict), WORDS)
    found = [free(view(mix_of(own))) for own in torn]
    ranks = [(-1 if invert else 1) * (step.entropy or 0.0) for step in found]
    opens = [step.explored for step in found]
    assert explored(method, torn) == by_definition(share, list(zip(ranks, opens, strict=True)))


@settings(max_examples=100, deadline=None)
@given(TORN, st.floats(0, 1))
def test_a_share_of_one_changes_no_bit(torn: list[float], tau: float) -> None:
    def bits(method: sl.Selar) -> list[tuple[object, ...]]:
        stepper = start(method, WORDS)
        return [_bits(stepper(view(mix_of(own)))) for own in torn]

    assert bits(sl.Selar(tau=tau, max_share=1.0)) == bits(sl.Selar(tau=tau))
    assert not any(explored(sl.Selar(tau=tau, max_share=0.0), torn))
    assert not any(explored(sl.Selar(tau=tau, max_share=0), torn))


def _bits(decision: Decision) -> tuple[object, ...]:
    fed = decision.next_input
    return (decision.entropy, fed if isinstance(fed, Token) else tuple(part.tobytes() for part in fed))  # type: ignore


def test_a_guarded_step_takes_no_place() -> None:
    stepper = start(sl.Selar(max_share=0.5), WORDS)
    digit = logits_of({ord("7"): 1.0, A: 1.0, B: 1.0}, WORDS.n_vocab)
    assert not stepper(view(digit, ord("7"))).explored
    assert stepper(view(mix_of(0.5))).explored  # though the guarded step's entropy was higher


def test_a_step_outside_of_the_scope_takes_no_place() -> None:
    stepper = start(sl.Selar(max_share=0.5, scope="thinking"), WORDS)
    assert not stepper(view(mix_of(1.0), thinking=False)).explored
    assert stepper(view(mix_of(0.5))).explored


def test_each_text_has_a_budget_of_its_own() -> None:
    method = sl.Selar(tau=0.3, max_share=0.3)
    one, two = start(method, WORDS), start(method, WORDS)
    torn = np.random.default_rng(3).random(60).tolist()
    alone = explored(method, torn)
    together = []
    for own, other in zip(torn, reversed(torn), strict=True):
        together.append(one(view(mix_of(own))).explored)
        two(view(mix_of(other)))
    assert together == alone and 5 < sum(alone) <= 18


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.15, 0.5])
def test_whole_texts_stay_below_the_share(share: float, seed: int) -> None:
    method = sl.Selar(tau=0, symbol_guard=False, max_share=share)
    events = generate(method, linear(WORDS.n_vocab), WORDS, max_tokens=80, seed=seed).events
    assert all(sum(event.explored for event in events[:n]) <= share * n for n in range(81))
    assert sum(event.explored for event in events) >= 0.5 * share * 80
    plain = generate(sl.CoT(), linear(WORDS.n_vocab), WORDS, max_tokens=80, seed=seed).tokens
    first = next((i for i, event in enumerate(events) if event.explored), 80)
    assert [event.token for event in events[: first + 1]] == plain[: first + 1]
    assert share == 0.0 or first + 1 >= 1 / share


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, math.inf, "0.15", None, True])
def test_what_is_no_share_is_refused(share: object) -> None:
    with pytest.raises(OptionError, match="max_share"):
        sl.Selar(max_share=share)  # type: ignore[arg-type]
