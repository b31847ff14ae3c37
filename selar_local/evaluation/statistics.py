"""The statistics of a study: arrays in, estimates with 95 % intervals out.

A problem is the unit: its samples are averaged first, and what varies from problem to problem makes the interval.
`share` and `difference` also take (repetitions, problems), as `scripts/simulate_study.py` needs it.
Which procedure is used where was chosen by simulated coverage: ``python scripts/simulate_study.py`` shows it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Two-sided error of every interval and test.
ALPHA = 0.05
#: Probability with which a study finds its minimum detectable effect.
POWER = 0.8
#: Resamples of the bootstrap.
RESAMPLES = 4999
#: With fewer problems than this on one side (right, or wrong) the bootstrap's interval is far too short.
FEW = 8

_AT_ONCE = 4_000_000  # numbers of one batch of exchanges
_EQUAL = 1e-12
_ENDS = np.array([ALPHA / 2, 1 - ALPHA / 2])


class Estimate(NamedTuple):
    """A value and the ends of its 95 % interval, each (...); not a number where there is nothing to go by."""

    value: Floats
    low: Floats
    high: Floats


class Difference(NamedTuple):
    """A paired difference, its 95 % interval and its two-sided p, each (...). p < 0.05 where zero lies outside."""

    value: Floats
    low: Floats
    high: Floats
    p: Floats


def share(means: npt.ArrayLike, *, samples: int = 1, seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """The mean of values in [0, 1], such as an accuracy, with its interval.

    means: each the average of at most `samples` samples. The interval is the BCa bootstrap over problems. Where fewer
    than `FEW` problems have anything right, or anything wrong, the bootstrap collapses (at 0 % and 100 % to a point):
    there it is Wilson's, with the effective number of problems that the variance between them gives (at most problems x
    samples) and the quantile of t instead of the normal one.
    """
    values = np.asarray(means, dtype=np.float64)
    if not values.shape[-1]:
        return _unknown(values.shape[:-1])
    rows = np.atleast_2d(values)
    low, high = _wilson(rows, samples)
    enough = (np.minimum((rows > 0).sum(-1), (rows < 1).sum(-1)) >= FEW) & (np.ptp(rows, axis=-1) > _EQUAL)
    if enough.any():
        low[enough], high[enough] = _bca(rows[enough], np.ones_like(rows[enough]), seed, resamples)
    found = (rows.mean(-1), np.clip(low, 0, 1), np.clip(high, 0, 1))
    return Estimate(*(one.reshape(values.shape[:-1]) for one in found))


def mean(values: npt.ArrayLike) -> Estimate:
    """The mean over problems of values without bounds, such as tokens, with its BCa bootstrap interval.

    The interval of values that are all equal is that value; one problem alone has none.
    """
    return ratio(values, np.ones(np.shape(values)))


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Estimate:
    """Sum over sum, such as exploration steps over tokens, with its BCa bootstrap interval (problems drawn as pairs).

    above, below: (problems,). Not a number where `below` has nothing at all; a problem without anything in it (such as
    a prompt that did not fit) counts for nothing.
    """
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    if not bottom.size:
        return _unknown(())
    value = np.asarray(top.sum() / bottom.sum())
    if bottom.size == 1:
        return Estimate(value, *_unknown(())[1:])
    if np.ptp(top / bottom) <= _EQUAL:
        return Estimate(value, value, value)
    return Estimate(value, *_bca(top, bottom))


def rate(above: npt.ArrayLike, below: npt.ArrayLike) -> Estimate:
    """Rare events over what they could have happened in, such as slips over words: a `ratio`.

    above, below: (problems,). With events in fewer than `FEW` problems the bootstrap's interval is too short (without
    any, a point): there it is Garwood's, of the number of problems with events as Poisson's. It is scaled to the mean
    number of events in such a problem.
    """
    top, bottom = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    seen = int((top > 0).sum())
    if not bottom.sum() > 0 or seen >= FEW:
        return ratio(top, bottom)
    from scipy.special import chdtri

    each = top.sum() / seen if seen else 1.0
    low = chdtri(2 * seen, 1 - ALPHA / 2) / 2 if seen else 0.0
    high = chdtri(2 * seen + 2, ALPHA / 2) / 2
    found = np.minimum(np.array([seen, low, high]) * each / bottom.sum(), 1.0)
    return Estimate(*(np.asarray(one) for one in found))


def rate_difference(
    method: tuple[npt.ArrayLike, npt.ArrayLike], baseline: tuple[npt.ArrayLike, npt.ArrayLike]
) -> Estimate:
    """A `rate` less the baseline's, with its BCa bootstrap interval.

    method, baseline: (above, below), each (problems,), of the same problems, which are drawn together. Where one has
    events in fewer than `FEW` problems, the interval is made from the two rates' own (MOVER of Zou and Donner, 2008).
    Not a number where one `below` has nothing at all.
    """
    sides = [[np.asarray(one, dtype=np.float64) for one in side] for side in (method, baseline)]
    if not all(below.sum() > 0 for _, below in sides):
        return _unknown(())
    if min(int((above > 0).sum()) for above, _ in sides) < FEW:
        ours, theirs = (rate(*side) for side in sides)
        value = ours.value - theirs.value
        low = value - np.hypot(ours.value - ours.low, theirs.high - theirs.value)
        return Estimate(value, low, value + np.hypot(ours.high - ours.value, theirs.value - theirs.low))
    found = [_resampled(above, below, 0, RESAMPLES) for above, below in sides]
    value, drawn, left_out = (ours - theirs for ours, theirs in zip(*found, strict=True))
    if np.ptp(drawn) <= _EQUAL:
        return Estimate(value[0], value[0], value[0])
    return Estimate(value[0], *_bca_ends(value, drawn, left_out))


def per_correct(tokens: npt.ArrayLike, correct: npt.ArrayLike, samples: npt.ArrayLike) -> Estimate:
    """TPCA: all generated tokens over the number of correct answers, with its interval.

    tokens, correct, samples: (problems,) sums over a problem's samples, and how many those are. Infinite where nothing
    is correct. The bootstrap runs on the inverse, which is always finite; with few problems right or wrong (see
    `share`) the interval is that of the accuracy, turned over.
    """
    spent, right, number = (np.asarray(one, dtype=np.float64) for one in (tokens, correct, samples))
    if not spent.size or spent.sum() <= 0:
        return _unknown(())
    accuracy = right / number
    if min((right > 0).sum(), (accuracy < 1).sum()) < FEW:
        bounds = share(accuracy, samples=int(number.max()))
        scale = number.sum() / spent.sum()
        value, low, high = right.sum() / spent.sum(), bounds.low * scale, bounds.high * scale
    else:
        value, low, high = ratio(right, spent)
    with np.errstate(divide="ignore"):
        return Estimate(*(np.asarray(1.0 / np.float64(one)) for one in (value, high, low)))


def difference(method: npt.ArrayLike, baseline: npt.ArrayLike) -> Difference:
    """Method less baseline on the same problems: interval and p of the paired t test (scipy.stats.ttest_rel).

    method, baseline: in [0, 1]. For one sample this is nearly McNemar's test. Where every problem shows
    the same difference c, its variance tells nothing: then at least ``(p / 2) ** (1 / n)`` of all problems show c
    (Clopper-Pearson, statsmodels), the rest could lie anywhere in [-1, 1], and p is where that interval reaches zero.
    """
    first, second = np.asarray(method, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    shape = first.shape[:-1]
    if not first.shape[-1]:
        return Difference(*_unknown(shape), np.full(shape, np.nan))
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    delta = first - second
    value = delta.mean(-1)
    low, high, p = _constant(value, delta.shape[-1])
    varied = np.ptp(delta, axis=-1) > _EQUAL
    if varied.any():
        from scipy import stats

        found = stats.ttest_rel(first[varied], second[varied], axis=-1)
        low[varied], high[varied] = found.confidence_interval(1 - ALPHA)
        p[varied] = found.pvalue
    return Difference(*(one.reshape(shape) for one in (value, np.clip(low, -1, 1), np.clip(high, -1, 1), p)))


def separation(means: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """p of the best of several methods being further from the worst than chance puts it, on the same problems.

    means: (methods, problems) in [0, 1]. The null hypothesis is that the methods do not differ: then a problem's values
    could as well be exchanged between them (scipy.stats.permutation_test of the highest less the lowest mean). So p
    already accounts for the number of methods. 1 for less than two methods or two problems.
    """
    values = np.asarray(means, dtype=np.float64)
    if min(values.shape) < 2:
        return 1.0
    from scipy import stats

    found = stats.permutation_test(
        tuple(values), _spread, permutation_type="samples", vectorized=True, n_resamples=resamples,
        alternative="greater", batch=max(1, _AT_ONCE // values.size), random_state=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def _spread(*methods: Floats, axis: int = -1) -> Any:
    """The highest less the lowest mean."""
    return np.ptp(np.stack([one.mean(axis=axis) for one in methods]), axis=0)


def holm(p_values: npt.ArrayLike) -> Floats:
    """The p values corrected for being several, after Holm; not-a-numbers stay and do not count.

    Our own, because statsmodels' multipletests collects all garbage of the process with every call.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)[: (~np.isnan(p)).sum()]
    corrected: Floats = p.copy()
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(order.size, 0, -1)), 1.0)
    return corrected


def minimum_detectable(method: npt.ArrayLike, baseline: npt.ArrayLike) -> float:
    """The smallest true difference that a study like this finds with 80 % power (paired t test, 5 %, two-sided).

    method, baseline: (problems,). From the observed deviation of the differences (statsmodels' TTestPower); not a
    number below three problems, where no difference was observed, and where it would be above 1.
    """
    delta = np.asarray(method, dtype=np.float64) - np.asarray(baseline, dtype=np.float64)
    if delta.size < 3 or np.ptp(delta) < _EQUAL:
        return float("nan")
    found = detectable_effect(delta.size) * float(delta.std(ddof=1))
    return found if found <= 1 else float("nan")


@functools.cache
def detectable_effect(problems: int, alpha: float = ALPHA) -> float:
    """The smallest difference, in its standard deviations, that a paired t test finds with 80 % power."""
    from statsmodels.stats.power import TTestPower

    return float(np.squeeze(TTestPower().solve_power(effect_size=None, nobs=problems, alpha=alpha, power=POWER)))


def mover(parts: Sequence[tuple[float, float, float]]) -> Estimate:
    """The mean of independent estimates (value, low, high), its interval from theirs: MOVER of Zou and Donner, 2008."""
    value, low, high = np.array(parts, dtype=np.float64).T
    middle, n = value.mean(), len(parts)
    below, above = np.sqrt(((value - low) ** 2).sum()) / n, np.sqrt(((high - value) ** 2).sum()) / n
    return Estimate(np.asarray(middle), np.asarray(middle - below), np.asarray(middle + above))


def _constant(value: Floats, n: int) -> tuple[Floats, Floats, Floats]:
    """Interval and p of a difference that all n problems show alike."""
    from statsmodels.stats.proportion import proportion_confint

    least = float(proportion_confint(n, n, alpha=ALPHA, method="beta")[0])
    size = np.abs(value)
    p = np.asarray(np.minimum(1.0, 2.0 * (1.0 + size) ** -float(n)), dtype=np.float64)
    return value * least - (1 - least), value * least + (1 - least), p


def _wilson(rows: Floats, samples: int) -> tuple[Floats, Floats]:
    """Wilson's interval for each row, with the effective number of problems."""
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    n = rows.shape[-1]
    m = rows.mean(-1)
    variance = rows.var(-1, ddof=1) if n > 1 else np.zeros_like(m)
    varied = variance > _EQUAL
    effective = np.full_like(m, float(n))
    effective[varied] = np.clip(m[varied] * (1 - m[varied]) * n / variance[varied], 1.0, float(n * max(samples, 1)))
    alpha = 2 * stats.norm.sf(stats.t.ppf(1 - ALPHA / 2, max(n - 1, 1)))
    low, high = proportion_confint(m * effective, effective, alpha=alpha, method="wilson")
    return np.minimum(low, m), np.maximum(high, m)


def _bca(above: Floats, below: Floats, seed: int = 0, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Ends of the BCa interval of each row's sum over sum; the percentile interval where BCa does not exist."""
    return _bca_ends(*_resampled(above, below, seed, resamples))


def _resampled(above: Floats, below: Floats, seed: int, resamples: int) -> tuple[Floats, Floats, Floats]:
    """Each row's sum over sum: of all problems (..., 1), of every resample, and with each problem left out."""
    times = _times_drawn(above.shape[-1], seed, resamples)
    with np.errstate(all="ignore"):
        tops, bottoms = above.sum(-1, keepdims=True), below.sum(-1, keepdims=True)
        return tops / bottoms, (above @ times) / (below @ times), (tops - above) / (bottoms - below)


def _bca_ends(value: Floats, drawn: Floats, left_out: Floats) -> tuple[Floats, Floats]:
    """The ends by a value, its resamples and its jackknife.

    Our own, because the last bits of scipy.stats.bootstrap vary from call to call: 2.75 % is 2.7 once, and 2.8 once.
    """
    from scipy.special import ndtr, ndtri

    with np.errstate(all="ignore"):
        bias = ndtri(((drawn < value - _EQUAL).mean(-1) + (drawn <= value + _EQUAL).mean(-1)) / 2)[..., None]
        change = left_out.mean(-1, keepdims=True) - left_out
        skew = ((change**3).sum(-1) / (change**2).sum(-1) ** 1.5)[..., None] / 6
        shifted = bias + ndtri(_ENDS)
        ends = ndtr(bias + shifted / (1 - skew * shifted))
    ends = np.where(np.isfinite(ends).all(-1, keepdims=True), ends, _ENDS)
    low, high = np.moveaxis(_quantiles(drawn, ends), -1, 0)
    return low, high


def _quantiles(values: Floats, at: Floats) -> Floats:
    """Quantiles of each row at its own places; equal to scipy.stats.quantile to the last bit, unlike NumPy's."""
    ordered, n = np.sort(values, axis=-1), values.shape[-1]
    place = at * n + (1 - at)
    below = np.clip(place // 1 - 1, 0, n - 1).astype(int)
    above, part = np.clip(below + 1, 0, n - 1), place % 1
    return np.asarray(
        (1 - part) * np.take_along_axis(ordered, below, -1) + part * np.take_along_axis(ordered, above, -1)
    )


@functools.lru_cache(maxsize=4)
def _times_drawn(n: int, seed: int, resamples: int) -> Floats:
    """How often each resample draws each of n problems, (problems, resamples)."""
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    return np.stack([np.bincount(row, minlength=n) for row in drawn], axis=1).astype(np.float64)


def _unknown(shape: tuple[int, ...]) -> Estimate:
    return Estimate(*(np.full(shape, np.nan) for _ in range(3)))
