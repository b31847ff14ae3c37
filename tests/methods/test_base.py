"""What all methods have in common: their place in a sequence, their options, and the sampling they ask for."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.config import SamplingConfig, from_mapping
from selar_local.errors import OptionError
from selar_local.methods import METHODS
from selar_local.methods.base import Decision, Method, Mixture, Setting, Stepper, StepView, Token, Vector
from selar_local.methods.distribution import Distribution

from .fakes import ALL, Words, generate, linear, logits_of, start, view

WORDS = Words(" a", " b", " c", "<think>", "</think>")
A, B, C = WORDS[" a"], WORDS[" b"], WORDS[" c"]
TORN = logits_of({A: 0.4, B: 0.3, C: 0.3}, WORDS.n_vocab)
ALL_METHODS = pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)


class Plain(Method):
    """As little as a method has to be."""

    name, summary, source = "plain", "nothing", "here"

    def start(self, setting: Setting) -> Stepper:
        raise NotImplementedError


# -- what passes between a sequence and a method ------------------------------------------------


def test_only_a_token_is_no_exploration() -> None:
    mixed = Mixture(np.array([1]), np.array([1.0]))
    assert not Decision(Token(1)).explored
    assert Decision(mixed).explored
    assert Decision(Vector(np.zeros(2, np.float32))).explored


def test_a_decision_asks_for_nothing_by_itself() -> None:
    assert Decision(Token(1)) == (Token(1), None, None, None, False, False, False, None)
    assert Decision._fields == (
        "next_input", "entropy", "token", "mode", "silent", "last", "needs_hidden", "kept",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("thinking", "after", "keeps"),
    [(True, None, True), (True, True, True), (True, False, False), (False, None, False), (False, True, False)],
)
def test_thinking_is_kept_if_open_before_the_drawn_token_and_after_it(
    thinking: bool, after: bool | None, keeps: bool
) -> None:
    asked: list[int] = []
    known = None if after is None else lambda token: asked.append(token) or after
    found = StepView(TORN, Distribution(np.array([A]), np.ones(1)), B, 1.0, thinking, known)
    assert found.keeps_thinking() is keeps
    assert asked == ([B] if thinking and after is not None else [])


def test_noise_is_reproducible_and_not_that_of_the_draws() -> None:
    def numbers(seed: int) -> list[float]:
        return list(Setting(WORDS, ALL, 10, seed).noise().random(4))

    assert numbers(7) == numbers(7)
    assert numbers(7) != numbers(8)
    assert numbers(0) != numbers(1)
    assert Setting(WORDS, ALL, 10).noise().random() == numbers(0)[0]
    for seed in (0, 7, 2**32, 2**63 - 1):
        draws = np.random.Generator(np.random.PCG64(seed))  # as the sequence's own
        assert not set(numbers(seed)) & set(draws.random(100))


# -- sampling -----------------------------------------------------------------------------------


def test_a_method_without_defaults_of_its_own_has_the_general_ones() -> None:
    assert Plain().sampling({}) == SamplingConfig()
    assert Plain().sampling({"top_p": 0.5, "seed": 4}) == SamplingConfig(top_p=0.5, seed=4)


@ALL_METHODS
def test_what_is_given_goes_before_the_method_s_default_and_that_before_the_general_one(cls: type[Method]) -> None:
    general = dataclasses.asdict(SamplingConfig())
    assert set(cls.sampling_defaults) <= set(general)
    assert dataclasses.asdict(cls().sampling({})) == {**general, **cls.sampling_defaults}
    given: dict[str, Any] = {"temperature": 0.9, "top_k": 7, "top_p": 0.8, "min_p": 0.2, "greedy": True, "seed": 5}
    assert dataclasses.asdict(cls().sampling(given)) == {**general, **given}
    for name, value in given.items():
        expected = {**general, **cls.sampling_defaults, name: value}
        assert dataclasses.asdict(cls().sampling({name: value})) == expected


def test_only_soft_thinking_has_filters_of_its_own() -> None:
    assert {name: dict(cls.sampling_defaults) for name, cls in METHODS.items() if cls.sampling_defaults} == {
        "soft-thinking": {"top_k": 30, "min_p": 0.001}
    }


@ALL_METHODS
def test_unknown_and_bad_sampling_is_refused(cls: type[Method]) -> None:
    with pytest.raises(OptionError, match=r"'heat'.*temperature, top_k, top_p"):
        cls().sampling({"heat": 1})
    with pytest.raises(OptionError, match="top_p"):
        cls().sampling({"top_p": -0.1})


@ALL_METHODS
def test_temperature_zero_is_greedy(cls: type[Method]) -> None:
    """The methods that mix keep a temperature for it. One that a file recommends is meant like that, too."""
    for sampling in (
        cls().sampling({"temperature": 0, "top_k": 3}),
        cls().sampling({"top_k": 3}, {"temperature": 0.0}),
    ):
        assert sampling.top_k == 3
        if cls.feeds_vectors:
            assert sampling.greedy and sampling.temperature == cls().sampling({}).temperature > 0
        else:
            assert sampling.temperature == 0


# -- every method -------------------------------------------------------------------------------


@ALL_METHODS
def test_a_method_says_what_it_is(cls: type[Method]) -> None:
    method = cls()
    assert method.name and method.summary and method.source
    assert method.entropy_unit in ("normalised", "nats")
    assert method.n_candidates >= 1
    assert not method.needs_hidden or method.feeds_vectors
    assert cls.__doc__


@ALL_METHODS
def test_its_options_are_documented_and_fixed(cls: type[Method]) -> None:
    for field in dataclasses.fields(cls):
        assert field.metadata["help"], field.name
        flags = field.metadata["flags"]
        assert flags or field.metadata.get("cli") is False, field.name
        assert all(flag.startswith("--") for flag in flags)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(cls(), field.name, 1)
    with pytest.raises(OptionError, match="'no_such'"):
        from_mapping(cls, {"no_such": 1})


@ALL_METHODS
def test_options_are_given_by_name(cls: type[Method]) -> None:
    names = ", ".join(field.name for field in dataclasses.fields(cls)) or "none"
    for values in ((0.4,), (None,), (3, 0.4)):
        with pytest.raises(OptionError) as refused:
            cls(*values)  # the first field is not meant by it
        first = repr(values[0])
        assert str(refused.value) == f"{cls.__name__} takes named options only, but got {first} (options: {names})"
    for made in (copy.deepcopy(cls()), pickle.loads(pickle.dumps(cls())), dataclasses.replace(cls())):
        assert made == cls() and type(made) is cls


def test_a_bare_number_is_answered_with_tau() -> None:
    with pytest.raises(OptionError, match=r"Selar .*got 0\.4 .*\btau\b"):
        sl.Selar(0.4)  # type: ignore[misc]


@ALL_METHODS
def test_a_step_of_any_method(cls: type[Method]) -> None:
    stepper = start(cls(), WORDS)
    assert stepper.sampling is None
    hidden = np.ones(4, np.float32)
    for token in (A, B, WORDS["7"], WORDS["</think>"], C):
        found = stepper(view(TORN, token, n=cls().n_candidates, hidden=hidden))
        assert found.explored == (not isinstance(found.next_input, Token))
        assert not found.explored or cls.feeds_vectors
        assert found.entropy is None or 0 <= found.entropy <= (1 if cls.entropy_unit == "normalised" else 2)
        assert found.silent or not found.needs_hidden


@ALL_METHODS
@pytest.mark.parametrize("greedy", [False, True])
def test_a_generation_of_any_method_is_repeatable(cls: type[Method], greedy: bool) -> None:
    """One instance serves two sequences, and nothing is left over from the first."""
    method = cls()
    one, two = (generate(method, linear(WORDS.n_vocab), WORDS, greedy=greedy) for _ in range(2))
    assert one.events == two.events and len(one.events) == 40
    if not cls.greedy and not greedy and cls is not sl.SoftThinking:  # those draw nothing
        assert generate(method, linear(WORDS.n_vocab), WORDS, seed=4).tokens != one.tokens


@ALL_METHODS
def test_a_prompt_stays_as_it_is_but_for_coconut_s_newline(cls: type[Method]) -> None:
    for text in ("", "a", "a\n", "a \n\n"):
        assert cls().prompt_text(text) == (text + "\n" if cls is sl.Coconut and not text.endswith("\n") else text)


@ALL_METHODS
def test_nothing_is_calibrated_that_needs_no_calibration(cls: type[Method]) -> None:
    def never(k: int, gate_on: str) -> float:
        raise AssertionError("asked for a tau")

    method = cls()
    assert method.fitted(never) is method


def test_an_unknown_option_of_a_method_is_an_option_error() -> None:
    with pytest.raises(OptionError, match=r"Selar has no option 'tua' \(options: k, tau"):
        sl.Selar(tua=1)  # type: ignore[call-arg]
