"""The valley of a sample of entropies: found where one is, and only there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selar_local.analysis.valley import Valley, certain_entropy, find_valley, same_share
from selar_local.errors import OptionError
from selar_local.methods.entropy import truncated_entropy

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]


def mixture(share: float, certain: Draw, torn: Draw) -> Draw:
    """`share` of the steps are certain; what leaves [0, 1] is reflected back."""

    def draw(random: np.random.Generator, n: int) -> Floats:
        values = np.where(random.random(n) < share, certain(random, n), torn(random, n))
        return np.clip(1 - np.abs(1 - np.abs(values)), 0, 1)

    return draw


def zero(random: np.random.Generator, n: int) -> Floats:
    return np.zeros(n)


WITHOUT: dict[str, Draw] = {
    "zeros and uniform": mixture(0.7, zero, lambda random, n: random.random(n)),
    "zeros, top-p's gap, falling": mixture(0.7, zero, lambda random, n: 0.15 + 0.85 * random.beta(1, 2.2, n)),
    "falling steeply": lambda random, n: random.beta(0.25, 2.5, n),
    "exponential": mixture(0, zero, lambda random, n: random.exponential(0.2, n)),
    "half normal": mixture(0, zero, lambda random, n: random.normal(0, 0.3, n)),
}
#: With the interval that holds the true antimode, or the empty stretch.
WITH: dict[str, tuple[Draw, float, float]] = {
    "two peaks": (
        mixture(0.85, lambda random, n: random.beta(0.2, 6, n), lambda random, n: random.normal(0.63, 0.07, n)),
        0.41, 0.43,
    ),
    "a shallow one": (
        mixture(0.87, lambda random, n: random.beta(0.3, 3, n), lambda random, n: random.normal(0.65, 0.1, n)),
        0.43, 0.46,
    ),
    "an empty stretch": (mixture(0.8, zero, lambda random, n: random.normal(0.7, 0.07, n)), 0.05, 0.45),
    "the torn ones are more": (
        mixture(0.3, lambda random, n: random.normal(0, 0.08, n), lambda random, n: random.normal(0.7, 0.09, n)),
        0.28, 0.42,
    ),
    "the certain ones are not at 0": (
        mixture(0.7, lambda random, n: random.normal(0.12, 0.04, n), lambda random, n: random.normal(0.65, 0.08, n)),
        0.28, 0.4,
    ),
}  # fmt: skip


def sample(draw: Draw, n: int = 4000, seed: int = 0) -> Floats:
    return draw(np.random.default_rng(seed), n)


@pytest.mark.parametrize("draw", WITHOUT.values(), ids=WITHOUT)
def test_no_valley_where_there_is_none(draw):
    # The level is 5 %: of 20 samples, 5 and more would be found by chance with a probability of 0.3 %.
    found = [find_valley(sample(draw, seed=seed)) for seed in range(20)]
    assert sum(valley.at is not None for valley in found) <= 4
    told = next(valley for valley in found if valley.at is None)
    assert told.reason == "above 0.21 the density does not clearly rise again"
    assert told.p_value is not None and told.p_value > 0.05 and told.low is told.high is told.depth is None


@pytest.mark.parametrize(("draw", "low", "high"), WITH.values(), ids=WITH)
def test_the_valley_is_found_near_the_true_one(draw, low, high):
    found = [find_valley(sample(draw, seed=seed)) for seed in range(10)]
    places = [valley.at for valley in found if valley.at is not None]
    assert len(places) >= 8
    assert all(low - 0.1 <= place <= high + 0.1 for place in places)
    assert low - 0.04 <= np.mean(places) <= high + 0.04
    for valley in found:
        if valley.at is not None:
            assert valley.p_value is not None and valley.p_value <= 0.05 and valley.reason == ""
            assert valley.low is not None and valley.high is not None and valley.low <= valley.high
            assert valley.depth is not None and 0 < valley.depth <= 1


def test_the_interval_holds_the_true_place_mostly():
    draw, low, high = WITH["two peaks"]
    found = [find_valley(sample(draw, seed=seed)) for seed in range(20)]
    held = [valley.low - 0.005 <= high and valley.high + 0.005 >= low for valley in found if valley.low is not None]
    assert len(held) == 20 and sum(held) >= 14


def test_a_third_peak_of_three_equal_candidates_moves_nothing():
    draw = mixture(
        0.8,
        lambda random, n: random.beta(0.2, 6, n),
        lambda random, n: np.where(random.random(n) < 0.5, random.normal(0.62, 0.05, n), random.normal(1, 0.05, n)),
    )
    valley = find_valley(sample(draw))
    assert valley.at is not None and 0.3 < valley.at < 0.55


@pytest.mark.parametrize(
    ("entropies", "reason"),
    [
        ([], "only 0 steps lie above 0.21, 50 are needed"),
        ([0.0] * 1000, "only 0 steps"),
        ([0.0] * 1000 + [0.9] * 49, "only 49 steps"),
        ([0.5] * 1000, "no peak of certain steps"),
        ([1.0] * 1000, "no peak of certain steps"),
    ],
)
def test_samples_that_show_none(entropies, reason):
    valley = find_valley(entropies)
    assert (valley.at, valley.steps) == (None, len(entropies)) and reason in valley.reason


def test_two_points():
    valley = find_valley([0.0] * 500 + [0.8] * 500)
    assert valley.at is not None and 0.3 < valley.at < 0.5 and valley.depth == pytest.approx(1.0)
    assert (valley.steps, valley.torn, valley.p_value) == (1000, 500, 1 / 50_000)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.001, 1.001])
def test_what_is_no_entropy_is_refused(bad):
    with pytest.raises(OptionError, match="between 0 and 1"):
        find_valley([0.1, bad, 0.5])
    with pytest.raises(OptionError, match="floor"):
        find_valley([0.1], floor=bad if bad != 1.001 else 1.0)


@given(st.lists(st.floats(0, 1), max_size=80), st.integers(1, 8), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_any_sample_has_an_answer_blind_to_order(entropies, times, random):
    entropies = entropies * times
    valley = find_valley(entropies)
    random.shuffle(entropies)
    assert find_valley(entropies) == valley
    assert valley.steps == len(entropies) >= valley.torn and (valley.at is None) == bool(valley.reason)
    assert valley.at is None or 0 < valley.at < 1


def test_the_same_sample_gives_the_same_answer():
    entropies = sample(WITH["two peaks"][0])
    assert find_valley(entropies) == find_valley(entropies.copy()) == find_valley(list(entropies))


def test_what_lies_below_the_floor_does_not_decide_whether_there_is_one():
    torn = np.random.default_rng(1).normal(0.65, 0.08, 300)
    many, few = (find_valley(np.concatenate((np.zeros(n), torn))) for n in (20_000, 500))
    assert isinstance(many, Valley) and many.p_value == few.p_value and many.torn == few.torn


def test_ten_thousand_steps_take_less_than_a_second():
    entropies = sample(WITH["two peaks"][0], 10_000)
    find_valley(entropies)
    start = time.perf_counter()
    find_valley(entropies)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("k", [2, 3, 5, 10])
def test_the_floor_is_the_entropy_of_a_nearly_certain_step(k):
    assert certain_entropy(k) == pytest.approx(truncated_entropy([0.95, *[0.05 / (k - 1)] * (k - 1)], k))


def test_the_threshold_of_the_same_share():
    full = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    assert same_share(full, 0.4, [0.0, 0.0, 0.0, 0.45, 0.35]) == pytest.approx(0.175)
    assert same_share(full, 0.3, [0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(0.25)
    assert same_share(full, 0.1, [0.2] * 5) == pytest.approx(0.1)
    assert same_share(full, 0.6, full) is None
    assert same_share(full, 0.3, [0.0, 0.0, 0.0, 0.9, 0.9]) is None
