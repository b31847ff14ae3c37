"""Soft Thinking's oracle against examples worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest

from .methods import Filters, noise_generator
from .scripted import ALL, FALLING, HALVES, Scripted, cases, close, logits_of, trace
from .soft_thinking import SoftState, SoftThinking, soft_thinking, soft_thinking_step
from .weights import Array

# Tokens 0 to 3 are words, 4 ends the thinking, 5 the text.
LOW, HIGH = logits_of(0.96, 0.04, 0, 0, 0, 0), logits_of(0.2, 0.4, 0.2, 0.2, 0, 0)
CLOSING, ENDING = logits_of(0.01, 0.01, 0, 0, 0.98, 0), logits_of(0.01, 0.01, 0, 0, 0, 0.98)
NATS = -sum(p * log(p) for p in (0.4, 0.3, 0.2, 0.1))
SHARP_NATS = log(30) - (16 * log(16) + 9 * log(9) + 4 * log(4)) / 30  # at half the temperature
SOFT = SoftThinking(ALL, think_end=4)


@cases(
    ("options", "ids", "weights", "entropy"),
    [
        ({}, [0, 1, 2, 3], [0.4, 0.3, 0.2, 0.1], NATS),
        ({"max_topk": 2}, [0, 1], [4 / 7, 3 / 7], NATS),
        ({"filters": Filters(1.0, 3, 1.0, 0.6), "max_topk": 5}, [0, 1], [4 / 7, 3 / 7], NATS),
        ({"filters": Filters(1.0, 0, 0.5, 0.0), "max_topk": 1}, [0], [1.0], NATS),
        ({"filters": Filters(0.5, 2, 1.0, 0.0)}, [0, 1], [16 / 25, 9 / 25], SHARP_NATS),
    ],
)
def test_soft_thinking_mixes_what_is_left_and_measures_all(options: Any, ids: Any, weights: Any, entropy: Any) -> None:
    step, state = soft_thinking_step(SoftState(), FALLING, np.eye(6), replace(SOFT, **options), 0.99)
    assert (trace([step]), step.ids.tolist(), state) == ("0+s", ids, SoftState())
    close(step.weights, weights)
    close(step.vector[ids], weights)
    assert step.entropy == pytest.approx(entropy, abs=1e-12)


class FixedNoise:
    """Hands out these values and notes the arguments."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values, self.asked = np.array(values), []
        self.gumbel = lambda size: self._given([size])
        self.dirichlet = lambda alpha: self._given(alpha.tolist())

    def _given(self, asked: list[float]) -> Array:
        self.asked += asked
        return self.values


# log q + G is log of 1/2, 1 and 1/4; over t 0.5 that squares them: 4, 16 and 1 of 21.
@cases(
    ("kind", "temperature", "values", "asked", "ids", "weights"),
    [
        ("gumbel", None, (0, log(4), 0), [3], [1, 0, 2], [16 / 21, 4 / 21, 1 / 21]),
        ("gumbel", 1.0, (0, log(4), 0), [3], [1, 0, 2], [4 / 7, 2 / 7, 1 / 7]),
        ("dirichlet", None, (0.3, 0.3, 0.4), [0.5, 0.25, 0.25], [2, 0, 1], [0.4, 0.3, 0.3]),
        ("dirichlet", 0.25, (0.1, 0.2, 0.7), [2.0, 1.0, 1.0], [2, 1, 0], [0.7, 0.2, 0.1]),
    ],
)
def test_noise(kind: Any, temperature: Any, values: Any, asked: Any, ids: list[int], weights: list[float]) -> None:
    noise: Any = FixedNoise(values)
    settings = replace(SOFT, noise=kind, noise_temperature=temperature)
    step, _ = soft_thinking_step(SoftState(), HALVES, np.eye(6), settings, None, noise)
    assert (step.token, step.ids.tolist()) == (ids[0], ids)
    close(noise.asked, asked)
    close(step.weights, weights)
    close(step.vector[ids], weights)


def test_noise_is_drawn_anew_at_each_soft_step_and_never_after() -> None:
    noise, twin = noise_generator(3), noise_generator(3)
    settings = replace(SOFT, noise="gumbel", max_topk=2, cold_stop_entropy=9.0, cold_stop_steps=3)
    steps = list(soft_thinking(Scripted(*[FALLING] * 5), [0], 5, settings=settings, noise=noise))
    for step in steps[:2]:
        powers = np.exp(2 * (np.log([4 / 7, 3 / 7]) + twin.gumbel(size=2)))
        close(np.sort(step.weights), np.sort(powers / powers.sum()))
    twin.gumbel(size=2)
    assert [step.mode for step in steps] == ["soft", "soft", "normal", "normal", "normal"]
    assert noise.random() == twin.random()
    with pytest.raises(ValueError, match="generator"):
        next(soft_thinking(Scripted(FALLING), [0], 1, settings=settings))


def test_the_think_end_token_is_fed_and_ends_soft_thinking() -> None:
    model = Scripted(FALLING, CLOSING, FALLING, CLOSING, ENDING, FALLING)
    draws = [0.99, 0.99, 0.75, 0.5, 0.5]
    steps = list(soft_thinking(model, [7], 9, settings=SOFT, uniforms=draws, end_ids={5}))
    assert trace(steps) == "0+s 4-n 2-n 4-n 5-n"
    assert [s.entropy is None for s in steps] == [False, False, True, True, True]
    close(model.fed[1], [[0.4, 0.3, 0.2, 0.1, 0, 0]])
    assert [model.fed[0], *model.fed[2:]] == [[7], [4], [2], [4]]


def test_after_thinking_the_filters_are_the_same_without_min_p_or_their_own() -> None:
    def drawn(settings: SoftThinking, uniform: float) -> int:
        return soft_thinking_step(SoftState(over=True), FALLING, np.eye(6), settings, uniform)[0].token

    narrow = replace(SOFT, filters=Filters(1.0, 3, 1.0, 0.9))
    assert [drawn(narrow, u) for u in (0.43, 0.45, 0.99)] == [0, 1, 2]
    assert [drawn(replace(narrow, after=Filters(0.5, 0, 1.0, 0.0)), u) for u in (0.53, 0.54, 0.99)] == [0, 1, 3]
    assert trace(soft_thinking(Scripted(FALLING), [0], 1, settings=SOFT, closed=True)) == "0-n"
    assert (SoftThinking().filters, SoftThinking().max_topk) == (Filters(0.6, 30, 0.95, 0.001), 10)


@cases(
    ("think_end", "script", "expected"),
    [
        (4, [LOW, LOW, LOW, LOW], "0+s 0+s 4-n 0-n"),
        (4, [LOW, LOW, HIGH, LOW, LOW, LOW], "0+s 0+s 1+s 0+s 0+s 4-n"),  # a high entropy starts the count anew
        (4, [LOW, LOW, ENDING, LOW], "0+s 0+s 5-s"),  # an end token shown wins
        (4, [LOW, CLOSING, LOW, LOW], "0+s 4-n 1-n 0-n"),
        (None, [LOW, LOW, LOW, LOW], "0+s 0+s 1-n 0-n"),  # the third is drawn (0.97), not the first of the mixture
        (None, [LOW, LOW, ENDING, LOW], "0+s 0+s 5-s"),
    ],
)
def test_cold_stop(think_end: int | None, script: list[Array], expected: str) -> None:
    settings = replace(SOFT, think_end=think_end, cold_stop_entropy=0.2, cold_stop_steps=3)
    draws = [0.0, 0.0, 0.97, 0.0, 0.0, 0.0]
    steps = soft_thinking(Scripted(*script), [0], len(script), settings=settings, end_ids={5}, uniforms=draws)
    assert trace(steps) == expected
