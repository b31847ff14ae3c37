"""The truncated entropy, worked by hand and for any numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.methods import normalised_entropy

from selar_local.methods.entropy import renormalise, truncated_entropy


@pytest.mark.parametrize(
    ("q", "k", "expected"),
    [
        ([1.0, 0.0, 0.0], 3, 0.0),
        ([1 / 3] * 3, 3, 1.0),
        ([0.5, 0.5, 0.0], 3, math.log(2) / math.log(3)),
        ([0.5, 0.5], 2, 1.0),
        ([0.75, 0.25], 2, 2 - 0.75 * math.log2(3)),
        ([0.5, 0.25, 0.25], 4, 0.75),
        ([1.0], 5, 0.0),  # fewer candidates than k: a vocabulary of one
    ],
)
def test_worked_by_hand(q: list[float], k: int, expected: float) -> None:
    found = truncated_entropy(q, k)
    assert found == pytest.approx(expected, abs=1e-15)
    assert math.copysign(1, found) == 1  # never -0.0, which a trace would show


def test_renormalise_keeps_zeros_and_order() -> None:
    assert list(renormalise(np.array([0.4, 0.1, 0.0, 0.0]), 3)) == pytest.approx([0.8, 0.2, 0.0])
    assert list(renormalise(np.array([0.5, 0.3, 0.2]), 2)) == pytest.approx([0.625, 0.375])
    assert list(renormalise(np.array([0.6, 0.4]), 5)) == pytest.approx([0.6, 0.4])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.just(0.0), st.floats(1e-300, 1)), min_size=1, max_size=12),
    st.integers(2, 12),
    st.floats(1e-3, 1),
)
def test_bounds_sum_and_the_oracle(values: list[float], k: int, largest: float) -> None:
    probabilities = np.sort(np.array([*values, largest]))[::-1]
    q = renormalise(probabilities, k)
    h = truncated_entropy(q, k)
    assert sum(q) == pytest.approx(1)
    assert 0.0 <= h <= 1.0
    assert h == pytest.approx(normalised_entropy(probabilities, k), abs=1e-12)
