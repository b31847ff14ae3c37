"""Mixture of Inputs: what is blended how strongly, the gate, and the oracle's step for any logits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import methods as oracle
from oracle.moi import MoI as Known
from oracle.moi import moi_step

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Mixture, Token
from selar_local.methods.distribution import draw, filtered_distribution

from .fakes import ALL, Logits, Words, generate, linear, logits_of, shares, start, view
from .strategies import samplings

WORDS = Words("a's", "b's", "c's", "d's", "<think>", "</think>", ends=["<end>"])
A, B, C, D, END = (WORDS[word] for word in ("a's", "b's", "c's", "d's", "<end>"))
THREE = logits_of({A: 0.5, B: 0.3, C: 0.2}, WORDS.n_vocab)
SURE = logits_of({A: 1.0}, WORDS.n_vocab)
N_VOCAB = 40
ROWS = np.random.default_rng(8).standard_normal((N_VOCAB, 6))
LETTERS = Words()


def decide(
    method: sl.MoI, logits: Logits, token: int | None = None, sampling: SamplingConfig = ALL, **seen: Any
) -> Decision:
    vocabulary = WORDS if len(logits) == WORDS.n_vocab else LETTERS
    return start(method, vocabulary, sampling)(view(logits, token, sampling, method.n_candidates, **seen))


@pytest.mark.parametrize(
    ("options", "entropy", "weights"),
    [
        ({}, 0.34371, (0.08593, 0.87970, 0.03437)),
        ({"beta": 0.0}, 0.34371, (0.17186, 0.75940, 0.06874)),
        ({"mix_on": "filtered"}, 0.34371, (0.08593, 0.87970, 0.03437)),
        ({"direct_mixture": True}, 0.34371, (0.5, 0.3, 0.2)),
    ],
)
def test_the_test_vector(options: dict[str, Any], entropy: float, weights: tuple[float, ...]) -> None:
    found = decide(sl.MoI(**options), THREE, B)
    assert found.entropy == pytest.approx(entropy, abs=1e-5)
    assert shares(found) == pytest.approx(dict(zip((A, B, C), weights, strict=True)), abs=1e-5)
    assert found.token is None


@pytest.mark.parametrize("mix_on", ["raw", "filtered"])
def test_the_test_vector_over_a_vocabulary(mix_on: str) -> None:
    logits = logits_of({4: 0.5, 9: 0.3, 2: 0.2}, 151936)
    method = sl.MoI(normaliser="vocabulary", mix_on=mix_on)
    found = start(method, WORDS)(view(logits, 9, n=20))
    assert found.entropy == pytest.approx(0.08630, abs=1e-5)
    assert shares(found) == pytest.approx({4: 0.02157, 9: 0.96980, 2: 0.00863}, abs=1e-5)


def test_raw_is_before_all_filters() -> None:
    narrow = SamplingConfig(temperature=0.1, top_k=1, top_p=0.5, min_p=0.5)
    assert shares(decide(sl.MoI(), THREE, B, narrow)) == pytest.approx(shares(decide(sl.MoI(), THREE, B)))
    assert decide(sl.MoI(mix_on="filtered"), THREE, A, narrow) == Decision(Token(A), 0.0)


def test_a_drawn_token_outside_the_candidates_has_the_missing_weight() -> None:
    found = decide(sl.MoI(candidates=2), THREE, C)
    a = (found.entropy or 0) / 2
    assert shares(found) == pytest.approx({A: a * 0.625, B: a * 0.375, C: 1 - a})


def test_a_sure_step_feeds_the_token() -> None:
    for options in ({}, {"direct_mixture": True}, {"mix_on": "filtered"}, {"normaliser": "vocabulary"}):
        assert decide(sl.MoI(**options), SURE).next_input == Token(A)


def test_temperature_0_prints_the_most_probable_token() -> None:
    cold = sl.MoI().sampling({"temperature": 0.0})
    assert shares(decide(sl.MoI(), THREE, None, cold)) == pytest.approx({A: 0.91407, B: 0.05156, C: 0.03437}, abs=1e-5)
    assert cold.greedy


def test_a_gate_is_selar_s() -> None:
    """At every step the gated method explores where SeLaR does, and reports the same entropy."""
    random = np.random.default_rng(4)
    gate = start(sl.Selar(tau=0.4), WORDS)
    gated = start(sl.MoI(tau=0.4), WORDS)
    plain = start(sl.MoI(), WORDS)
    explored = []
    for _ in range(300):
        logits = random.normal(0, 4, WORDS.n_vocab).astype(np.float32)
        distribution = filtered_distribution(logits, SamplingConfig(), 20)
        seen = view(logits, draw(distribution, random.random()), SamplingConfig(), 20)
        by_gate, found = gate(seen), gated(seen)
        assert (found.explored, found.entropy, found.kept) == (by_gate.explored, by_gate.entropy, by_gate.kept)
        if found.explored:
            assert shares(found) == shares(plain(seen))
        explored.append(found.explored)
    assert 20 < sum(explored) < 280


def test_the_guard_holds_with_a_gate_only() -> None:
    logits = logits_of({ord("7"): 0.5, B: 0.5}, WORDS.n_vocab)
    guarded = decide(sl.MoI(tau=0.5), logits, ord("7"))
    assert (guarded.next_input, guarded.kept) == (Token(ord("7")), "symbol guard")
    assert decide(sl.MoI(tau=0.5), logits, B).explored
    assert decide(sl.MoI(tau=0.5, symbol_guard=False), logits, ord("7")).explored
    assert decide(sl.MoI(), logits, ord("7")).explored


def test_scope() -> None:
    method = sl.MoI(scope="thinking")
    assert decide(method, THREE, B, thinking=True).explored
    outside = decide(method, THREE, B, thinking=False)
    assert not outside.explored and outside.kept == "scope"
    assert not decide(method, THREE, B, thinking=True, thinking_after=lambda token: token != B).explored
    assert decide(sl.MoI(), THREE, B, thinking=False).explored
    notes = [
        method.notes(WORDS, has_thinking=thinks, thinking_over=over)
        for thinks, over in ((True, False), (True, True), (False, False))
    ]
    assert [len(note) for note in notes] == [0, 1, 1]
    assert sl.MoI().notes(WORDS, has_thinking=False, thinking_over=False) == ()


def test_its_threshold() -> None:
    assert [method.threshold for method in (sl.MoI(), sl.MoI(tau="auto"), sl.MoI(tau=1))] == [None, None, (1, "tau 1")]


def test_tau_auto() -> None:
    asked: list[Any] = []
    method = sl.MoI(tau="auto", k=4).fitted(lambda *about: asked.append(about) or 0.37)
    assert (method, asked) == (sl.MoI(tau=0.37, k=4), [(4, "filtered")])
    assert sl.MoI(tau=0.2).fitted(lambda *about: 0.5) == sl.MoI(tau=0.2)
    assert sl.MoI().fitted(lambda *about: 0.5) == sl.MoI()
    with pytest.raises(OptionError, match="calibrate"):
        start(sl.MoI(tau="auto"), WORDS)


@pytest.mark.parametrize(
    "options",
    [
        {"beta": -0.1}, {"beta": None}, {"beta": math.inf}, {"candidates": 1}, {"candidates": 2.5}, {"mix_on": "all"},
        {"normaliser": ""}, {"direct_mixture": 1}, {"scope": "answer"}, {"tau": -1.0}, {"tau": "high"}, {"k": 1},
        {"symbol_guard": None},
    ],
)  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.MoI(**options)


LOGITS = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(0, 3, N_VOCAB).astype(np.float32))
METHODS = st.builds(
    sl.MoI,
    beta=st.floats(0, 4),
    candidates=st.integers(2, 50),
    mix_on=st.sampled_from(["raw", "filtered"]),
    normaliser=st.sampled_from(["candidates", "vocabulary"]),
    direct_mixture=st.booleans(),
    tau=st.one_of(st.none(), st.floats(0, 1)),
    k=st.integers(2, 6),
    symbol_guard=st.just(False),
)
SAMPLING = samplings()


@settings(max_examples=80, deadline=None)
@given(LOGITS, METHODS, SAMPLING, st.floats(0, 1, exclude_max=True))
def test_a_step_is_the_oracle_s(logits: Logits, method: sl.MoI, sampling: SamplingConfig, u: float) -> None:
    known = Known(
        method.beta, method.candidates, method.mix_on, method.normaliser, method.direct_mixture,
        tau=method.tau, k=method.k,
    )  # fmt: skip
    filters = oracle.Filters(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    expected = moi_step(logits.astype(np.float64), ROWS, filters, known, u)
    ids, _ = oracle.filtered_distribution(logits.astype(np.float64), filters)
    distribution = filtered_distribution(logits, sampling)
    assume(np.array_equal(distribution.ids[distribution.probs > 0], ids))  # a number that meets the edge of a filter
    token = draw(distribution, u)
    assume(token == expected.token)
    found = decide(method, logits, token, sampling)
    assert found.entropy == pytest.approx(expected.entropy, abs=1e-5)  # the whole softmax is in float32
    if method.tau is None or abs(expected.entropy - method.tau) > 1e-5:
        assert found.explored == expected.explored
    if found.explored and expected.vector is not None:
        assert isinstance(found.next_input, Mixture)
        assert found.next_input.weights.sum() == pytest.approx(1)
        np.testing.assert_allclose(found.next_input.weights @ ROWS[found.next_input.ids], expected.vector, atol=1e-4)


@settings(max_examples=80, deadline=None)
@given(LOGITS, st.floats(1, 50), st.integers(2, 50), SAMPLING, st.floats(0, 1, exclude_max=True))
def test_at_beta_1_or_more_the_printed_token_weighs_most(
    logits: Logits, beta: float, candidates: int, sampling: SamplingConfig, u: float
) -> None:
    token = draw(filtered_distribution(logits, sampling), u)
    weights = shares(decide(sl.MoI(beta=beta, candidates=candidates), logits, token, sampling))
    assert max(weights, key=weights.__getitem__) == token and weights[token] >= 0.5
    assert min(weights.values()) >= 0 and sum(weights.values()) == pytest.approx(1)


def test_whole_texts() -> None:
    """The draws are those of cot; the next input depends on what is fed, so the texts part."""
    found = generate(sl.MoI(), linear(LETTERS.n_vocab), LETTERS)
    plain = generate(sl.CoT(), linear(LETTERS.n_vocab), LETTERS)
    assert found.tokens[0] == plain.tokens[0] and found.tokens != plain.tokens
    assert found.result.usage.explored_steps == sum(event.explored for event in found.events) > 30
    assert [len(event.top) for event in found.events] == [20] * len(found.events)
    heavy = generate(sl.MoI(beta=1e6), linear(LETTERS.n_vocab), LETTERS)
    assert heavy.tokens == plain.tokens


def test_an_end_token_ends_the_text() -> None:
    ending = logits_of({END: 0.9, A: 0.1}, WORDS.n_vocab)
    found = generate(sl.MoI(), lambda _: (ending, np.zeros(1)), WORDS, greedy=True)
    assert (found.tokens, found.result.finish_reason, found.inputs) == ([END], "stop", [])
    assert found.result.usage.explored_steps == 0 and not found.events[0].explored
