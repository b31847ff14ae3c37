"""A test of "the density never rises": the distance of the empirical distribution from its concave majorant.

A density that never rises has a concave distribution function F. The least concave majorant C of the empirical F_n
is then its maximum-likelihood estimate (Grenander 1956), and ``sqrt(n) sup(C - F_n)`` tests it: Hartigan and Hartigan's
dip (1985) where the mode is known to be the left end; studied by Durot (2003) and by Kulikov and Lopuhaä (2008).
Of all such densities the uniform one makes large distances the most likely, at every n: for a concave F and a uniform
sample's G_n, ``C(G_n) o F`` is concave and lies above ``G_n o F``, distributed as F_n, and so above ``C(F_n)``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DRAWS = 50_000  # of the limit law: p-values are multiples of 1 / _DRAWS
_STICKS = 30  # what is left of the unit stick after them is 2**-30 on average
_SERIES = 40


class Rise(NamedTuple):
    """Where the density most clearly rises.

    at: the largest distance from the majorant; the density is too low left of it and too high right of it for one that
    never rises. p_value: at most the probability of such a distance, or a larger one, where nothing rises, in the limit
    of many values; what lies below 1 / 50,000 is given as 1 / 50,000.
    """

    at: float
    p_value: float


def largest_rise(values: Floats, low: float, high: float) -> Rise:
    """Test whether the density on [low, high] never rises.

    values: (n,) sorted, n >= 1, above `low` and at most `high`. Ties are allowed; they count as a rise.
    """
    n = values.shape[0]
    points, first = np.unique(values, return_index=True)
    x = np.concatenate(([low], points, [high]))
    before = np.concatenate(([0.0], first / n, [1.0]))  # F_n just left of the point
    upto = np.concatenate(([0.0], np.append(first[1:], n) / n, [1.0]))
    corners = _majorant(x.tolist(), upto.tolist())
    distance = np.interp(x, x[corners], upto[corners]) - before
    largest = int(distance.argmax())
    above = _DRAWS - int(np.searchsorted(_limit_law(), distance[largest] * np.sqrt(n)))
    return Rise(float(x[largest]), max(above, 1) / _DRAWS)


def _majorant(x: list[float], y: list[float]) -> list[int]:
    """Indices of the corners of the least concave majorant of the points, x rising."""
    corners = [0]
    for i in range(1, len(x)):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            if (y[b] - y[a]) * (x[i] - x[b]) > (y[i] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


@lru_cache(maxsize=1)
def _limit_law() -> Floats:
    """Sorted draws of the largest distance of a Brownian bridge from its concave majorant.

    It is the maximum of ``sqrt(L_j) R_j``: L_j the pieces of a uniformly broken stick, R_j independent ranges of
    Brownian bridges (Balabdaoui and Pitman 2011, theorem 1), whose distribution is Kuiper's (1960).
    """
    random = np.random.Generator(np.random.PCG64(0))
    x = np.linspace(0.2, 4.0, 2000)
    j = np.arange(1, _SERIES)[:, None]
    kuiper = 1.0 - 2.0 * ((4.0 * j**2 * x**2 - 1.0) * np.exp(-2.0 * j**2 * x**2)).sum(axis=0)
    largest, rest = np.zeros(_DRAWS), np.ones(_DRAWS)
    for _ in range(_STICKS):
        share = random.random(_DRAWS)
        ranges = np.interp(random.random(_DRAWS), kuiper, x)
        np.maximum(largest, np.sqrt(rest * share) * ranges, out=largest)
        rest *= 1.0 - share
    law: Floats = np.sort(largest)
    return law
