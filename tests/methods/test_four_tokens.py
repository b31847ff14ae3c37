"""The methods on a few numbers worked by hand, and properties that hold for all numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.errors import DecodeError, OptionError
from selar_local.methods.base import Mixture, StepView, Token
from selar_local.methods.distribution import draw, filtered_distribution, top_k
from selar_local.methods.entropy import renormalise, truncated_entropy
from selar_local.methods.symbols import SYMBOLS, symbol_ids

PLAIN = SamplingConfig(temperature=1.0, top_k=0, top_p=1.0)


class Letters:
    """A vocabulary of single characters."""

    def encode(self, text: str) -> list[int]:
        return [ord(c) for c in text]


def logits_of(*probabilities: float) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities)).astype(np.float32)


def step(method: sl.Method, *probabilities: float, token: int | None = None, thinking: bool = False, **sampling: float):
    config = SamplingConfig(**{"temperature": 1.0, "top_k": 0, "top_p": 1.0, **sampling})
    logits = logits_of(*probabilities)
    distribution = filtered_distribution(logits, config, method.n_candidates)
    chosen = int(distribution.ids[0]) if token is None else token
    return method.start(Letters())(StepView(logits, distribution, chosen, config.temperature, thinking))


# -- distribution -----------------------------------------------------------------------------


def test_temperature_sharpens():
    found = filtered_distribution(logits_of(0.5, 0.25, 0.25), SamplingConfig(temperature=0.5, top_k=0, top_p=1.0))
    np.testing.assert_allclose(found.probs, [4 / 6, 1 / 6, 1 / 6], rtol=1e-6)


def test_top_k_comes_before_top_p():
    # Of 0.4 0.3 0.2 0.1 top-k 2 leaves 4/7 and 3/7; top-p 0.5 is exceeded by the first of them alone.
    found = filtered_distribution(logits_of(0.1, 0.4, 0.2, 0.3), SamplingConfig(temperature=1.0, top_k=2, top_p=0.5))
    assert found.ids.tolist() == [1, 3]
    np.testing.assert_allclose(found.probs, [1, 0])


def test_the_nucleus_keeps_the_token_that_exceeds_it():
    found = filtered_distribution(logits_of(0.5, 0.3, 0.2), SamplingConfig(temperature=1.0, top_k=0, top_p=0.6))
    np.testing.assert_allclose(found.probs, [0.625, 0.375, 0], rtol=1e-6)


def test_min_p_is_relative_to_the_largest():
    found = filtered_distribution(
        logits_of(0.6, 0.3, 0.1), SamplingConfig(temperature=1.0, top_k=0, top_p=1.0, min_p=0.4)
    )
    np.testing.assert_allclose(found.probs, [2 / 3, 1 / 3, 0], rtol=1e-6)


def test_candidates_are_listed_even_when_filtered_out():
    found = filtered_distribution(logits_of(0.6, 0.3, 0.1), SamplingConfig(temperature=1.0, top_k=1), at_least=3)
    assert found.ids.tolist() == [0, 1, 2]
    assert found.probs.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("u", "token"), [(0.0, 0), (0.49, 0), (0.51, 1), (0.79, 1), (0.81, 2), (1 - 1e-16, 2)])
def test_draw_takes_the_first_whose_sum_exceeds_u(u, token):
    assert draw(filtered_distribution(logits_of(0.5, 0.3, 0.2), PLAIN), u) == token


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3000),
    st.integers(0, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["normal", "ties", "minus infinity"]),
)
def test_top_k_equals_a_full_stable_sort(n, k, seed, kind):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, n).astype(np.float32)
    if kind == "ties":
        logits = np.round(logits)
    if kind == "minus infinity":
        logits[random.random(n) < 0.7] = -np.inf
        logits[random.integers(n)] = 0
    ids, values = top_k(logits, k)
    order = np.argsort(-logits, kind="stable")[: k or n]
    assert ids.tolist() == order.tolist()
    np.testing.assert_array_equal(values, logits[order])


@pytest.mark.parametrize("size", [4, 20000, 20013])
@pytest.mark.parametrize("where", [0, 1, -1])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_numbers_are_an_error(size, where, bad):
    logits = np.random.default_rng(0).normal(0, 1, size).astype(np.float32)
    logits[where] = bad
    with pytest.raises(DecodeError):
        top_k(logits, 20)


def test_no_finite_logit_is_an_error():
    with pytest.raises(DecodeError):
        top_k(np.full(50000, -np.inf, np.float32), 20)


probabilities = st.lists(st.floats(1e-6, 1), min_size=4, max_size=40)


@settings(max_examples=100, deadline=None)
@given(probabilities, st.floats(0.1, 5), st.integers(0, 50), st.floats(0.01, 1), st.floats(0, 1), st.integers(2, 8))
def test_weights_sum_to_one_and_entropy_stays_within_bounds(values, temperature, k, top_p, min_p, candidates):
    config = SamplingConfig(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p)
    found = filtered_distribution(logits_of(*values), config, candidates)
    assert found.probs.sum() == pytest.approx(1)
    assert (found.probs >= 0).all() and (np.diff(found.probs) <= 1e-12).all()
    q = renormalise(found.probs, candidates)
    assert sum(q) == pytest.approx(1)
    assert 0 <= truncated_entropy(q, candidates) <= 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=4, max_size=20, unique=True), st.randoms(use_true_random=False))
def test_a_permuted_vocabulary_gives_permuted_candidates(values, shuffler):
    order = list(range(len(values)))
    shuffler.shuffle(order)
    here = filtered_distribution(logits_of(*values), PLAIN)
    there = filtered_distribution(logits_of(*[values[i] for i in order]), PLAIN)
    np.testing.assert_allclose(here.probs, there.probs)
    if len(set(logits_of(*values).tolist())) == len(values):
        assert here.ids.tolist() == [order[i] for i in there.ids.tolist()]


# -- SeLaR ------------------------------------------------------------------------------------


def test_a_uniform_three_gives_the_dominant_token_minus_a_third():
    decision = step(sl.Selar(tau=0.5), 0.25, 0.25, 0.25, 0.25)
    assert isinstance(decision.next_input, Mixture)
    assert decision.entropy == pytest.approx(1)
    np.testing.assert_allclose(decision.next_input.weights, [-1 / 3, 2 / 3, 2 / 3], atol=1e-6)


def test_weights_worked_by_hand():
    # q = 0.5 0.3 0.2: H = 1.0297, h = H / log 3 = 0.93729.
    h = -(0.5 * math.log(0.5) + 0.3 * math.log(0.3) + 0.2 * math.log(0.2)) / math.log(3)
    decision = step(sl.Selar(contrast=0.5), 0.5, 0.3, 0.2, 0.0)
    assert decision.entropy == pytest.approx(h, abs=1e-6)
    s = 0.5 * h
    expected = [(1 + s) * 0.5 - s, (1 + s) * 0.3, (1 + s) * 0.2]
    np.testing.assert_allclose(decision.next_input.weights, expected, rtol=1e-5)


def test_contrast_pushes_from_the_most_probable_token_not_the_drawn_one():
    weights = step(sl.Selar(), 0.5, 0.3, 0.2, token=2).next_input.weights
    assert weights[0] < 0.5 < weights[1:].sum()


def test_without_contrast_the_weights_are_the_probabilities():
    decision = step(sl.Selar(contrast=0.0), 0.5, 0.3, 0.2)
    np.testing.assert_allclose(decision.next_input.weights, [0.5, 0.3, 0.2], rtol=1e-6)


def test_all_mass_on_one_token():
    assert step(sl.Selar(), 1.0, 0.0, 0.0).next_input == Token(0)
    always = step(sl.Selar(tau=0.0, contrast=1.0), 1.0, 0.0, 0.0)
    assert always.explored and always.entropy == 0
    np.testing.assert_array_equal(always.next_input.weights, [1, 0, 0])


@settings(max_examples=50, deadline=None)
@given(probabilities)
def test_a_tau_above_one_is_cot(values):
    assert step(sl.Selar(tau=1.01), *values).next_input == step(sl.CoT(), *values).next_input


def test_the_gate_at_exactly_tau():
    h = step(sl.Selar(tau=2.0), 0.5, 0.5, 0.0).entropy
    assert step(sl.Selar(tau=h), 0.5, 0.5, 0.0).explored
    assert not step(sl.Selar(tau=h, strict_gate=True), 0.5, 0.5, 0.0).explored


def test_the_gate_on_the_unfiltered_distribution():
    # Top-p 0.3 leaves one token: sure after the filters, torn before them.
    assert not step(sl.Selar(), 0.4, 0.3, 0.3, top_p=0.3).explored
    full = step(sl.Selar(gate_on="full"), 0.4, 0.3, 0.3, top_p=0.3)
    assert full.explored and full.entropy > 0.98
    np.testing.assert_allclose(full.next_input.weights, [1, 0, 0], atol=1e-9)


def test_scope_thinking():
    method = sl.Selar(scope="thinking")
    assert step(method, 0.4, 0.3, 0.3, thinking=True).explored
    assert not step(method, 0.4, 0.3, 0.3, thinking=False).explored


def test_the_symbol_guard_looks_at_the_drawn_token():
    values = [0.0] * 128
    values[ord("7")], values[ord(" ")], values[ord("!")] = 0.4, 0.35, 0.25
    assert step(sl.Selar(), *values, token=ord("7")).next_input == Token(ord("7"))
    assert step(sl.Selar(), *values, token=ord(" ")).explored
    assert step(sl.Selar(symbol_guard=False), *values, token=ord("7")).explored


def test_symbols():
    ids = symbol_ids(Letters())
    assert {ord(c) for c in "09azAZ+-=\\({"} <= ids
    assert not {ord(c) for c in " .,;!?"} & ids
    assert {"\\frac", "\\sqrt", "\\left(", "\\pi", "x", "7"} <= set(SYMBOLS)
    assert len(set(SYMBOLS)) == len(SYMBOLS)


@pytest.mark.parametrize(
    "options",
    [
        {"k": 1}, {"k": 2.5}, {"k": True}, {"tau": -0.1}, {"tau": math.nan}, {"tau": math.inf}, {"contrast": -1},
        {"contrast": math.nan}, {"gate_on": "none"}, {"scope": "answer"},
    ],
)  # fmt: skip
def test_bad_options_are_refused(options):
    with pytest.raises(OptionError):
        sl.Selar(**options)


def test_cot_uses_no_entropy():
    decision = step(sl.CoT(), 0.4, 0.3, 0.3, token=2)
    assert decision.next_input == Token(2) and decision.entropy is None and not decision.explored
    assert sl.CoTGreedy.greedy and not sl.CoT.greedy
