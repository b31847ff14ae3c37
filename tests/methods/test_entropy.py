"""The truncated entropy and that of the whole vocabulary, worked by hand and for any numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.methods import normalised_entropy

from selar_local.methods.entropy import renormalise, softmax, truncated_entropy

from .fakes import Logits, entropy_of, logits_of


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


def test_an_even_distribution_is_never_above_one() -> None:
    """The rounding of the sum is above it, for 5 equal shares as for 12."""
    found = [truncated_entropy([1 / k] * k, k) for k in range(2, 1001)]
    assert max(found) == 1.0
    assert found == pytest.approx([1.0] * 999)


def test_renormalise_keeps_zeros_and_order() -> None:
    assert list(renormalise(np.array([0.4, 0.1, 0.0, 0.0]), 3)) == pytest.approx([0.8, 0.2, 0.0])
    assert list(renormalise(np.array([0.5, 0.3, 0.2]), 2)) == pytest.approx([0.625, 0.375])
    assert list(renormalise(np.array([0.6, 0.4]), 5)) == pytest.approx([0.6, 0.4])


@settings(max_examples=80, deadline=None)
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


# -- of the whole vocabulary --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("probabilities", "temperature", "expected"),
    [
        ([1.0], 1.0, 0.0),
        ([0.25] * 4, 1.0, math.log(4)),
        ([0.25] * 4, 0.01, math.log(4)),
        ([0.5, 0.0, 0.5, 0.0], 1.0, math.log(2)),
        ([0.0, 1.0, 0.0], 1.0, 0.0),
        ([0.75, 0.25], 1.0, math.log(4) - 0.75 * math.log(3)),
        ([0.75, 0.25], 0.5, math.log(10) - 0.9 * math.log(9)),  # squared: 9 and 1 of 10
        ([0.9, 0.1], 2.0, math.log(4) - 0.75 * math.log(3)),  # the roots: 3 and 1 of 4
        ([0.9, 0.1], 1e-30, 0.0),
        ([0.9, 0.1], 1e30, math.log(2)),
    ],
)
def test_full_entropy_by_hand(probabilities: list[float], temperature: float, expected: float) -> None:
    given_ = {token: p for token, p in enumerate(probabilities) if p}
    with np.errstate(over="ignore"):
        found = softmax(logits_of(given_, len(probabilities)), temperature)
    assert found.entropy == pytest.approx(expected, abs=1e-6)
    assert found.entropy >= 0
    weights = (np.array(probabilities) / max(probabilities)) ** (1 / temperature)
    assert found.total == pytest.approx(weights.sum(), rel=1e-6)
    if temperature == 1.0:
        assert softmax(logits_of(given_, len(probabilities))) == found


def assert_exact(logits: Logits, temperature: float) -> None:
    kept = logits.copy()
    with np.errstate(over="ignore"):  # of the division, where logits are huge
        found = softmax(logits, temperature)
    assert found.entropy == pytest.approx(entropy_of(logits, temperature), abs=1e-5)
    assert found.entropy >= 0
    wide = logits.astype(np.float64)
    assert found.total == pytest.approx(np.exp((wide - wide.max()) / temperature).sum(), rel=1e-5)
    np.testing.assert_array_equal(logits, kept)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.just(-math.inf),
            st.integers(-3, 3).map(float),
            st.floats(-100, 100, width=32),
            st.floats(-(2.0**126), 2.0**126, width=32),
        ),
        min_size=1,
        max_size=40,
    ).filter(lambda values: max(values) > -math.inf),
    st.one_of(st.just(1.0), st.floats(1e-3, 100)),
)
def test_full_entropy_of_any_logits(values: list[float], temperature: float) -> None:
    assert_exact(np.array(values, np.float32), temperature)


@pytest.mark.parametrize("temperature", [0.01, 0.6, 1.0, 30.0])
@pytest.mark.parametrize("kind", ["even", "normal", "wide", "far", "peak", "half"])
def test_full_entropy_of_a_large_vocabulary(kind: str, temperature: float) -> None:
    """Where many small shares add up: 150,000 tokens, all at once beside one, high above zero, half impossible."""
    random = np.random.default_rng(5)
    logits = random.normal(0, {"even": 0, "wide": 1000}.get(kind, 3), 150_000)
    if kind == "far":
        logits += 1e5
    elif kind == "peak":
        logits = -temperature * random.uniform(9, 12, 150_000)
        logits[77] = 0
    elif kind == "half":
        logits[::2] = -np.inf
    assert_exact(logits.astype(np.float32), temperature)


@pytest.mark.parametrize("temperature", [5e-324, 1e-46, 1e-38, 1e-30])
def test_the_coldest_temperatures_leave_one_token(temperature: float) -> None:
    with np.errstate(all="raise"):
        assert softmax(np.array([1, 3, 2], np.float32), temperature).entropy == pytest.approx(0.0, abs=1e-30)
        assert softmax(np.array([3, 3, 2], np.float32), temperature).entropy == pytest.approx(math.log(2), abs=1e-6)
