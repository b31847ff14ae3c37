"""Estimates, intervals and tests, against other ways to compute them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from selar_local.evaluation.statistics import (
    detectable_effect,
    difference,
    holm,
    mean,
    minimum_detectable,
    mover,
    per_correct,
    rate,
    rate_difference,
    ratio,
    separation,
    share,
)

NAN = float("nan")


def some(problems: int, samples: int = 1, chance: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).binomial(samples, chance, problems) / samples


def test_the_interval_of_an_accuracy_is_scipys_bca_over_problems():
    values = some(60, 4, 0.6)
    found = share(values, samples=4, seed=5, resamples=999)
    other = stats.bootstrap(
        (values,), np.mean, n_resamples=999, method="BCa", random_state=np.random.default_rng(5)
    ).confidence_interval  # fmt: skip
    assert found.value == pytest.approx(values.mean())
    assert (float(found.low), float(found.high)) == pytest.approx((other.low, other.high), abs=1e-9)


def test_the_same_seed_gives_the_same_interval_and_another_nearly():
    values = np.random.default_rng(1).random(80)
    first, again, other = (share(values, samples=2, seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other
    assert float(first.low) == pytest.approx(float(other.low), abs=0.02)


def test_rows_are_repetitions():
    rows = np.stack([some(40, 2, 0.5, 1), some(40, 2, 0.7, 2), np.zeros(40), some(40, 2, 0.04, 3)])
    together = share(rows, samples=2, seed=4, resamples=499)
    for place, row in enumerate(rows):
        alone = share(row, samples=2, seed=4, resamples=499)
        assert [float(one[place]) for one in together] == pytest.approx([float(one) for one in alone])
    others = rows[::-1]
    paired = difference(rows, others)
    for place in range(len(rows)):
        alone = difference(rows[place], others[place])
        assert [float(one[place]) for one in paired] == pytest.approx([float(one) for one in alone])


@pytest.mark.parametrize("problems", [5, 30, 200])
def test_nothing_right_and_nothing_wrong_still_have_an_interval(problems):
    none, every = share(np.zeros(problems)), share(np.ones(problems))
    z = stats.t.ppf(0.975, problems - 1)
    assert (float(none.value), float(none.low)) == (0, 0)
    assert float(none.high) == pytest.approx(z * z / (problems + z * z))
    assert [float(one) for one in every] == pytest.approx([1, 1 - float(none.high), 1])


def test_few_right_answers_have_wilsons_interval():
    values = np.zeros(200)
    values[:7] = 1
    low, high = proportion_confint(7, 200, method="wilson")
    found = share(values)
    assert (float(found.low), float(found.high)) == pytest.approx((low, high), abs=0.002)
    turned = share(1 - values)
    assert [1 - float(one) for one in turned] == pytest.approx(
        [float(found.value), float(found.high), float(found.low)]
    )
    values[7] = 1  # from here on the bootstrap
    bootstrapped = share(values, resamples=999)
    low, high = proportion_confint(8, 200, method="wilson")
    assert abs(float(bootstrapped.high) - high) > 1e-4 and low < 0.04 < float(bootstrapped.high)


def test_more_samples_of_few_right_problems_tell_more_but_not_more_than_they_are():
    values = np.full(5, 0.5)
    values[0] = 0.25
    wide, narrow, all_there_is = (share(values, samples=samples) for samples in (1, 4, 400))
    widths = [float(one.high - one.low) for one in (wide, narrow, all_there_is)]
    assert widths[0] > widths[1] >= widths[2] > 0


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_problems(shape):
    empty = np.zeros(shape)
    for found in (share(empty), difference(empty, empty)):
        assert all(np.isnan(one).all() and one.shape == shape[:-1] for one in found)
    assert all(np.isnan(one) for found in (mean([]), ratio([], [])) for one in found)
    assert math.isnan(minimum_detectable(np.zeros(0), np.zeros(0)))
    assert np.isnan(np.array(per_correct(np.zeros(0), np.zeros(0), np.zeros(0)))).all()


def test_a_mean_of_tokens():
    values = np.random.default_rng(3).lognormal(5, 1, 150)
    found = mean(values)
    assert float(found.value) == pytest.approx(values.mean())
    assert found.low < found.value < found.high
    assert float(found.high - found.low) == pytest.approx(3.92 * values.std() / math.sqrt(150), rel=0.25)
    assert float(found.high - found.value) > float(found.value - found.low)  # skewed to the right, and so the interval
    assert [float(one) for one in mean(np.full(9, 7.0))] == [7, 7, 7]
    alone = mean([7.0])
    assert float(alone.value) == 7 and np.isnan(alone.low) and np.isnan(alone.high)


def test_a_ratio_is_sum_over_sum_and_draws_pairs():
    below = np.random.default_rng(1).integers(10, 1000, 100).astype(float)
    above = 0.1 * below
    fixed = ratio(above, below)
    assert [float(one) for one in fixed] == pytest.approx([0.1] * 3)
    above[::2] *= 2
    found = ratio(above, below)
    assert float(found.value) == pytest.approx(above.sum() / below.sum())
    assert found.low < found.value < found.high
    assert float(found.high - found.low) < 0.05  # unpaired draws would be several times as wide
    assert np.isnan(ratio([0.0, 0.0], [0.0, 0.0]).value)


def test_the_difference_of_two_ratios_is_scipys_bca_of_pairs():
    draw = np.random.default_rng(3)
    words = draw.integers(50, 200, (2, 150)).astype(float)
    hard = draw.gamma(1.0, 0.01, 150)  # a hard problem has more slips with both
    slips = draw.poisson(words * hard * [[1.0], [1.5]]).astype(float)
    found = rate_difference((slips[1], words[1]), (slips[0], words[0]))

    def less(a, b, c, d, axis=-1):
        return a.sum(axis) / b.sum(axis) - c.sum(axis) / d.sum(axis)

    data = (slips[1], words[1], slips[0], words[0])
    theirs = stats.bootstrap(data, less, paired=True, n_resamples=4999, rng=1).confidence_interval
    assert float(found.value) == pytest.approx(float(less(*data)))
    assert (found.low, found.high) == (
        pytest.approx(theirs.low, abs=0.1 * (theirs.high - theirs.low)),
        pytest.approx(theirs.high, abs=0.1 * (theirs.high - theirs.low)),
    )
    apart = [ratio(top, bottom) for top, bottom in zip(slips, words, strict=True)]
    assert found.high - found.low < 0.9 * np.hypot(
        *(one.high - one.low for one in apart)
    )  # problems are drawn together


def test_few_events_have_poissons_interval():
    none = rate([0.0] * 9, [100.0] * 9)
    assert (none.value, none.low) == (0, 0) and none.high == pytest.approx(3.689 / 900, rel=1e-3)
    three = rate([1.0, 1.0, 1.0, *[0.0] * 97], [10.0] * 100)
    exact = stats.chi2.ppf([0.025, 0.975], [6, 8]) / 2
    assert (three.low, three.high) == pytest.approx(tuple(exact / 1000))
    together = rate([3.0, *[0.0] * 99], [10.0] * 100)  # one bad answer says less than three
    assert together.value == three.value and together.high > three.high and together.low < three.low
    many = [1.0] * 20 + [0.0] * 80
    assert rate(many, [10.0] * 100) == ratio(many, [10.0] * 100)
    assert np.isnan(rate([0.0], [0.0])).all()


def test_the_difference_of_rates_without_much_to_go_by():
    words = np.full(200, 100.0)
    none, three = np.zeros(200), np.array([1.0] * 3 + [0.0] * 197)
    assert np.isnan(rate_difference(([0.0], [0.0]), ([1.0], [9.0]))).all()
    same = rate_difference((none, words), (none, words))
    assert same.value == 0 and same.high == -same.low == pytest.approx(3.689 / 20_000, rel=1e-3)
    found = rate_difference((three, words), (none, words))  # the exact test of 3 against 0 has p 0.25
    assert found.low < 0 < found.high and float(found.value) == pytest.approx(3 / 20_000)
    back = rate_difference((none, words), (three, words))
    assert (back.low, back.value, back.high) == pytest.approx((-found.high, -found.value, -found.low))
    many = np.array([1.0] * 30 + [0.0] * 170)
    assert rate_difference((many, words), (none, words)).low > 0
    assert [float(one) for one in rate_difference((many + 1, words), (many, words))] == pytest.approx([0.01] * 3)


def test_a_problem_without_a_token_leaves_the_others_their_intervals():
    """Such as one whose prompt did not fit."""
    tokens = np.random.default_rng(1).integers(50, 300, 60).astype(float)
    correct = some(60, seed=2)
    correct[3] = 0
    before = per_correct(tokens, correct, np.ones(60)), ratio(0.1 * tokens + correct, tokens)
    tokens[3] = 0
    after = per_correct(tokens, correct, np.ones(60)), ratio(0.1 * tokens + correct, tokens)
    for one, other in zip(before, after, strict=True):
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.3)


def test_tpca():
    correct, samples = np.array([2, 0, 1] * 20, dtype=float), np.full(60, 2.0)
    tokens = np.random.default_rng(2).integers(100, 300, 60).astype(float)
    found = per_correct(tokens, correct, samples)
    assert float(found.value) == pytest.approx(tokens.sum() / 60)
    assert 0 < found.low < found.value < found.high < 2 * found.value


def test_tpca_where_little_or_nothing_is_correct():
    tokens, samples = np.full(50, 100.0), np.ones(50)
    none = per_correct(tokens, np.zeros(50), samples)
    assert math.isinf(none.value) and math.isinf(none.high) and 100 < none.low < 100 * 50
    one = np.zeros(50)
    one[3] = 1
    few = per_correct(tokens, one, samples)
    bounds = share(one)
    assert float(few.value) == pytest.approx(5000)
    assert (float(few.low), float(few.high)) == pytest.approx((100 / float(bounds.high), 100 / float(bounds.low)))
    every = per_correct(tokens, np.ones(50), samples)
    assert float(every.value) == 100 and float(every.low) == 100 < float(every.high)


def test_the_difference_is_the_paired_t_test():
    ours, theirs = some(50, 4, 0.6, 1), some(50, 4, 0.5, 2)
    found = difference(ours, theirs)
    other = stats.ttest_1samp(ours - theirs, 0)
    interval = other.confidence_interval()
    assert [float(one) for one in found] == pytest.approx(
        [(ours - theirs).mean(), interval.low, interval.high, other.pvalue]
    )
    turned = difference(theirs, ours)
    assert [float(one) for one in turned] == pytest.approx(
        [-float(found.value), -float(found.high), -float(found.low), float(found.p)]
    )


def test_pairing_counts():
    hard = some(200, 1, 0.5, 1)
    ours = hard.copy()
    ours[np.flatnonzero(hard == 0)[:8]] = 1
    assert float(difference(ours, hard).p) < 0.01
    assert float(difference(ours, np.roll(hard, 1)).p) > 0.1


def test_interval_and_p_agree_about_zero():
    rng = np.random.default_rng(7)
    separated = set()
    for problems in (1, 2, 3, 5, 6, 10, 40):
        for samples in (1, 2, 4):
            for gain in (0.0, 0.2, 0.9):
                theirs = rng.binomial(samples, 0.1 if gain else 0.5, (40, problems)) / samples
                ours = rng.binomial(samples, min(0.1 + gain, 1), (40, problems)) / samples
                found = difference(ours, theirs)
                outside = (found.low > 0) | (found.high < 0)
                assert (outside == (found.p < 0.05)).all()
                assert (found.low <= found.value).all() and (found.value <= found.high).all()
                assert (found.p >= 0).all() and (found.p <= 1).all()
                separated |= set(outside.tolist())
    assert separated == {True, False}


@pytest.mark.parametrize("problems", [1, 5, 6, 100])
@pytest.mark.parametrize("gain", [0.0, 0.25, 1.0, -1.0])
def test_the_same_difference_everywhere(problems, gain):
    theirs = np.full(problems, 1.0 if gain < 0 else 0.0)
    found = difference(theirs + gain, theirs)
    outside = bool(found.low > 0 or found.high < 0)
    assert outside == bool(found.p < 0.05)
    assert -1 <= found.low <= gain <= found.high <= 1 and found.high > found.low
    if gain == 0:
        assert float(found.p) == 1 and float(found.high) == pytest.approx(-float(found.low))
        assert float(found.high) == pytest.approx(float(proportion_confint(0, problems, method="beta")[1]))
    if abs(gain) == 1:  # the sign test
        assert float(found.p) == pytest.approx(min(1.0, stats.binomtest(problems, problems).pvalue))


def test_values_that_do_not_differ_are_not_separated():
    same = np.tile(some(40, 2), (4, 1))
    assert separation(same) == separation(np.zeros((3, 30))) == separation(np.ones((2, 9))) == 1
    assert separation(same[:1]) == separation(same[:, :1]) == separation(np.zeros((3, 0))) == 1


def test_separation_is_the_exact_test_of_all_exchanges():
    """Two methods that differ on n problems in the same direction: 2 of the 2 ** n exchanges are as far apart."""
    for problems in range(2, 12):
        better = np.zeros((2, 30))
        better[0, :problems] = 1
        found = separation(better[:, : problems + 3], resamples=1 << 17)
        assert found == pytest.approx(2 / 2**problems)
    turned = np.array([[1, 0, 1, 1, 0, 1.0], [0, 1, 0, 0, 1, 0]])
    assert separation(turned) == separation(turned[::-1])


@pytest.mark.parametrize("methods", [2, 3, 5])
@pytest.mark.parametrize(("problems", "samples"), [(15, 1), (30, 1), (60, 2)])
def test_separation_errs_in_less_than_one_of_twenty_studies(methods, problems, samples):
    """Problems that are as hard for all methods, and methods that do not differ."""
    rng = np.random.default_rng(methods * problems)
    separated = 0
    for _ in range(400):
        chance = 1 / (1 + np.exp(-2 * rng.standard_normal(problems)))
        answers = rng.random((methods, problems, samples)) < chance[:, None]
        separated += separation(answers.mean(-1), resamples=199) < 0.05
    assert separated <= 32  # of 400; 20 expected at most, and more than 32 in one of 200 runs


@pytest.mark.parametrize("methods", [2, 3, 5])
def test_separation_finds_a_method_that_is_better(methods):
    rng = np.random.default_rng(methods)
    separated = 0
    for _ in range(100):
        chances = np.full(methods, 0.3)
        chances[rng.integers(methods)] = 0.7
        separated += separation((rng.random((methods, 60)) < chances[:, None]).astype(float), resamples=199) < 0.05
    assert separated >= 90


def test_separation_is_the_same_again_and_for_any_order_of_the_problems():
    values = np.random.default_rng(3).random((3, 25)).round(1)
    assert separation(values) == separation(values)
    assert separation(values[:, ::-1]) == pytest.approx(separation(values), abs=0.03)


def test_holm():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    with_gap = holm([0.01, NAN, 0.04])
    assert with_gap[[0, 2]].tolist() == pytest.approx([0.02, 0.04]) and np.isnan(with_gap[1])
    assert holm([]).size == 0 and np.isnan(holm([NAN])).all() and holm([0.9, 0.8]).max() <= 1


@pytest.mark.parametrize("several", [1, 5])
@pytest.mark.parametrize("problems", [12, 100])
def test_the_detectable_effect_is_found_in_four_of_five_studies(problems, several):
    studies = np.random.default_rng(8).normal(detectable_effect(problems, 0.05 / several), 1, (20_000, problems))
    power = (stats.ttest_1samp(studies, 0, axis=-1).pvalue < 0.05 / several).mean()
    assert power == pytest.approx(0.8, abs=0.015)


@pytest.mark.parametrize("problems", [12, 100])
def test_the_minimum_detectable_difference_is_found_in_four_of_five_studies(problems):
    rng = np.random.default_rng(8)
    observed = rng.normal(0, 1, problems)
    observed *= 0.2 / observed.std(ddof=1)
    smallest = minimum_detectable(observed, np.zeros(problems))
    studies = rng.normal(smallest, 0.2, (20_000, problems))
    power = (stats.ttest_1samp(studies, 0, axis=-1).pvalue < 0.05).mean()
    assert power == pytest.approx(0.8, abs=0.015)


def test_where_no_minimum_can_be_told():
    assert math.isnan(minimum_detectable(np.ones(40), np.zeros(40)))
    assert math.isnan(minimum_detectable([1.0, 0.0], [0.0, 0.0]))
    assert math.isnan(minimum_detectable([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]))  # above 100 points


def test_the_mean_over_tasks():
    found = mover([(0.5, 0.4, 0.6), (0.7, 0.6, 0.8)])
    assert [float(one) for one in found] == pytest.approx([0.6, 0.6 - 0.1 / math.sqrt(2), 0.6 + 0.1 / math.sqrt(2)])
    lopsided = mover([(0.5, 0.2, 0.5), (0.7, 0.7, 0.7)])
    assert [float(one) for one in lopsided] == pytest.approx([0.6, 0.45, 0.6])
