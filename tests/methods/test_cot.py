"""Plain decoding, and how methods are found by name."""

from __future__ import annotations

import numpy as np
import pytest

import selar_local as sl
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import DEFAULT_METHOD, METHODS, method_class
from selar_local.methods.base import Setting, StepView, Token
from selar_local.methods.distribution import Distribution

from .fakes import Words, generate, linear


class Unasked:
    """A vocabulary that nobody may ask."""

    n_vocab = 4

    def encode(self, text: str) -> list[int]:
        raise AssertionError("plain decoding has no use for the vocabulary")

    def token_of(self, text: str) -> int | None:
        raise AssertionError("plain decoding has no use for the vocabulary")

    def is_end(self, token: int) -> bool:
        raise AssertionError("the engine asks that")


@pytest.mark.parametrize("method", [sl.CoT(), sl.CoTGreedy()])
@pytest.mark.parametrize("token", [0, 3])
def test_the_drawn_token_is_fed(method: sl.Method, token: int) -> None:
    distribution = Distribution(np.arange(4), np.full(4, 0.25))
    decision = method.start(Setting(Unasked(), SamplingConfig(), 10))(
        StepView(np.zeros(4, np.float32), distribution, token, 1.0, True)
    )
    assert decision.next_input == Token(token)
    assert decision.entropy is None and not decision.explored
    assert not method.feeds_vectors and method.n_candidates == 3


def test_greedy_takes_the_most_probable_token_at_every_step() -> None:
    words = Words()
    model, seen = linear(words.n_vocab), linear(words.n_vocab)
    chosen = 5
    for token in generate(sl.CoTGreedy(), model, words).tokens:
        assert token == seen(Token(chosen))[0].argmax()
        chosen = token
    assert sl.CoTGreedy().greedy and not sl.CoT().greedy
    drawn, greedy = (generate(sl.CoT(), linear(words.n_vocab), words, greedy=greedy).tokens for greedy in (False, True))
    assert drawn != greedy == generate(sl.CoTGreedy(), linear(words.n_vocab), words).tokens


def test_methods_are_found_by_name() -> None:
    assert {"selar": sl.Selar, "cot": sl.CoT, "cot-greedy": sl.CoTGreedy}.items() <= METHODS.items()
    assert all(method_class(name) is cls and cls.name == name for name, cls in METHODS.items())
    assert DEFAULT_METHOD == "selar"
    assert list(METHODS) == ["selar", *sorted(set(METHODS) - {"selar"})]
    with pytest.raises(OptionError, match=r"unknown method 'magic'.*selar"):
        method_class("magic")
