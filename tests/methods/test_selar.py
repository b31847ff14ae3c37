"""SeLaR's step for any logits: its mixture as a vector, the oracle's step, plain decoding where it should be that."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import methods as oracle

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.engine.events import TokenEvent
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Mixture, NextInput, Token
from selar_local.methods.distribution import draw, filtered_distribution
from selar_local.methods.entropy import renormalise
from selar_local.methods.selar import anchored, contrastive_weights

from .fakes import ALL, Floats, Logits, Words, generate, linear, logits_of, mixture, shares, start, view
from .strategies import samplings

LETTERS = Words()
WORDS = Words("a's", "b's", "c's", "d's", "<think>", "</think>", ends=["<end>"])
A, B, C, D, END = (WORDS[word] for word in ("a's", "b's", "c's", "d's", "<end>"))
FALLING = logits_of({A: 0.4, B: 0.3, C: 0.2, D: 0.1}, WORDS.n_vocab)
SURE = logits_of({A: 0.98, B: 0.02}, WORDS.n_vocab)
EVEN = logits_of({A: 1.0, B: 1.0, C: 1.0}, WORDS.n_vocab)
ROWS = np.random.default_rng(8).standard_normal((40, 6))
N_VOCAB = len(ROWS)


def decide(
    method: sl.Selar, logits: Logits, sampling: SamplingConfig = ALL, token: int | None = None, **seen: Any
) -> Decision:
    """The decision of one step; the token drawn is the most probable one, or as given."""
    vocabulary = WORDS if len(logits) == WORDS.n_vocab else LETTERS
    return start(method, vocabulary, sampling)(view(logits, token, sampling, method.n_candidates, **seen))


def vector(chosen: NextInput) -> Floats:
    assert isinstance(chosen, Mixture)
    return chosen.weights @ ROWS[chosen.ids]


LOGITS = st.lists(st.floats(-12, 12, width=32), min_size=N_VOCAB, max_size=N_VOCAB, unique=True).map(
    lambda values: np.array(values, np.float32)
)
QUICK = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(0, 3, N_VOCAB).astype(np.float32))


@st.composite
def _methods(sample: st.DrawFn) -> sl.Selar:
    k, inverted = sample(st.integers(2, 50)), sample(st.booleans())
    return sl.Selar(
        k=k,
        tau=sample(st.floats(0, 1)),
        contrast=sample(st.floats(0, 3)),
        symbol_guard=False,
        gate_on=sample(st.sampled_from(["filtered", "full"])),
        invert_gate=inverted,
        gate_by=sample(st.sampled_from(["h", "p-max"] if inverted else ["h"])),
        repel=sample(st.integers(1, min(k - 1, 5))),
        anchor=sample(st.one_of(st.just(1.0), st.floats(0, 1))),
        show=sample(st.sampled_from(["drawn", "heaviest"])),
    )


METHODS = _methods()
SAMPLING = samplings()


@settings(max_examples=80, deadline=None)
@given(LOGITS, METHODS, SAMPLING, st.floats(0, 1, exclude_max=True))
def test_a_step_is_the_oracle_s(logits: Logits, method: sl.Selar, sampling: SamplingConfig, u: float) -> None:
    known = oracle.Selar(
        method.k, float(method.tau), method.contrast, gate_on=method.gate_on, gate_by=method.gate_by,
        invert_gate=method.invert_gate,
        repel=method.repel, anchor=method.anchor, show=method.show,
    )  # fmt: skip
    filters = oracle.Filters(sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p)
    wide = logits.astype(np.float64)
    expected = oracle.selar_step(wide, ROWS, filters, known, u)
    relative = np.exp((np.sort(wide)[::-1][: sampling.top_k or None] - wide.max()) / sampling.temperature)
    sums = np.cumsum(relative) / relative.sum()
    # A number that meets the edge of a filter may be decided either way.
    assume(np.abs(sums - sampling.top_p).min() > 1e-9 and np.abs(relative - sampling.min_p).min() > 1e-9)
    token = draw(filtered_distribution(logits, sampling), u)
    assume(token == expected.drawn)  # u at the very edge of a token's share
    found = decide(method, logits, sampling, token)
    assert found.entropy == pytest.approx(expected.entropy, abs=1e-9)
    if abs(abs(expected.rank) - float(method.tau)) > 1e-6:  # the whole softmax is in float32
        assert found.explored == expected.explored
    if found.explored and expected.vector is not None and expected.weights is not None:
        np.testing.assert_allclose(vector(found.next_input), expected.vector, atol=1e-8)
        if np.diff(np.sort(expected.weights)[-2:]).min(initial=1) > 1e-9:
            assert (token if found.token is None else found.token) == expected.token
    if not found.explored:
        assert found.next_input == Token(token) and found.token is None


@settings(max_examples=100, deadline=None)
@given(LOGITS, SAMPLING, st.integers(2, 8), st.floats(0, 3))
def test_weights_sum_to_one_and_the_formula_holds(
    logits: Logits, sampling: SamplingConfig, k: int, contrast: float
) -> None:
    method = sl.Selar(k=k, tau=0, contrast=contrast, symbol_guard=False)
    found = decide(method, logits, sampling)
    assert isinstance(found.next_input, Mixture) and found.entropy is not None
    assert found.next_input.weights.sum() == pytest.approx(1)
    plain = decide(replace(method, contrast=0), logits, sampling)
    e, dominant = vector(plain.next_input), ROWS[int(logits.argmax())]
    d = e - dominant
    if (length := float(np.linalg.norm(d))) > 1e-9:  # as the paper has it: a unit vector, then its length again
        expected = e + contrast * found.entropy * (d / length) * length
        np.testing.assert_allclose(vector(found.next_input), expected, atol=1e-8)
    q = plain.next_input
    assert isinstance(q, Mixture)
    assert (q.weights >= 0).all() and (np.diff(q.weights) <= 0).all()


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.permutations(range(N_VOCAB)), SAMPLING)
def test_the_order_of_the_vocabulary_does_not_matter(
    logits: Logits, order: list[int], sampling: SamplingConfig
) -> None:
    method = sl.Selar(k=4, tau=0, symbol_guard=False)
    here, there = (decide(method, values, sampling).next_input for values in (logits, logits[order]))
    assert isinstance(here, Mixture) and isinstance(there, Mixture)
    assert here.ids.tolist() == [order[i] for i in there.ids.tolist()]
    np.testing.assert_array_equal(here.weights, there.weights)


def test_ties_take_the_lower_id_as_dominant() -> None:
    found = decide(sl.Selar(k=2, symbol_guard=False), np.zeros(5, np.float32), SamplingConfig()).next_input
    assert isinstance(found, Mixture)
    assert found.ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.weights, [0.0, 1.0], atol=1e-12)  # (1 + 1) / 2 - 1


def test_more_candidates_than_tokens() -> None:
    found = decide(sl.Selar(k=9, tau=0.1, symbol_guard=False), np.zeros(3, np.float32), SamplingConfig(top_p=1.0))
    assert isinstance(found.next_input, Mixture)
    assert found.next_input.ids.tolist() == [0, 1, 2]
    assert found.entropy == pytest.approx(math.log(3) / math.log(9))


def test_weights_of_a_mixture_by_hand() -> None:
    # 1.5 of each share, less 0.5 on the first: 0.75 - 0.5, 0.45, 0.3.
    found = contrastive_weights(np.array([8, 2, 5, 1]), [0.5, 0.3, 0.2], 0.5)
    assert found.ids.tolist() == [8, 2, 5]
    np.testing.assert_allclose(found.weights, [0.25, 0.45, 0.3])


def test_a_strict_gate_never_explores_a_sure_step() -> None:
    sure = np.array([50, 0, 0], np.float32)
    assert decide(sl.Selar(tau=0, symbol_guard=False), sure, SamplingConfig()).explored
    assert not decide(sl.Selar(tau=0, symbol_guard=False, strict_gate=True), sure, SamplingConfig()).explored


def test_the_guard_and_the_gate_both_have_to_agree() -> None:
    logits = logits_of({ord("7"): 1.0, ord(" "): 1.0}, LETTERS.n_vocab)
    assert not decide(sl.Selar(), logits, ALL, ord("7")).explored
    assert decide(sl.Selar(), logits, ALL, ord(" ")).explored
    assert decide(sl.Selar(symbol_guard=False), logits, ALL, ord("7")).explored
    # The entropy is reported whether or not the step is guarded.
    assert decide(sl.Selar(), logits, ALL, ord("7")).entropy == pytest.approx(math.log(2) / math.log(3))


ANY_LOGITS = st.lists(
    st.one_of(st.just(-math.inf), st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1024, 1024, width=32)),
    min_size=3,
    max_size=60,
).filter(lambda values: max(values) > -math.inf)


@settings(max_examples=100, deadline=None)
@given(ANY_LOGITS, SAMPLING, st.integers(2, 9), st.sampled_from(["filtered", "full"]), st.floats(0, 3))
def test_entropy_and_weights_of_any_logits(
    values: list[float], sampling: SamplingConfig, k: int, gate_on: str, contrast: float
) -> None:
    """With ties, impossible tokens, and all the mass on one."""
    method = sl.Selar(k=k, tau=0, contrast=contrast, gate_on=gate_on, symbol_guard=False)
    found = decide(method, np.array(values, np.float32), sampling)
    assert found.entropy is not None and 0.0 <= found.entropy <= 1.0
    ids, weights = mixture(found)
    assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1)
    assert len(set(ids.tolist())) == len(ids) == min(k, len(values))
    dominant = int(np.argmax(np.array(values, np.float32)))
    assert ids[0] == dominant
    assert (weights[1:] >= 0).all()
    finite = [value for value in values if value > -math.inf]
    if len(finite) == 1:
        assert found.entropy == 0.0
        np.testing.assert_array_equal(weights, [1.0] + [0.0] * (len(ids) - 1))
        assert not decide(replace(method, tau=1e-9), np.array(values, np.float32), sampling).explored


@settings(max_examples=100, deadline=None)
@given(QUICK, SAMPLING, st.integers(2, 9))
def test_without_contrast_the_mixture_is_plain(logits: Logits, sampling: SamplingConfig, k: int) -> None:
    found = decide(sl.Selar(k=k, tau=0, contrast=0, symbol_guard=False), logits, sampling)
    q = filtered_distribution(logits, sampling, k)
    assert list(shares(found).items()) == list(
        zip(q.ids[:k].tolist(), (q.probs[:k] / sum(q.probs[:k].tolist())).tolist(), strict=True)
    )


def test_an_even_three_pushes_the_dominant_token_below_zero() -> None:
    assert shares(decide(sl.Selar(), EVEN)) == pytest.approx({A: -1 / 3, B: 2 / 3, C: 2 / 3})


@pytest.mark.parametrize("height", [0.0, 1000.0, -1000.0])
def test_the_unfiltered_gate_looks_past_the_filters_at_any_height(height: float) -> None:
    one = SamplingConfig(temperature=0.5, top_k=1)
    logits = np.array([0, math.log(2), math.log(2), -math.inf], np.float32) + np.float32(height)
    assert decide(sl.Selar(symbol_guard=False), logits, one).entropy == 0.0
    found = decide(sl.Selar(symbol_guard=False, gate_on="full"), logits, one)
    shares_ = (4 / 9, 4 / 9, 1 / 9)  # squared by the temperature
    assert found.entropy == pytest.approx(-sum(p * math.log(p) for p in shares_) / math.log(3), abs=1e-3)
    assert shares(found) == pytest.approx({1: 1.0, 2: 0.0, 0: 0.0})  # what is mixed is filtered


# -- our switches -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "explored"),
    [
        ({}, (False, True)),
        ({"invert_gate": True}, (True, False)),
        ({"invert_gate": True, "tau": 0}, (False, False)),
        ({"invert_gate": True, "tau": 1.01}, (True, True)),
        # An entropy of exactly tau is above for the gate, so below for none but the strict one's opposite.
        ({"tau": 1.0, "k": 2}, (False, True)),
        ({"tau": 1.0, "k": 2, "strict_gate": True}, (False, False)),
        ({"tau": 1.0, "k": 2, "invert_gate": True}, (True, False)),
        ({"tau": 1.0, "k": 2, "invert_gate": True, "strict_gate": True}, (True, True)),
    ],
)
def test_the_opposite_gate(options: dict[str, Any], explored: tuple[bool, bool]) -> None:
    even_two = logits_of({A: 1.0, B: 1.0}, WORDS.n_vocab)
    torn = even_two if options.get("k") == 2 else EVEN
    assert tuple(decide(sl.Selar(**options), logits).explored for logits in (SURE, torn)) == explored


@settings(max_examples=50, deadline=None)
@given(QUICK, METHODS, SAMPLING)
def test_a_step_explores_with_the_gate_or_with_its_opposite(
    logits: Logits, method: sl.Selar, sampling: SamplingConfig
) -> None:
    method = replace(method, gate_by="h")
    one = decide(method, logits, sampling)
    other = decide(replace(method, invert_gate=not method.invert_gate), logits, sampling)
    assert one.explored != other.explored
    assert one.entropy == other.entropy


@pytest.mark.parametrize(
    ("options", "explored"),
    [
        ({"tau": 0.39}, True),
        ({"tau": 0.41}, False),
        ({"tau": 0.41, "k": 2}, False),  # of all candidates, not of the k
        ({"tau": 0.5, "gate_on": "full"}, False),
    ],
)
def test_the_opposite_gate_by_probability(options: dict[str, Any], explored: bool) -> None:
    found = decide(sl.Selar(invert_gate=True, gate_by="p-max", **options), FALLING)
    by_entropy = decide(sl.Selar(**options | {"tau": 0.0}), FALLING)
    assert (found.explored, found.entropy) == (explored, by_entropy.entropy)


def test_the_gate_by_probability_before_and_after_the_filters() -> None:
    narrow = SamplingConfig(temperature=1.0, top_k=2, top_p=1.0)  # leaves 4/7 and 3/7
    for gate_on, tau, explored in (
        ("filtered", 0.57, True), ("filtered", 0.58, False), ("full", 0.39, True), ("full", 0.41, False),
    ):  # fmt: skip
        method = sl.Selar(invert_gate=True, gate_by="p-max", gate_on=gate_on, tau=tau)
        assert decide(method, FALLING, narrow).explored == explored
    certain = logits_of({A: 0.5, B: 0.5}, WORDS.n_vocab)
    assert decide(sl.Selar(invert_gate=True, gate_by="p-max", tau=0.5), certain).explored
    assert not decide(sl.Selar(invert_gate=True, gate_by="p-max", tau=0.5, strict_gate=True), certain).explored


def test_a_budget_by_probability_lets_the_surest_explore() -> None:
    stepper = start(sl.Selar(invert_gate=True, gate_by="p-max", tau=0.0, max_share=0.5, symbol_guard=False), WORDS)
    steps = [logits_of({A: p, B: 1 - p}, WORDS.n_vocab) for p in (0.6, 0.7, 0.8, 0.9, 0.95, 0.65)]
    explored = [stepper(view(logits)).explored for logits in steps]
    assert explored == [False, True, False, True, False, False]


def test_the_probability_is_the_opposite_gate_s() -> None:
    assert sl.Selar(tau=0.4, invert_gate=True).threshold == (0.4, "tau 0.4")
    assert sl.Selar(tau=0.4, invert_gate=True, gate_by="p-max").threshold is None
    with pytest.raises(OptionError, match="gate_by p-max is for the opposite gate"):
        sl.Selar(gate_by="p-max")
    with pytest.raises(OptionError, match="tau auto"):
        sl.Selar(gate_by="p-max", invert_gate=True, tau="auto")


def test_the_guard_holds_for_the_opposite_gate_too() -> None:
    logits = logits_of({ord("7"): 1.0}, WORDS.n_vocab)
    assert not decide(sl.Selar(invert_gate=True), logits).explored
    assert decide(sl.Selar(invert_gate=True, symbol_guard=False), logits).explored


@settings(max_examples=100, deadline=None)
@given(QUICK, SAMPLING, st.integers(2, 9), st.integers(1, 8), st.floats(0, 3), st.floats(0, 1))
def test_repulsion_from_several(
    logits: Logits, sampling: SamplingConfig, k: int, repel: int, contrast: float, h: float
) -> None:
    """e + s (e - C), C the mixture of the m most probable alone."""
    repel = min(repel, k - 1)
    found = filtered_distribution(logits, sampling, k)
    q, rows = np.array(renormalise(found.probs, k)), ROWS[found.ids[:k]]
    e, centre, s = q @ rows, q[:repel] @ rows[:repel] / q[:repel].sum(), contrast * h
    mixed = contrastive_weights(found.ids, q.tolist(), s, repel)
    np.testing.assert_allclose(mixed.weights @ ROWS[mixed.ids], e + s * (e - centre), atol=1e-9)
    assert mixed.weights.sum() == pytest.approx(1)
    if repel == 1:  # exactly the paper's: (1 + s) q_i, less s on the dominant token
        np.testing.assert_array_equal(mixed.weights, (1.0 + s) * q - s * (np.arange(len(q)) == 0))
    used = decide(sl.Selar(k=k, tau=0, contrast=contrast, repel=repel, symbol_guard=False), logits, sampling)
    assert used.entropy is not None
    expected = contrastive_weights(found.ids, q.tolist(), contrast * used.entropy, repel)
    np.testing.assert_array_equal(mixture(used).weights, expected.weights)
    np.testing.assert_array_equal(mixture(used).ids, expected.ids)


def test_repulsion_by_hand() -> None:
    # C is 2/3 of the first and 1/3 of the second.
    found = contrastive_weights(np.array([5, 2, 7]), [0.5, 0.25, 0.25], 1.0, 2)
    assert found.ids.tolist() == [5, 2, 7]
    np.testing.assert_allclose(found.weights, [1 / 3, 1 / 6, 1 / 2])


def test_nothing_moves_where_the_filters_left_no_more_than_it_is_pushed_from() -> None:
    two = logits_of({A: 0.6, B: 0.4}, WORDS.n_vocab)
    found = shares(decide(sl.Selar(tau=0, repel=2), two))
    assert {token: weight for token, weight in found.items() if weight} == pytest.approx({A: 0.6, B: 0.4})


@settings(max_examples=100, deadline=None)
@given(QUICK, SAMPLING, st.floats(0, 1), st.integers(0, N_VOCAB - 1), st.floats(0, 3))
def test_the_anchor_is_the_drawn_token(
    logits: Logits, sampling: SamplingConfig, share: float, token: int, contrast: float
) -> None:
    method = sl.Selar(tau=0, contrast=contrast, symbol_guard=False)
    free = decide(method, logits, sampling, token)
    found = decide(replace(method, anchor=share), logits, sampling, token)
    expected = share * vector(free.next_input) + (1 - share) * ROWS[token]
    np.testing.assert_allclose(vector(found.next_input), expected, atol=1e-9)
    assert sum(shares(found).values()) == pytest.approx(1)
    assert found.token is None and found.entropy == free.entropy
    off, only = (decide(replace(method, anchor=anchor), logits, sampling, token) for anchor in (1.0, 0.0))
    assert shares(off) == shares(free)
    np.testing.assert_array_equal(vector(only.next_input), ROWS[token])
    assert {i: weight for i, weight in shares(only).items() if weight} == {token: 1.0}


def test_an_anchor_by_hand() -> None:
    mixed = Mixture(np.array([5, 2]), np.array([0.75, 0.25]))
    inside, outside = anchored(mixed, 2, 0.6), anchored(mixed, 9, 0.6)
    assert dict(zip(inside.ids.tolist(), inside.weights.tolist(), strict=True)) == pytest.approx({5: 0.45, 2: 0.55})
    assert outside.ids.tolist() == [5, 2, 9]
    np.testing.assert_allclose(outside.weights, [0.45, 0.15, 0.4])
    assert anchored(mixed, 2, 1.0) is mixed
    assert mixed.weights.tolist() == [0.75, 0.25]  # not changed


@pytest.mark.parametrize(
    ("options", "logits", "token", "shown"),
    [
        ({}, EVEN, A, None),
        ({"show": "heaviest"}, EVEN, A, B),  # -1/3, 2/3, 2/3: the first of the heaviest
        ({"show": "heaviest"}, EVEN, B, B),
        ({"show": "heaviest", "contrast": 0.0}, EVEN, C, A),
        ({"show": "heaviest", "anchor": 0.9}, EVEN, C, C),  # the anchor counts: -0.3, 0.6, 0.7
        ({"show": "heaviest", "anchor": 0.4}, EVEN, D, D),
        ({"show": "heaviest"}, SURE, B, None),  # a certain step shows what it feeds
        ({"show": "heaviest"}, EVEN, END, None),  # a drawn end always ends the text
    ],
)
def test_the_token_shown(options: dict[str, Any], logits: Logits, token: int, shown: int | None) -> None:
    found = decide(sl.Selar(**options), logits, ALL, token)
    assert found.token == shown
    assert found.explored == (logits is EVEN)


def test_the_engine_shows_the_heaviest() -> None:
    shown = generate(sl.Selar(show="heaviest"), lambda _: (EVEN, np.zeros(1)), WORDS)
    assert shown.tokens == [B] * 40
    drawn = generate(sl.Selar(), lambda _: (EVEN, np.zeros(1)), WORDS)
    assert set(drawn.tokens) == {A, B, C}
    assert [shares(Decision(chosen)) for chosen in shown.inputs] == [shares(Decision(c)) for c in drawn.inputs]


@pytest.mark.parametrize("tau", [0.0, 1.0, 2, "auto"])
def test_a_calibrated_tau(tau: float | str) -> None:
    asked = []

    def calibrated(k: int, gate_on: str) -> float:
        asked.append((k, gate_on))
        return 0.25

    method = sl.Selar(k=5, tau=tau, gate_on="full", contrast=2.0, repel=3)
    found = method.fitted(calibrated)
    if tau == "auto":
        assert found == replace(method, tau=0.25) and asked == [(5, "full")]
        with pytest.raises(OptionError, match="calibrate"):
            start(method, WORDS)
        start(found, WORDS)
    else:
        assert found is method and asked == []


def test_a_model_that_is_not_calibrated_says_so() -> None:
    def missing(k: int, gate_on: str) -> float:
        raise OptionError("no calibration")

    with pytest.raises(OptionError, match="no calibration"):
        sl.Selar(tau="auto").fitted(missing)


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("after", [True, False, None])
def test_a_scope_of_thinking_looks_at_the_drawn_token_too(thinking: bool, after: bool | None) -> None:
    seen = {"thinking": thinking, "thinking_after": None if after is None else lambda token: after}
    found = decide(sl.Selar(scope="thinking"), EVEN, **seen)
    assert found.explored == (thinking and after is not False)
    assert found.entropy == pytest.approx(1.0)
    assert decide(sl.Selar(scope="all"), EVEN, **seen).explored
    assert not decide(sl.Selar(scope="thinking"), SURE, **seen).explored


# -- whole decodings on a fake model ----------------------------------------------------------


def run(method: sl.Method, text: bytes = b"", **options: object) -> list[TokenEvent]:
    """Forty tokens of a small linear model; `text`: what it says first in any case."""
    return generate(method, linear(LETTERS.n_vocab, begin=text), LETTERS, **options).events


def tokens(events: list[TokenEvent]) -> list[int]:
    return [event.token for event in events]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**40), sampling=SAMPLING, k=st.integers(2, 9), strict=st.booleans(), greedy=st.booleans())
def test_above_one_it_is_plain_decoding_token_for_token(
    seed: int, sampling: SamplingConfig, k: int, strict: bool, greedy: bool
) -> None:
    given_ = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p, "greedy": greedy}
    never = run(sl.Selar(tau=1.01, k=k, strict_gate=strict), seed=seed, **given_)
    plain = run(sl.CoT(), seed=seed, **given_)
    assert [(e.token, e.text, e.explored, e.top[:2]) for e in never] == [
        (e.token, e.text, False, e.top[:2]) for e in plain
    ]


@pytest.mark.parametrize("greedy", [False, True])
def test_a_gate_that_never_opens_is_plain_decoding(greedy: bool) -> None:
    plain = tokens(run(sl.CoT(), greedy=greedy))
    never = run(sl.Selar(tau=1.01), greedy=greedy)
    assert tokens(never) == plain
    assert not any(event.explored for event in never)
    assert all(event.entropy is not None for event in never)
    always = run(sl.Selar(tau=0, symbol_guard=False), greedy=greedy)
    assert all(event.explored for event in always)
    assert tokens(always) != plain


def test_scope_thinking_explores_between_the_tags_only() -> None:
    opening, closing = b"<think>hm", b"</think>"
    method = sl.Selar(tau=0, symbol_guard=False, scope="thinking")
    events = run(method, opening + closing)
    explored = [event.explored for event in events]
    begins, ends = len(b"<think>") - 1, len(opening + closing) - 1
    assert explored == [begins < i < ends for i in range(40)]
    assert not any(event.explored for event in run(method, b"no tag"))
    assert all(event.explored for event in run(replace(method, scope="all"), opening + closing))


def test_scope_thinking_with_tags_of_one_token() -> None:
    """The drawn closing token is fed as it is, though its step is torn."""
    opening, closing = WORDS["<think>"], WORDS["</think>"]
    torn = logits_of({closing: 1.0, A: 1.0, B: 1.0}, WORDS.n_vocab)
    script = [logits_of({opening: 1.0}, WORDS.n_vocab), *[torn] * 39]
    calls = iter(script)
    found = generate(sl.Selar(scope="thinking"), lambda _: (next(calls), np.zeros(1)), WORDS)
    at = found.tokens.index(closing)
    assert 1 < at < 30
    assert [event.explored for event in found.events] == [0 < i < at for i in range(40)]
    assert found.inputs[at] == Token(closing)


# -- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"k": 1}, {"k": 0}, {"k": -3}, {"k": 1001}, {"k": 3.0}, {"k": "3"}, {"k": True}, {"k": None},
        {"tau": -1}, {"tau": math.nan}, {"tau": math.inf}, {"tau": "0.5"}, {"tau": None}, {"tau": False},
        {"contrast": -0.1}, {"contrast": math.nan}, {"contrast": math.inf}, {"contrast": "1"},
        {"gate_on": "Full"}, {"gate_on": ""}, {"gate_on": None}, {"scope": "think"}, {"scope": None},
        {"scope": ["all"]}, {"tau": "Auto"}, {"tau": ""}, {"repel": 0}, {"repel": 3}, {"repel": 1.0},
        {"repel": True}, {"repel": 2, "k": 2}, {"anchor": -0.1}, {"anchor": 1.1}, {"anchor": math.nan},
        {"anchor": None}, {"show": "lightest"}, {"gate_by": "p"}, {"show": None},
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Selar(**options)  # type: ignore[arg-type]


def test_the_paper_s_defaults() -> None:
    method = sl.Selar()
    assert (method.k, method.tau, method.contrast, method.symbol_guard) == (3, 0.5, 1.0, True)
    assert (method.gate_on, method.scope, method.strict_gate) == ("filtered", "all", False)
    assert (method.invert_gate, method.repel, method.anchor) == (False, 1, 1.0)
    assert method.show == "drawn"
    assert method.n_candidates == 3 and sl.Selar(k=7).n_candidates == 7
    assert method.feeds_vectors and not method.greedy
    sampling = SamplingConfig()
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.6, 20, 0.95, 0.0)


def test_a_tau_that_is_another_word_is_told_which_one_is_known() -> None:
    with pytest.raises(OptionError, match="tau must be a number or auto, not 'Auto'"):
        sl.Selar(tau="Auto")


@pytest.mark.parametrize("options", [{"symbol_guard": "no"}, {"strict_gate": 7}, {"invert_gate": None}])
def test_a_switch_is_on_or_off(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Selar(**options)


# -- edges that were found by testing ---------------------------------------------------------


def test_repelling_more_candidates_than_there_are_moves_nothing() -> None:
    found = contrastive_weights(np.array([2, 0, 1]), [0.5, 0.3, 0.2], 0.7, 4)
    assert found.ids.tolist() == [2, 0, 1]
    np.testing.assert_allclose(found.weights, [0.5, 0.3, 0.2])


def test_an_even_distribution_reaches_tau_1() -> None:
    even = logits_of({A: 1.0, B: 1.0, C: 1.0}, WORDS.n_vocab)
    decision = decide(sl.Selar(tau=1.0, symbol_guard=False), even, ALL)
    assert decision.explored and decision.entropy == 1.0


@pytest.mark.parametrize("options", [{"tau": 10**400}, {"contrast": 10**400}, {"contrast": 1.7e308}])
def test_numbers_beyond_all_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.Selar(**options)
