"""The filtered distribution at its edges, and against the oracle's."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from oracle import methods as oracle

from selar_local.config import SamplingConfig
from selar_local.errors import DecodeError, OptionError
from selar_local.methods import distribution as module
from selar_local.methods.distribution import Distribution, draw, filtered_distribution, top_k

Logits = npt.NDArray[np.float32]

# Sizes at which the view of 64 rows has no remainder, one, the largest, and a width around 4 k.
SIZES = st.one_of(
    st.integers(1, 600),
    st.builds(lambda rows, rest: 64 * rows + rest, st.integers(4, 100), st.sampled_from([-1, 0, 1, 63])),
)


def numbers(seed: int, n: int, kind: str) -> Logits:
    random = np.random.default_rng(seed)
    values = (5 * random.standard_normal(n)).astype(np.float32)
    if kind == "ties":
        values = np.round(values)
    elif kind == "alike":
        values[:] = values[0]
    elif kind == "few finite":
        values[random.permutation(n)[: n - max(1, n // 50)]] = -np.inf
    elif kind == "end only":  # all that is finite stands in the remainder, where there is one
        values[: n - max(1, n % 64)] = -np.inf
    elif kind == "rising":
        values.sort()
    return values


KINDS = st.sampled_from(["plain", "ties", "alike", "few finite", "end only", "rising"])


def assert_sorted(logits: Logits, k: int) -> None:
    ids, values = top_k(logits, k)
    order = np.argsort(-logits, kind="stable")[: k or None]
    assert ids.tolist() == order.tolist()
    assert values.tolist() == logits[order].tolist()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), SIZES, st.one_of(st.integers(0, 12), st.integers(0, 7000)), KINDS)
@example(0, 64 * 4 + 63, 1, "end only")
@example(0, 64 * 12, 3, "few finite")
def test_top_k_is_a_full_stable_sort(seed: int, n: int, k: int, kind: str) -> None:
    assert_sorted(numbers(seed, n, kind), k)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=700), st.integers(0, 4))
def test_top_k_of_any_numbers(values: list[float], k: int) -> None:
    logits = np.array(values, np.float32)
    if math.isinf(logits.max()):
        with pytest.raises(DecodeError):
            top_k(logits, k)
    else:
        assert_sorted(logits, k)


@pytest.mark.parametrize("n", [199_936, 200_000])
@pytest.mark.parametrize("kind", ["plain", "ties", "few finite", "end only"])
def test_top_k_of_a_large_vocabulary(n: int, kind: str) -> None:
    for k in (1, 20, 700, 781, 782, n, n + 1, 0):
        assert_sorted(numbers(1, n, kind), k)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(16, 250), st.integers(0, 63), st.floats(0, 1), KINDS)
def test_top_k_between_the_fast_way_and_all(seed: int, width: int, rest: int, share: float, kind: str) -> None:
    """From the largest k that the view of 64 rows can do, over those just beyond it, to the whole vocabulary."""
    n = 64 * width + rest
    logits = numbers(seed, n, kind)
    for k in (width // 4, width // 4 + 1, width, int(width + share * (n - width)), n - 1, n):
        assert_sorted(logits, k)


@pytest.mark.parametrize("k", [1, 2, 3, 19, 20, 500, 4999, 5000, 0])
def test_the_lower_ids_of_equal_logits_come_first(k: int) -> None:
    assert top_k(np.zeros(5000, np.float32), k)[0].tolist() == list(range(k or 5000))
    logits = np.full(5000, -np.inf, np.float32)
    logits[[4990, 17, 300]] = [1, 1, 2]
    ids, values = top_k(logits, k)
    assert ids.tolist()[:3] == [300, 17, 4990][: k or None]
    assert (values[3:] == -np.inf).all()
    assert ids.tolist()[3:] == [i for i in range(5000) if i not in (17, 300, 4990)][: max((k or 5000) - 3, 0)]


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
@pytest.mark.parametrize("k", [1, 19, 20, 2500, 4999, 5000, 6000, 0])
def test_a_bad_logit_is_refused_whatever_is_asked_for(k: int, bad: float) -> None:
    for where in (0, 63, 64, 2500, 4991, 4992, 4999):  # 4992 is the first that stands in no row of the view
        logits = numbers(4, 5000, "ties")
        logits[where] = bad
        with pytest.raises(DecodeError, match="not numbers"):
            top_k(logits, k)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("n", [63, 64, 320, 320 + 63, 5000])
def test_one_bad_logit_is_found_wherever_it_stands(n: int, bad: float) -> None:
    clean = numbers(2, n, "plain")
    everywhere = range(n) if n < 400 else [*range(0, n - 64, 97), *range(n - 64, n)]
    for where in everywhere:
        for sign in (1, -1) if np.isnan(bad) else (1,):
            logits = clean.copy()
            logits[where] = math.copysign(bad, sign)
            with pytest.raises(DecodeError, match="not numbers"):
                top_k(logits, 1)


@pytest.mark.parametrize("n", [1, 64, 320, 321, 5000])
@pytest.mark.parametrize("k", [0, 1, 5])
def test_all_minus_infinity_is_an_error(n: int, k: int) -> None:
    with pytest.raises(DecodeError, match="not numbers"):
        top_k(np.full(n, -np.inf, np.float32), k)


def test_the_error_tells_what_can_be_done() -> None:
    with pytest.raises(DecodeError, match="-ctk f32 -ctv f32 -fa off"):
        filtered_distribution(np.full(4, np.nan, np.float32), SamplingConfig())


# -- filters ----------------------------------------------------------------------------------

# Logarithms of 8 4 2 1: at temperature 1 the probabilities are 8, 4, 2, 1 of 15.
FOUR = np.log(np.array([2, 8, 1, 4], np.float32))


def filtered(logits: Logits, at_least: int = 1, **options: float) -> Distribution:
    return filtered_distribution(
        logits, SamplingConfig(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}), at_least
    )


@pytest.mark.parametrize("repeats", [1, 40])  # few candidates, and more than `_few` takes
@pytest.mark.parametrize(
    ("options", "shares"),
    [
        ({}, [8, 4, 2, 1]),
        ({"top_p": 0.5}, [8]),
        ({"top_p": 0.79}, [8, 4]),
        ({"top_p": 0.81}, [8, 4, 2]),
        ({"top_p": 1e-9}, [8]),
        ({"top_p": 0}, [8]),
        ({"min_p": 0.26}, [8, 4]),
        ({"min_p": 0.24}, [8, 4, 2]),
        ({"min_p": 1.0}, [8]),
        ({"temperature": 0.5}, [64, 16, 4, 1]),
        ({"temperature": 0.5, "min_p": 0.2}, [64, 16]),
    ],
)
def test_four_tokens(repeats: int, options: dict[str, float], shares: list[float]) -> None:
    """Each token `repeats` times: what is exceeded or kept stays the same but for the nucleus, which cuts groups."""
    found = filtered(np.repeat(FOUR, repeats), **options)
    assert found.ids[::repeats].tolist() == [repeats * token for token in (1, 3, 0, 2)]
    kept = int(np.count_nonzero(found.probs))
    expected = np.repeat(shares, repeats)
    if "top_p" in options and repeats > 1:
        assert expected.size - repeats < kept <= expected.size
        expected = expected[:kept]
    assert kept == expected.size
    np.testing.assert_allclose(found.probs[:kept], expected / expected.sum(), rtol=1e-6)


@pytest.mark.parametrize("n", [4, 128])
def test_a_sum_of_exactly_top_p_keeps_the_next_token(n: int) -> None:
    """Equal logits give exact sums: half of `n` reach 0.5, and the first that exceeds it is the next."""
    found = filtered(np.zeros(n, np.float32), top_p=0.5)
    assert np.count_nonzero(found.probs) == n // 2 + 1


@pytest.mark.parametrize("n", [4, 128])
def test_a_share_of_exactly_min_p_stays(n: int) -> None:
    logits = np.zeros(n, np.float32)
    found = filtered(logits, min_p=1.0)
    assert found.probs.tolist() == [1 / n] * n
    assert found.ids.tolist() == list(range(n))


def test_min_p_comes_after_top_p() -> None:
    # Top-p 0.81 leaves 8, 4 and 2; a quarter of the largest is 2, which is not below min_p 0.24 of it.
    assert np.count_nonzero(filtered(FOUR, top_p=0.81, min_p=0.24).probs) == 3
    assert np.count_nonzero(filtered(FOUR, top_p=0.79, min_p=0.24).probs) == 2


@pytest.mark.parametrize("top_k_option", [0, 1, 20])
def test_temperature_zero_keeps_the_first_of_the_largest(top_k_option: int) -> None:
    found = filtered_distribution(
        np.array([1, 3, 3, 2], np.float32), SamplingConfig(temperature=0, top_k=top_k_option), 3
    )
    assert found.ids.tolist()[:3] == [1, 2, 3]
    assert found.probs.tolist()[:3] == [1.0, 0.0, 0.0]
    assert draw(found, 0.999999) == 1


@pytest.mark.parametrize("temperature", [5e-324, 1e-30, 100.0])
@pytest.mark.parametrize("n", [4, 200])
def test_extreme_temperatures(temperature: float, n: int) -> None:
    logits = np.resize(np.array([-3e38, 2.5, 3e38, -np.inf], np.float32), n)
    with np.errstate(over="ignore"):
        found = filtered(logits, temperature=temperature)
    assert found.probs.sum() == pytest.approx(1)
    assert np.count_nonzero(found.probs) == n // 4
    assert found.ids[0] == 2


def test_no_more_are_listed_than_asked_for() -> None:
    assert filtered_distribution(FOUR, SamplingConfig(top_k=1)).ids.tolist() == [1]
    assert filtered(FOUR, at_least=2, top_k=1).ids.tolist() == [1, 3]
    assert filtered(FOUR, at_least=1, top_k=3, top_p=0.1).probs.tolist() == [1, 0, 0]


def test_listing_more_than_there_are() -> None:
    found = filtered(FOUR, at_least=9, top_k=2)
    assert found.ids.tolist() == [1, 3, 0, 2]
    assert found.probs[2:].tolist() == [0, 0]


LOGITS = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=90).map(lambda v: np.array(v, np.float32))
OPTIONS = st.builds(
    SamplingConfig,
    temperature=st.floats(0.05, 10),
    top_k=st.integers(0, 100),
    top_p=st.floats(0.001, 1),
    min_p=st.floats(0, 1),
)


@settings(max_examples=80, deadline=None)
@given(LOGITS, OPTIONS)
def test_few_and_many_candidates_are_filtered_alike(logits: Logits, sampling: SamplingConfig) -> None:
    values = top_k(logits, sampling.top_k)[1]
    few, many = module._few(values.tolist(), sampling), module._many(values, sampling)
    if len(few) == len(many):
        np.testing.assert_allclose(few, many, rtol=1e-12)
    else:  # two ways to sum may differ in the last bit, and so on which side of top_p a sum lies
        relative = np.exp((values.astype(np.float64) - values[0]) / sampling.temperature)
        shares = np.cumsum(relative) / relative.sum()
        ratios = np.abs(relative - sampling.min_p)
        assert min(np.abs(shares - sampling.top_p).min(), ratios.min()) < 1e-12


@settings(max_examples=80, deadline=None)
@given(LOGITS, OPTIONS, st.integers(1, 8), st.floats(0, 1, exclude_max=True))
def test_as_the_oracle_filters_and_draws(logits: Logits, sampling: SamplingConfig, at_least: int, u: float) -> None:
    filters = oracle.Filters(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    ids, probabilities = oracle.filtered_distribution(logits.astype(np.float64), filters)
    found = filtered_distribution(logits, sampling, at_least)
    kept = int(np.count_nonzero(found.probs))
    assert found.ids[: min(kept, len(ids))].tolist() == ids[:kept].tolist()
    if kept == np.count_nonzero(probabilities):
        np.testing.assert_allclose(found.probs[:kept], probabilities[:kept], rtol=1e-9)
        near = np.abs(np.cumsum(probabilities) - u).min() < 1e-12
        assert near or draw(found, u) == oracle.draw(ids, probabilities, u)
    else:
        generous = [
            dataclasses.replace(filters, top_p=filters.top_p + e, min_p=filters.min_p - e) for e in (1e-9, -1e-9)
        ]
        sizes = [np.count_nonzero(oracle.filtered_distribution(logits.astype(np.float64), f)[1]) for f in generous]
        assert min(sizes) <= kept <= max(sizes)


def test_draws_follow_the_probabilities() -> None:
    found = Distribution(np.array([7, 3, 9]), np.array([0.5, 0.25, 0.25]))
    random = np.random.default_rng(0)
    drawn = [draw(found, random.random()) for _ in range(4000)]
    assert [drawn.count(token) / 4000 for token in (7, 3, 9)] == pytest.approx([0.5, 0.25, 0.25], abs=0.03)


@pytest.mark.parametrize(("u", "token"), [(0.5 - 2**-53, 7), (0.5, 3), (0.75 - 2**-53, 3), (0.75, 9), (0.0, 7)])
def test_a_sum_of_exactly_u_is_passed_by(u: float, token: int) -> None:
    assert draw(Distribution(np.array([7, 3, 9]), np.array([0.5, 0.25, 0.25])), u) == token


@pytest.mark.parametrize(("u", "token"), [(0.97, 4), (0.985, 5), (0.9999, 6), (0.99999999, 8)])
def test_small_shares_are_drawn_too(u: float, token: int) -> None:
    assert draw(Distribution(np.array([4, 5, 6, 7, 8]), np.array([0.98, 0.01, 0.01 - 1e-6, 0.0, 1e-6])), u) == token


def test_a_sum_below_one_never_draws_what_was_filtered_out() -> None:
    found = Distribution(np.array([4, 5, 6]), np.array([0.6, 0.4 - 1e-12, 0.0]))
    assert draw(found, 1 - 2**-53) == 5


@pytest.mark.parametrize(
    "options",
    [{"temperature": -0.1}, {"temperature": math.nan}, {"top_k": -2}, {"top_p": -0.1}, {"top_p": 1.1}, {"min_p": -0.1},
     {"min_p": math.nan}, {"seed": -2}, {"top_k": 2.0}],
)  # fmt: skip
def test_bad_sampling_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        SamplingConfig(**options)


def test_temperature_0_takes_the_first_of_what_typical_and_xtc_leave() -> None:
    """As in llama.cpp, where the temperature comes last."""
    for options, first in (({}, 1), ({"typical_p": 0.2}, 3)):
        found = filtered(FOUR, at_least=3, temperature=0, **options)
        assert (found.ids[0], found.probs.tolist()[:3]) == (first, [1, 0, 0])
    sampling = SamplingConfig(temperature=0, top_k=0, top_p=1.0, xtc_threshold=0.2)
    found = filtered_distribution(FOUR, sampling, 3, xtc=True)
    assert (found.ids[:3].tolist(), found.probs[:3].tolist()) == ([3, 1, 0], [1, 0, 0])
