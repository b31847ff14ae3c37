"""The oracles of Mixture of Inputs and Multiplex Thinking against examples worked by hand."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from .methods import Filters, noise_generator
from .moi import MoI, moi, moi_step
from .multiplex import Multiplex, multiplex, multiplex_step
from .scripted import ALL, FALLING, Scripted, cases, close, logits_of

# The filtered distribution is half the temperature: probabilities squared.
SHARP = Filters(0.5, 0, 1.0, 0.0)
THREE = logits_of(0.5, 0.3, 0.2)
NATS = -sum(p * log(p) for p in (0.5, 0.3, 0.2))
SECOND, FIRST = 0.6, 0.1  # numbers that draw the second token of three, or the first


def blend(uniform: float | None, filters: Filters = ALL, **settings: Any) -> Any:
    return moi_step(THREE, np.eye(3), filters, MoI(candidates=3, **settings), uniform)


@cases(
    ("settings", "entropy", "weights"),
    [
        # Over 20 candidates the published example; the other 17 do not exist.
        ({"candidates": 20}, 0.34371, [0.08593, 0.87970, 0.03437]),
        ({"candidates": 20, "beta": 0.0}, 0.34371, [0.17186, 0.75940, 0.06874]),
        ({"candidates": 20, "beta": 3.0}, 0.34371, [0.04296, 0.93985, 0.01719]),
        ({"candidates": 20, "direct_mixture": True}, 0.34371, [0.5, 0.3, 0.2]),
    ],
)
def test_moi_by_hand(settings: Any, entropy: float, weights: list[float]) -> None:
    step = moi_step(THREE, np.eye(3), ALL, MoI(**settings), SECOND)
    assert (step.token, step.explored, step.ids.tolist()) == (1, True, [0, 1, 2])
    assert step.entropy == pytest.approx(entropy, abs=1e-5)
    close(step.weights, weights, atol=1e-5)
    close(step.vector, step.weights)


def test_moi_over_a_large_vocabulary() -> None:
    logits = np.full(151936, -np.inf)
    logits[[4, 9, 2]] = THREE
    step = moi_step(logits, np.zeros((151936, 2)), ALL, MoI(normaliser="vocabulary"), SECOND)
    assert (step.token, step.ids.tolist()) == (9, [2, 4, 9])
    assert step.entropy == pytest.approx(0.08630, abs=1e-5)
    close(step.weights, [0.00863, 0.02157, 0.96980], atol=1e-5)


def test_moi_mixes_before_the_filters_or_after_them() -> None:
    squares = np.array([25, 9, 4]) / 38
    step = blend(FIRST, SHARP, mix_on="raw")
    a = NATS / log(3) / 2
    close(step.weights, a * np.array([0.5, 0.3, 0.2]) + (1 - a) * np.array([1, 0, 0]))
    step = blend(FIRST, SHARP, mix_on="filtered")
    a = -(squares * np.log(squares)).sum() / log(3) / 2
    close(step.weights, a * squares + (1 - a) * np.array([1, 0, 0]))


def test_moi_gives_a_token_outside_the_candidates_its_weight() -> None:
    step = moi_step(FALLING, np.eye(6), ALL, MoI(candidates=2), 0.95)
    assert (step.token, step.ids.tolist()) == (3, [0, 1, 3])
    shares = np.array([4, 3]) / 7
    a = -(shares * np.log(shares)).sum() / log(2) / 2
    close(step.weights, [a * 4 / 7, a * 3 / 7, 1 - a])


@cases(
    ("settings", "uniform", "explored"),
    [
        ({"tau": 0.9}, SECOND, True),  # h of all three is 0.937
        ({"tau": 0.94}, SECOND, False),
        ({"tau": 0.9, "guarded": frozenset({1})}, SECOND, False),
        ({"tau": 0.9, "guarded": frozenset({1})}, FIRST, True),
        ({"tau": 0.95, "k": 2}, FIRST, True),  # of .625 and .375: 0.954
    ],
)
def test_moi_behind_the_gate(settings: Any, uniform: float, explored: bool) -> None:
    step = blend(uniform, **settings)
    assert step.explored == explored
    k = settings.get("k", 3)
    shares = np.array([0.5, 0.3, 0.2])[:k] / sum([0.5, 0.3, 0.2][:k])
    assert step.entropy == pytest.approx(-(shares * np.log(shares)).sum() / log(k))


def test_moi_decodes() -> None:
    model = Scripted(THREE, logits_of(1, 0, 0), THREE, logits_of(0, 0, 1))
    steps = list(moi(model, [7], 9, filters=ALL, settings=MoI(), uniforms=[SECOND] * 9, end_ids={2}))
    assert [(step.token, step.explored) for step in steps] == [(1, True), (0, False), (1, True), (2, False)]
    assert model.fed[0] == [7] and model.fed[2] == [0]
    close(model.fed[1], [[0.08593, 0.87970, 0.03437]], atol=1e-5)


class Numbers:
    """Hands out these numbers in place of random ones."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = list(numbers)
        self.random = lambda: self.numbers.pop(0)


def several(first: float | None, *more: float, **settings: Any) -> Any:
    noise: Any = Numbers(*more)
    own = Multiplex(draws=len(more) + 1, think_end=settings.pop("think_end", None), **settings)
    return multiplex_step(False, THREE, np.eye(3), ALL, own, first, noise)


@cases(
    ("draws", "settings", "ids", "weights", "token"),
    [
        ((SECOND, FIRST, FIRST), {}, [0, 1], [0.76923, 0.23077], 1),
        ((SECOND, FIRST, FIRST), {"averaged": True}, [0, 1], [0.66667, 0.33333], 1),
        ((SECOND, FIRST, FIRST), {"show": "heaviest"}, [0, 1], [0.76923, 0.23077], 0),
        ((0.99, SECOND), {}, [1, 2], [0.6, 0.4], 2),
        ((0.99, SECOND), {"averaged": True, "show": "heaviest"}, [1, 2], [0.5, 0.5], 1),
        ((None, SECOND, 0.99), {}, [0, 1, 2], [0.5, 0.3, 0.2], 0),
        ((SECOND, FIRST, FIRST), {"think_end": 0}, [0, 1], [0.76923, 0.23077], 1),  # tested is the first draw
    ],
)
def test_multiplex_by_hand(draws: Any, settings: Any, ids: Any, weights: Any, token: int) -> None:
    step = several(*draws, **settings)
    assert (step.token, step.explored, step.over, step.ids.tolist()) == (token, True, False, ids)
    close(step.weights, weights, atol=1e-5)
    close(step.vector[ids], step.weights)


@cases(
    ("draws", "settings", "over"),
    [
        ((FIRST, FIRST, FIRST), {}, False),  # all agree
        ((SECOND,), {}, False),
        ((SECOND, FIRST), {"think_end": 1}, True),
        ((SECOND, FIRST), {"think_end": 1, "show": "heaviest"}, True),  # a drawn one wins
        ((SECOND, FIRST), {"think_end": 0, "show": "heaviest"}, True),  # and one that is shown
    ],
)
def test_multiplex_feeds_a_token(draws: Any, settings: Any, over: bool) -> None:
    step = several(*draws, **settings)
    assert (step.explored, step.over, step.vector) == (False, over, None)


def test_multiplex_decodes() -> None:
    draws = noise_generator(5)
    numbers = noise_generator(5).random(4)
    model = Scripted(THREE, THREE, logits_of(0, 0, 0.5, 0.5)[1:], THREE, THREE)
    first = [SECOND, FIRST, 0.7, SECOND, 0.99]
    own = Multiplex(think_end=2)
    steps = list(multiplex(model, [7], 5, draws, filters=ALL, settings=own, uniforms=first, end_ids={9}))
    for step, pair, drawn in zip(steps, (numbers[:2], numbers[2:]), (1, 0), strict=False):
        tokens = [drawn, *np.searchsorted([0.5, 0.8], pair, side="right").tolist()]
        worth = [tokens.count(i) * p for i, p in enumerate((0.5, 0.3, 0.2))]
        if step.explored:
            close(step.vector, np.array(worth) / sum(worth))
        assert step.explored == (len(set(tokens)) > 1)
    assert [step.over for step in steps] == [False, False, True, True, True]
    assert [step.token for step in steps[2:]] == [2, 1, 2]
    assert model.fed[3:] == [[2], [1]]
    assert [step.explored for step in multiplex(Scripted(THREE), [7], 1, draws, uniforms=[FIRST], closed=True)] == [
        False
    ]
