"""The test that a density never rises: its statistic, its null distribution, its level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selar_local.analysis.monotone import _limit_law, _majorant, largest_rise


def majorant_by_definition(x: list[float], y: list[float]) -> list[float]:
    """At each point the largest chord over it."""
    values = []
    for i in range(len(x)):
        chords = [
            y[a] + (y[b] - y[a]) * (x[i] - x[a]) / (x[b] - x[a])
            for a in range(i + 1)
            for b in range(i, len(x))
            if a != b
        ]
        values.append(max(chords, default=y[i]))
    return values


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=25, unique=True))
@settings(max_examples=60, deadline=None)
def test_the_majorant_is_the_least_one(cells):
    x = [0.0, *(cell / 1000 for cell in sorted(cells))]
    y = [number / (len(x) - 1) for number in range(len(x))]
    corners = _majorant(x, y)
    drawn = np.interp(x, [x[c] for c in corners], [y[c] for c in corners])
    assert drawn == pytest.approx(majorant_by_definition(x, y))


def test_a_falling_density_has_no_rise_and_a_rising_one_does():
    quantiles = (np.arange(500) + 0.5) / 500
    assert largest_rise(1 - np.sqrt(1 - quantiles), 0.0, 1.0).p_value > 0.99  # density 2 (1 - x)
    rising = largest_rise(np.sqrt(quantiles), 0.0, 1.0)  # density 2 x: it passes its average, 1, at 1/2
    assert rising.p_value < 0.0001 and rising.at == pytest.approx(0.5, abs=0.01)


def test_the_scale_does_not_matter():
    random = np.random.default_rng(3)
    values = np.sort(random.random(300))
    one, other = largest_rise(values, 0.0, 1.0), largest_rise(2.0 + 3.0 * values, 2.0, 5.0)
    assert other.p_value == one.p_value and other.at == pytest.approx(2.0 + 3.0 * one.at)


def test_a_tie_counts_as_a_rise():
    assert largest_rise(np.full(100, 0.7), 0.0, 1.0) == (0.7, 1 / 50_000)


def test_the_limit_law():
    law = _limit_law()
    # 0.95 and 0.99 quantiles, also found from 4000 uniform samples of 1000 each
    assert np.quantile(law, [0.5, 0.95, 0.99]) == pytest.approx([0.965, 1.464, 1.715], abs=0.02)
    assert _limit_law() is law


@pytest.mark.parametrize("n", [50, 400])
def test_the_level_is_kept_by_the_worst_case(n):
    random = np.random.default_rng(n)
    rejected = [largest_rise(np.sort(random.random(n)), 0.0, 1.0).p_value <= 0.05 for _ in range(400)]
    assert sum(rejected) <= 32  # 20 are expected; 33 and more have a probability of 0.4 %
