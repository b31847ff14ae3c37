"""Soft Thinking written from its definition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .methods import Filters, Ids, LatentStep, Mode, by_falling_value, draw, entropy_in_nats, filtered_distribution
from .transformer import ModelInput, Transformer, softmax
from .weights import Array

THINKING = Filters(0.6, 30, 0.95, 0.001)


@dataclass(frozen=True)
class SoftThinking:
    """Soft Thinking's settings."""

    filters: Filters = THINKING
    after: Filters | None = None  # after thinking; None: the same without min_p
    max_topk: int = 10
    noise: Literal["none", "gumbel", "dirichlet"] = "none"
    noise_temperature: float | None = None  # None: 0.5 for gumbel, 1 for dirichlet
    cold_stop_entropy: float = 0.0  # 0: off
    cold_stop_steps: int = 256
    think_end: int | None = None


@dataclass(frozen=True)
class SoftState:
    """What a step leaves to the next one."""

    over: bool = False  # soft thinking is
    low: int = 0  # steps in a row with an entropy below the cold stop's


def noisy(shares: Array, settings: SoftThinking, noise: np.random.Generator | None) -> Array:
    """The shares disturbed, in the same order."""
    if settings.noise == "none":
        return shares
    if noise is None:
        raise ValueError(f"no generator for {settings.noise} noise")
    temperature = settings.noise_temperature
    if settings.noise == "gumbel":
        return softmax((np.log(shares) + noise.gumbel(size=len(shares))) / (temperature or 0.5))
    return noise.dirichlet(shares / (temperature or 1.0))


def soft_mixture(logits: Array, settings: SoftThinking, noise: np.random.Generator | None) -> tuple[Ids, Array]:
    """Ids and weights of the mixture, the heaviest first."""
    ids, probabilities = filtered_distribution(logits, settings.filters)
    ids, probabilities = ids[: settings.max_topk], probabilities[: settings.max_topk]
    ids, probabilities = ids[probabilities > 0.0], probabilities[probabilities > 0.0]
    weights = noisy(probabilities / probabilities.sum(), settings, noise)
    order = by_falling_value(weights)
    return ids[order], weights[order]


def soft_thinking_step(
    state: SoftState,
    logits: Array,
    rows: Array,
    settings: SoftThinking,
    uniform: float | None,
    noise: np.random.Generator | None = None,
    *,
    end_ids: Collection[int] = (),
) -> tuple[LatentStep, SoftState]:
    """Decide one token, what is fed in its place, and whether soft thinking ends with it."""

    def plain(token: int, entropy: float | None, mode: Mode) -> LatentStep:
        return LatentStep(token, entropy, False, mode, None, None, None, logits)

    if state.over:
        after = settings.after or replace(settings.filters, min_p=0.0)
        return plain(draw(*filtered_distribution(logits, after), uniform), None, "normal"), state
    entropy = entropy_in_nats(softmax(logits / settings.filters.temperature))
    ids, weights = soft_mixture(logits, settings, noise)
    token = int(ids[0])
    if token in end_ids:
        return plain(token, entropy, "soft"), state
    low = state.low + 1 if entropy < settings.cold_stop_entropy else 0
    if low > 0 and low >= settings.cold_stop_steps:
        drawn = draw(*filtered_distribution(logits, settings.filters), uniform)
        token = drawn if settings.think_end is None else settings.think_end
        return plain(token, entropy, "normal"), SoftState(over=True)
    if token == settings.think_end:
        return plain(token, entropy, "normal"), SoftState(over=True)
    step = LatentStep(token, entropy, True, "soft", ids, weights, weights @ rows[ids], logits)
    return step, SoftState(low=low)


def soft_thinking(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    settings: SoftThinking | None = None,
    uniforms: Sequence[float] | None = None,
    noise: np.random.Generator | None = None,
    closed: bool = False,
) -> Iterator[LatentStep]:
    """Decode at most `n_steps` tokens; `closed` where the prompt has already closed the thinking.

    Greedy after thinking without `uniforms`. A token of `end_ids` is yielded and ends the text.
    """
    settings, state = settings or SoftThinking(), SoftState(over=closed)
    cache = transformer.new_cache()
    inputs: Sequence[ModelInput] = prompt
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        step, state = soft_thinking_step(state, logits, transformer.rows, settings, uniform, noise, end_ids=end_ids)
        yield step
        if step.token in end_ids:
            return
        inputs = [step.token if step.vector is None else step.vector]
