"""Soft Thinking: its mixtures with and without noise, how the thinking ends, and the sampler after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle.methods import noise_generator
from oracle.soft_thinking import SoftThinking as Known
from oracle.soft_thinking import noisy as known_noise

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods.base import Decision, Stepper, Token
from selar_local.methods.soft_thinking import noisy

from .fakes import (
    ALL,
    Generation,
    Logits,
    Words,
    entropy_of,
    generate,
    linear,
    logits_of,
    mixture,
    scripted,
    shares,
    start,
    view,
)
from .strategies import samplings

WORDS = Words(" a", " b", " c", " d", "<think>", "</think>", ends=["<end>"])
A, B, C, D = (WORDS[word] for word in (" a", " b", " c", " d"))
CLOSE, END = WORDS["</think>"], WORDS["<end>"]
LETTERS = Words(" a", " b", " c", " d", ends=["<end>"])  # here the closing tag is several tokens
NOISES = ("none", "gumbel", "dirichlet")


def logits(given: dict[int, float], vocabulary: Words = WORDS) -> Logits:
    return logits_of(given, vocabulary.n_vocab)


FALLING = logits({A: 0.4, B: 0.3, C: 0.2, D: 0.1})
COLD, WARM = logits({A: 0.99, B: 0.01}), logits({B: 0.6, A: 0.4})
CLOSING, ENDING = logits({CLOSE: 0.6, A: 0.4}), logits({END: 0.6, A: 0.4})


def steps(
    method: sl.SoftThinking, script: Sequence[Logits], token: int | None = None, **setting: Any
) -> list[Decision]:
    """A decision for each of the logits, as if all were within the thinking. token: drawn at each step."""
    stepper = start(method, WORDS, **setting)
    return [stepper(view(values, token, n=method.n_candidates)) for values in script]


def is_soft(found: Decision) -> bool:
    """Whether a mixture is fed; else the shown token must be."""
    assert found.explored or found.token is None or found.next_input == Token(found.token)
    return found.explored


def modes(found: Sequence[Decision]) -> str:
    """The first letters of the modes."""
    return "".join((d.mode or "?")[0] for d in found)


# -- mixtures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "filters", "expected"),
    [
        ({}, {}, {A: 0.4, B: 0.3, C: 0.2, D: 0.1}),
        ({"max_topk": 3}, {}, {A: 4 / 9, B: 3 / 9, C: 2 / 9}),
        ({"max_topk": 1}, {}, {A: 1.0}),
        ({"max_topk": 4}, {"top_k": 2}, {A: 4 / 7, B: 3 / 7}),  # what a filter removed is no part of it
        ({"max_topk": 1}, {"top_k": 2}, {A: 1.0}),
        ({}, {"min_p": 0.4}, {A: 4 / 9, B: 3 / 9, C: 2 / 9}),
        ({}, {"top_p": 0.5}, {A: 4 / 7, B: 3 / 7}),
        ({"max_topk": 2}, {"temperature": 0.5}, {A: 16 / 25, B: 9 / 25}),
    ],
)
def test_the_largest_shares_are_renormalised(
    options: dict[str, Any], filters: dict[str, Any], expected: dict[int, float]
) -> None:
    method, sampling = sl.SoftThinking(**options), replace(ALL, **filters)
    found = start(method, WORDS, sampling)(view(FALLING, D, sampling, method.n_candidates))
    assert shares(found) == pytest.approx(expected, abs=1e-6)
    assert list(shares(found)) == list(expected)  # by falling weight
    assert (found.token, found.mode) == (A, "soft")  # the first one is shown, whatever was drawn
    # The cold stop's entropy is that of all tokens, filtered or not.
    assert found.entropy == pytest.approx(entropy_of(FALLING, sampling.temperature), abs=1e-5)


def test_all_the_mass_on_one_token() -> None:
    for noise in NOISES:
        (found,) = steps(sl.SoftThinking(noise=noise), [logits({C: 1.0})])
        assert shares(found) == pytest.approx({C: 1.0})
        assert (found.token, found.mode) == (C, "soft")
        assert found.entropy == pytest.approx(0, abs=1e-12)


def test_ties_show_the_lower_id() -> None:
    (found,) = steps(sl.SoftThinking(max_topk=2), [np.zeros(WORDS.n_vocab, np.float32)])
    assert shares(found) == {0: 0.5, 1: 0.5}
    assert found.token == 0


N_VOCAB = 40
LOGITS = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).normal(0, 3, N_VOCAB).astype(np.float32))
SAMPLING = samplings(most=30)


@settings(max_examples=100, deadline=None)
@given(LOGITS, SAMPLING, st.integers(1, 12), st.sampled_from(NOISES), st.integers(0, 2**40))
def test_weights_are_shares_of_the_most_probable(
    values: Logits, sampling: SamplingConfig, max_topk: int, noise: str, seed: int
) -> None:
    method = sl.SoftThinking(max_topk=max_topk, noise=noise)
    seen = view(values, None, sampling, max_topk)
    found = start(method, WORDS, sampling, seed=seed)(seen)
    ids, weights = mixture(found)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert (weights >= 0).all() and (np.diff(weights) <= 0).all()
    kept = seen.distribution.ids[:max_topk][seen.distribution.probs[:max_topk] > 0]
    assert sorted(ids.tolist()) == sorted(kept.tolist())
    assert found.token == ids[0]
    assert found.entropy == pytest.approx(entropy_of(values, sampling.temperature), abs=1e-5)
    if noise == "none":
        assert ids.tolist() == kept.tolist()
    # The same noise as the oracle's, from the same seed and the same shares.
    q = seen.distribution.probs[: len(kept)] / seen.distribution.probs[: len(kept)].sum()
    expected = known_noise(q, Known(noise=noise), noise_generator(seed))
    np.testing.assert_allclose(weights, np.sort(expected)[::-1], atol=1e-12)
    assert dict(zip(kept.tolist(), expected.tolist(), strict=True)) == pytest.approx(shares(found))


@settings(max_examples=50, deadline=None)
@given(LOGITS, st.permutations(range(N_VOCAB)), SAMPLING, st.sampled_from(NOISES))
def test_the_order_of_the_vocabulary_does_not_matter(
    values: Logits, order: list[int], sampling: SamplingConfig, noise: str
) -> None:
    method = sl.SoftThinking(noise=noise)
    here, there = (
        start(method, WORDS, sampling)(view(logits, None, sampling, 10)) for logits in (values, values[order])
    )
    assert mixture(here).ids.tolist() == [order[i] for i in mixture(there).ids.tolist()]
    np.testing.assert_array_equal(mixture(here).weights, mixture(there).weights)
    assert here.token == order[there.token or 0]


# -- noise --------------------------------------------------------------------------------------


class Fixed(np.random.Generator):
    """Gives these values and notes what it was asked for."""

    def __init__(self, *values: float) -> None:
        super().__init__(np.random.PCG64())
        self.values, self.asked = np.array(values), []

    def gumbel(self, size: int) -> np.ndarray:  # type: ignore[override]
        self.asked.append(size)
        return self.values

    def dirichlet(self, alpha: np.ndarray) -> np.ndarray:  # type: ignore[override]
        self.asked += alpha.tolist()
        return self.values


HALVES = np.array([0.5, 0.25, 0.25])


def test_gumbel_softmax_by_hand() -> None:
    noise = Fixed(0, math.log(4), 0)
    # log q + G are the logarithms of 1/2, 1 and 1/4; over t 0.5 they are squared: 4, 16 and 1 of 21.
    np.testing.assert_allclose(noisy(HALVES, "gumbel", 0.5, noise), [4 / 21, 16 / 21, 1 / 21])
    np.testing.assert_allclose(noisy(HALVES, "gumbel", 1.0, noise), [2 / 7, 4 / 7, 1 / 7])
    assert noise.asked == [3, 3]


def test_dirichlet_by_hand() -> None:
    noise = Fixed(0.1, 0.2, 0.7)
    assert noisy(HALVES, "dirichlet", 1.0, noise).tolist() == [0.1, 0.2, 0.7]
    assert noisy(HALVES, "dirichlet", 0.25, noise).tolist() == [0.1, 0.2, 0.7]
    assert noise.asked == [0.5, 0.25, 0.25, 2.0, 1.0, 1.0]


def test_the_heaviest_with_noise_is_shown_and_stands_first() -> None:
    found = [steps(sl.SoftThinking(noise="gumbel"), [FALLING], seed=seed)[0] for seed in range(40)]
    assert all(d.token == max(shares(d), key=shares(d).__getitem__) for d in found)
    assert {d.token for d in found} == {A, B, C, D}
    # Of the maximum of log q + G is known that it is a draw from q.
    assert [d.token for d in found].count(A) == pytest.approx(16, abs=9)


def test_a_cold_gumbel_softmax_is_nearly_one_token_and_a_hot_one_nearly_even() -> None:
    cold, hot = (steps(sl.SoftThinking(noise="gumbel", noise_temperature=t), [FALLING])[0] for t in (0.001, 1000.0))
    assert list(shares(cold).values()) == pytest.approx([1, 0, 0, 0], abs=1e-6)
    assert list(shares(hot).values()) == pytest.approx([0.25] * 4, abs=0.01)


def test_a_cold_dirichlet_is_nearly_the_shares_themselves() -> None:
    (found,) = steps(sl.SoftThinking(noise="dirichlet", noise_temperature=1e-9), [FALLING])
    assert shares(found) == pytest.approx({A: 0.4, B: 0.3, C: 0.2, D: 0.1}, abs=1e-3)


@pytest.mark.parametrize("noise", ["gumbel", "dirichlet"])
def test_each_noise_has_its_own_default_temperature(noise: str) -> None:
    usual = {"gumbel": 0.5, "dirichlet": 1.0}[noise]
    given_, default, other = (
        shares(steps(sl.SoftThinking(noise=noise, noise_temperature=t), [FALLING])[0]) for t in (usual, None, 2.0)
    )
    assert given_ == default != other


@pytest.mark.parametrize("noise", ["gumbel", "dirichlet"])
def test_noise_goes_on_from_step_to_step_and_is_reproducible(noise: str) -> None:
    method = sl.SoftThinking(noise=noise)
    one, two, other = ([shares(d) for d in steps(method, [FALLING] * 3, seed=seed)] for seed in (4, 4, 5))
    assert one == two
    assert one[0] != one[1] != one[2] != one[0]
    assert not any(a == b for a, b in zip(one, other, strict=True))


def test_noise_does_not_move_the_draws() -> None:
    """After as many soft steps the plain ones draw the same, whatever noise there was."""
    script = [FALLING] * 5 + [CLOSING] + [np.zeros(WORDS.n_vocab, np.float32)]
    # Noise may show a closing token early: a script where it cannot.
    script[5] = logits({CLOSE: 1.0})
    answers = {noise: generate(sl.SoftThinking(noise=noise), scripted(script), WORDS).tokens for noise in NOISES}
    assert all(tokens[5] == CLOSE for tokens in answers.values())
    assert answers["none"][6:] == answers["gumbel"][6:] == answers["dirichlet"][6:]
    assert len(set(answers["none"][6:])) > 5
    # Nor is a number left out: plain decoding draws the same ones.
    plain = generate(sl.CoT(), scripted(script), WORDS, top_k=30, min_p=0.0).tokens
    assert plain[6:] == answers["none"][6:]


# -- the end of the thinking --------------------------------------------------------------------


def test_a_shown_closing_token_is_fed_as_it_is_and_ends_the_soft_steps() -> None:
    found = steps(sl.SoftThinking(), [FALLING, CLOSING, FALLING, CLOSING], token=C)
    assert [is_soft(d) for d in found] == [True, False, False, False]
    assert [d.token for d in found] == [A, CLOSE, None, None]  # None: the drawn one
    assert found[1].entropy == pytest.approx(entropy_of(CLOSING), abs=1e-6)
    assert [d.next_input for d in found[2:]] == [Token(C)] * 2
    assert [d.entropy for d in found[2:]] == [None] * 2
    assert modes(found) == "snnn"


def test_a_closing_token_that_is_only_drawn_ends_nothing() -> None:
    found = steps(sl.SoftThinking(), [FALLING, logits({A: 0.6, CLOSE: 0.4}), FALLING], token=CLOSE)
    assert [is_soft(d) for d in found] == [True] * 3
    assert [d.token for d in found] == [A] * 3


def test_a_shown_end_token_is_fed_as_it_is() -> None:
    cold_too = sl.SoftThinking(cold_stop_entropy=100, cold_stop_steps=1)
    for method in (sl.SoftThinking(), cold_too):
        (found,) = steps(method, [ENDING], token=A)
        assert (found.next_input, found.token, found.mode) == (Token(END), END, "soft")
        assert found.entropy == pytest.approx(entropy_of(ENDING), abs=1e-6)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([COLD] * 5, "ssnnn"),
        ([WARM, COLD, COLD, COLD, WARM], "sssnn"),
        ([COLD, COLD, WARM, COLD, COLD, COLD], "sssssn"),  # one step that is not cold starts the count anew
        ([COLD, WARM, COLD, WARM, COLD, WARM], "ssssss"),
        ([COLD, CLOSING, COLD, COLD, COLD], "snnnn"),
        ([WARM] * 4, "ssss"),
    ],
)
def test_cold_stop(script: list[Logits], expected: str) -> None:
    found = steps(sl.SoftThinking(cold_stop_entropy=0.2, cold_stop_steps=3), script, token=B)
    assert modes(found) == expected
    at = expected.find("n")
    if at >= 0:
        assert (found[at].next_input, found[at].token) == (Token(CLOSE), CLOSE)
        assert found[at].entropy == pytest.approx(entropy_of(script[at]), abs=1e-6)
        assert all(d == Decision(Token(B), mode="normal") for d in found[at + 1 :])
    assert all(is_soft(d) for d in found[: at if at >= 0 else None])


def test_the_cold_stop_is_strict_and_off_by_default() -> None:
    one = logits({A: 1.0})
    assert modes(steps(sl.SoftThinking(), [one] * 300)) == 300 * "s"
    assert modes(steps(sl.SoftThinking(cold_stop_entropy=0.1), [one] * 257)) == 255 * "s" + "nn"
    warm = steps(sl.SoftThinking(), [WARM])[0].entropy or 0.0
    for threshold, expected in ((warm, "s"), (math.nextafter(warm, 1), "n")):
        assert modes(steps(sl.SoftThinking(cold_stop_entropy=threshold, cold_stop_steps=1), [WARM])) == expected


def test_the_cold_stop_looks_at_the_entropy_at_the_temperature() -> None:
    sharp = replace(ALL, temperature=0.1)  # WARM has 0.67 nats, at a tenth of the temperature 0.09
    stepper = start(sl.SoftThinking(cold_stop_entropy=0.5, cold_stop_steps=1), WORDS, sharp)
    assert stepper(view(WARM, None, sharp)).mode == "normal"
    assert modes(steps(sl.SoftThinking(cold_stop_entropy=0.5, cold_stop_steps=1), [WARM])) == "s"


def test_a_cold_stop_has_the_family_s_closing_text_where_it_is_several_tokens() -> None:
    stepper = start(sl.SoftThinking(cold_stop_entropy=9, cold_stop_steps=2), LETTERS, closing=(C, D))
    found = [stepper(view(logits({A: 0.6, B: 0.4}, LETTERS), token=B)) for _ in range(5)]
    assert modes(found) == "snnnn"
    assert [decision.next_input for decision in found[1:]] == [Token(C), Token(D), Token(B), Token(B)]
    assert [decision.token for decision in found[1:3]] == [C, D]


def test_a_cold_stop_without_a_closing_token_goes_on_with_the_drawn_one() -> None:
    values = logits({A: 0.9, B: 0.1}, LETTERS)
    stepper = start(sl.SoftThinking(cold_stop_entropy=9, cold_stop_steps=2), LETTERS)
    found = [stepper(view(values, B, n=10)) for _ in range(4)]
    assert modes(found) == "snnn"
    assert [d.next_input for d in found[1:]] == [Token(B)] * 3
    assert found[1].token == B


def test_a_closing_tag_of_several_tokens_is_told_by_the_view() -> None:
    stepper = start(sl.SoftThinking(), LETTERS)
    values = logits({A: 0.6, B: 0.4}, LETTERS)

    def step(thinking: bool) -> Decision:
        return stepper(view(values, B, thinking=thinking, n=10))

    # Not open yet (the model has to say its opening tag first), open, closed; what opens later is text.
    found = [step(thinking) for thinking in (False, False, True, True, False, True, True)]
    assert modes(found) == "ssssnnn"
    assert stepper.sampling is not None


def test_thinking_that_never_opened_is_soft_all_along() -> None:
    stepper = start(sl.SoftThinking(), WORDS)
    assert modes([stepper(view(FALLING, thinking=False, n=10)) for _ in range(5)]) == "sssss"


def test_a_prompt_that_closed_the_thinking() -> None:
    found = steps(sl.SoftThinking(noise="gumbel"), [FALLING] * 2, token=C, thinking_over=True)
    assert found == [Decision(Token(C), mode="normal")] * 2


# -- sampling after the thinking ----------------------------------------------------------------

THINKING = SamplingConfig(temperature=0.7, top_k=30, top_p=0.9, min_p=0.001, seed=4)


def sampling_of(stepper: Stepper) -> SamplingConfig | None:
    return stepper.sampling


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"min_p": 0.0}),
        ({"after_min_p": 0.2}, {"min_p": 0.2}),
        ({"after_temperature": 1.5}, {"temperature": 1.5, "min_p": 0.0}),
        ({"after_temperature": 0}, {"temperature": 0, "min_p": 0.0}),
        ({"after_top_k": 0}, {"top_k": 0, "min_p": 0.0}),
        ({"after_top_p": 0.5}, {"top_p": 0.5, "min_p": 0.0}),
    ],
)
def test_the_sampler_after_the_thinking(options: dict[str, Any], expected: dict[str, Any]) -> None:
    method = sl.SoftThinking(**options, cold_stop_entropy=0.1, cold_stop_steps=1)
    after = replace(THINKING, **expected)
    for last in (CLOSING, COLD):
        stepper = start(method, WORDS, THINKING)
        stepper(view(FALLING, n=10))
        assert sampling_of(stepper) is None
        stepper(view(last, n=10))
        assert sampling_of(stepper) == after
    assert sampling_of(start(method, WORDS, THINKING, thinking_over=True)) == after
    assert method.after_sampling(replace(THINKING, greedy=True)) == replace(after, greedy=True)


def tokens_after(method: sl.SoftThinking, **sampling: Any) -> list[int]:
    """Thirty tokens from 0.4, 0.3, 0.2, 0.1 after a closing token."""
    found = generate(method, scripted([FALLING, CLOSING, FALLING]), WORDS, max_tokens=32, top_p=1.0, **sampling)
    assert found.tokens[:2] == [A, CLOSE]
    assert isinstance(found.inputs[0], tuple) and found.inputs[1] == Token(CLOSE)
    assert [event.mode for event in found.events] == ["soft", "normal"] + ["normal"] * 30
    assert [event.explored for event in found.events] == [True] + [False] * 31
    return found.tokens[2:]


def test_the_engine_draws_after_the_thinking_as_told() -> None:
    assert set(tokens_after(sl.SoftThinking())) == {A, B, C, D}
    assert set(tokens_after(sl.SoftThinking(), top_k=2)) == {A, B}
    assert set(tokens_after(sl.SoftThinking(after_top_k=0), top_k=2)) == {A, B, C, D}
    assert set(tokens_after(sl.SoftThinking(after_top_k=1))) == {A}
    assert set(tokens_after(sl.SoftThinking(after_top_p=0.5))) == {A, B}
    assert set(tokens_after(sl.SoftThinking(), min_p=0.9)) == {A, B, C, D}
    assert set(tokens_after(sl.SoftThinking(after_min_p=0.4), min_p=0.9)) == {A, B, C}
    assert set(tokens_after(sl.SoftThinking(after_temperature=0))) == {A}
    assert set(tokens_after(sl.SoftThinking(after_temperature=0.01))) == {A}
    assert set(tokens_after(sl.SoftThinking(), greedy=True)) == {A}


def test_the_candidates_that_are_reported_are_those_of_the_step_s_own_sampler() -> None:
    method = sl.SoftThinking(after_temperature=0.5, after_top_k=2)
    found = generate(method, scripted([FALLING, CLOSING, FALLING]), WORDS, max_tokens=3, top_p=1.0)
    first, _, last = (dict(event.top) for event in found.events)
    assert first == pytest.approx({A: 0.4, B: 0.3, C: 0.2, D: 0.1} | {i: 0 for i in first if i not in (A, B, C, D)})
    assert {token: p for token, p in last.items() if p > 0} == pytest.approx({A: 16 / 25, B: 9 / 25}, abs=1e-6)


# -- whole generations --------------------------------------------------------------------------


def test_an_end_token_shown_ends_the_text_and_one_that_is_drawn_does_not() -> None:
    found = generate(sl.SoftThinking(), scripted([FALLING, ENDING]), WORDS)
    assert found.tokens == [A, END]
    assert found.result.finish_reason == "stop"
    assert [event.explored for event in found.events] == [True, False]
    almost = logits({A: 0.51, END: 0.49})
    assert generate(sl.SoftThinking(), scripted([almost]), WORDS).tokens == [A] * 40


def test_plain_soft_thinking_is_deterministic() -> None:
    words = Words(" a", " b")
    texts = [generate(sl.SoftThinking(), linear(words.n_vocab), words, seed=seed).tokens for seed in range(3)]
    assert texts[0] == texts[1] == texts[2] and len(texts[0]) == 40
    noise = [generate(sl.SoftThinking(noise="gumbel"), linear(words.n_vocab), words, seed=s).tokens for s in (1, 1, 2)]
    assert noise[0] == noise[1] != noise[2]


def typed(text: str, vocabulary: Words, **options: Any) -> Generation:
    """The model's most probable tokens spell the text, then it goes on with " a" (0.6) or " b" (0.4) for ever."""
    rest = logits({A: 0.6, B: 0.4}, vocabulary)
    script = [logits({token: 0.9, A: 0.1}, vocabulary) for token in map(ord, text)]
    return generate(sl.SoftThinking(), scripted([*script, rest]), vocabulary, **options)


@pytest.mark.parametrize("pair", [("<think>", "</think>"), ("<reasoning>", "</reasoning>")])
def test_a_closing_tag_of_several_tokens_ends_the_soft_steps(pair: tuple[str, str]) -> None:
    text = pair[0] + "hm" + pair[1]
    found = typed(text, LETTERS)
    assert bytes(found.tokens[: len(text)]).decode() == text
    # The tag's last token is fed soft like those before it: that it closed the thinking shows in the next view.
    assert [event.explored for event in found.events] == [i < len(text) for i in range(40)]
    assert found.result.thinking == "hm"
    assert set(found.tokens[len(text) :]) == {A, B}  # drawn


def test_the_prompt_may_have_opened_or_closed_the_thinking() -> None:
    opened = typed("hm</think>", LETTERS, prompt_tail="<think>\n")
    assert [event.explored for event in opened.events] == [i < 10 for i in range(40)]
    closed = typed("", LETTERS, prompt_tail="<think>\n\n</think>\n\n")
    assert not any(event.explored for event in closed.events)
    assert set(closed.tokens) == {A, B}
    never = typed("no tag", LETTERS)
    assert all(event.explored for event in never.events)


# -- options ------------------------------------------------------------------------------------


def test_defaults() -> None:
    method = sl.SoftThinking()
    assert (method.max_topk, method.cold_stop_entropy, method.cold_stop_steps) == (10, 0.0, 256)
    assert (method.noise, method.noise_temperature) == ("none", None)
    assert (method.after_temperature, method.after_top_k, method.after_top_p, method.after_min_p) == (
        None, None, None, 0.0,
    )  # fmt: skip
    assert method.n_candidates == 10 and sl.SoftThinking(max_topk=3).n_candidates == 3
    sampling = method.sampling({})
    assert (sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p) == (0.6, 30, 0.95, 0.001)
    assert method.entropy_unit == "nats" and method.feeds_vectors and not method.greedy


@pytest.mark.parametrize(
    "options",
    [
        {"max_topk": 0}, {"max_topk": 1001}, {"max_topk": 2.0}, {"max_topk": None},
        {"cold_stop_entropy": -0.1}, {"cold_stop_entropy": math.nan}, {"cold_stop_entropy": math.inf},
        {"cold_stop_steps": 0}, {"cold_stop_steps": 1.5}, {"noise": "gauss"}, {"noise": None}, {"noise": ""},
        {"noise_temperature": 0}, {"noise_temperature": -1.0}, {"noise_temperature": math.nan},
        {"noise_temperature": "1"},
    ],
)  # fmt: skip
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        sl.SoftThinking(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"after_temperature": -0.1}, {"after_temperature": math.inf}, {"after_top_k": -2}, {"after_top_k": 1.0},
        {"after_top_p": -0.1}, {"after_top_p": 1.1}, {"after_min_p": -0.1}, {"after_min_p": 1.1},
    ],
)  # fmt: skip
def test_a_bad_sampler_after_the_thinking_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options)).removeprefix("after_")):
        sl.SoftThinking(**options)
