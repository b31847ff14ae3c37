"""Multiplex Thinking, inference only, written from its definition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .methods import Filters, Ids, draw, filtered_distribution
from .transformer import ModelInput, Transformer
from .weights import Array

Closes = Callable[[int], bool]  # whether the thinking ends with this token


@dataclass(frozen=True)
class Multiplex:
    """Multiplex Thinking's settings."""

    draws: int = 3
    averaged: bool = False  # weights are n / K, not n p
    show: Literal["drawn", "heaviest"] = "drawn"
    think_end: int | None = None


@dataclass(frozen=True)
class MultiplexStep:
    """One generated token and what decided the input that follows it."""

    token: int
    explored: bool
    ids: Ids | None  # of the mixture; None where the next input is the token, like the two below
    weights: Array | None
    vector: Array | None
    logits: Array
    over: bool  # the thinking is, after this step


def multiplex_step(
    over: bool,
    logits: Array,
    rows: Array,
    filters: Filters,
    settings: Multiplex,
    uniform: float | None,
    noise: np.random.Generator,
    *,
    end_ids: Collection[int] = (),
    closes: Closes = lambda token: False,
) -> MultiplexStep:
    """Draw the tokens of one step. `over`: the thinking is. The first draw is made with `uniform`, or greedily."""
    ids, probabilities = filtered_distribution(logits, filters)
    first = draw(ids, probabilities, uniform)
    if over:
        return MultiplexStep(first, False, None, None, None, logits, True)
    drawn = [first, *(draw(ids, probabilities, noise.random()) for _ in range(settings.draws - 1))]
    likely = dict(zip(ids.tolist(), probabilities.tolist(), strict=True))
    times = Counter(drawn)
    kept = np.array([token for token in ids.tolist() if token in times])
    worth = np.array([times[token] * (1.0 if settings.averaged else likely[token]) for token in kept.tolist()])
    weights = worth / worth.sum()

    def ends(token: int) -> bool:
        return token == settings.think_end or closes(token)

    token = first
    if settings.show == "heaviest" and first not in end_ids and not ends(first):
        token = int(kept[weights.argmax()])
    over = ends(token)
    if over or token in end_ids or len(kept) == 1:
        return MultiplexStep(token, False, None, None, None, logits, over)
    return MultiplexStep(token, True, kept, weights, weights @ rows[kept], logits, over)


def multiplex(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    noise: np.random.Generator,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    settings: Multiplex | None = None,
    uniforms: Sequence[float] | None = None,
    closed: bool = False,
) -> Iterator[MultiplexStep]:
    """Decode at most `n_steps` tokens; `closed` where the prompt has already closed the thinking."""
    cache, over = transformer.new_cache(), closed
    inputs: Sequence[ModelInput] = prompt
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        step = multiplex_step(
            over, logits, transformer.rows, filters or Filters(), settings or Multiplex(), uniform, noise,
            end_ids=end_ids,
        )  # fmt: skip
        yield step
        over = step.over
        if step.token in end_ids:
            return
        inputs = [step.token if step.vector is None else step.vector]
