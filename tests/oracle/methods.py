"""CoT and SeLaR decoding written from their definitions, one plain step at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np
import numpy.typing as npt

from .transformer import ModelInput, Transformer, softmax
from .weights import Array

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Filters:
    """The filters on the next token's distribution, in the order they act."""

    temperature: float = 0.6
    top_k: int = 20  # 0: all
    top_p: float = 0.95  # 1 or more: all
    min_p: float = 0.0


@dataclass(frozen=True)
class Selar:
    """SeLaR's settings."""

    k: int = 3
    tau: float = 0.5
    contrast: float = 1.0
    guarded: frozenset[int] = frozenset()  # drawing one of these ids makes a step certain
    gate_on: Literal["filtered", "full"] = "filtered"


@dataclass(frozen=True)
class Step:
    """One generated token and what decided the input that follows it."""

    token: int
    entropy: float  # normalised entropy of the k largest probabilities, 0..1
    explored: bool
    ids: Ids  # the k most probable tokens; fewer where the filters left fewer
    probabilities: Array  # theirs in the filtered distribution (not renormalised over the k)
    weights: Array | None  # theirs in the vector, None at a certain step
    vector: Array | None  # the next input as a mix of unscaled rows, None where it is the token
    logits: Array


def by_falling_value(values: Array) -> Ids:
    """Indices from the largest value to the smallest; of equal ones the lower index first."""
    return np.argsort(-values, kind="stable")


def filtered_distribution(logits: Array, filters: Filters) -> tuple[Ids, Array]:
    """Ids that survive temperature, top_k, top_p and min_p, most probable first, and their probabilities."""
    ids = by_falling_value(logits)
    if filters.top_k > 0:
        ids = ids[: filters.top_k]
    probabilities = softmax(logits[ids] / filters.temperature)
    if filters.top_p < 1.0:
        exceeding = np.flatnonzero(np.cumsum(probabilities) > filters.top_p)
        if len(exceeding) > 0:
            probabilities = probabilities[: exceeding[0] + 1]
    probabilities = probabilities[probabilities >= filters.min_p * probabilities[0]]
    return ids[: len(probabilities)], probabilities / probabilities.sum()


def normalised_entropy(probabilities: Array, k: int) -> float:
    """Entropy of the k largest probabilities, renormalised, over log k."""
    if k == 1:
        return 0.0
    largest = np.sort(probabilities)[::-1][:k]
    shares = largest[largest > 0.0] / largest.sum()
    return float(np.clip(-(shares * np.log(shares)).sum() / log(k), 0.0, 1.0))


def draw(ids: Ids, probabilities: Array, uniform: float | None) -> int:
    """The most probable id (uniform None), or the first whose cumulative probability exceeds `uniform`."""
    if uniform is None:
        return int(ids[0])
    exceeding = np.flatnonzero(np.cumsum(probabilities) > uniform)
    # Rounding can leave the sum of all a hair below a number close to 1.
    return int(ids[exceeding[0]] if len(exceeding) > 0 else ids[-1])


def soft_vector(shares: Array, rows: Array, strength: float) -> Array:
    """The mix of rows, moved away from the most probable (first) row by `strength` times their difference."""
    mixed = shares @ rows
    return mixed + strength * (mixed - rows[0])


def soft_weights(shares: Array, strength: float) -> Array:
    """Weight of each row in `soft_vector`."""
    weights = (1.0 + strength) * shares
    weights[0] -= strength
    return weights


def selar_step(logits: Array, rows: Array, filters: Filters, selar: Selar, uniform: float | None) -> Step:
    """Draw a token and decide whether a mixture is fed in its place.

    With `gate_on="full"` the unfiltered entropy takes the place of h everywhere: in the gate and in the
    strength of the contrast.
    """
    ids, probabilities = filtered_distribution(logits, filters)
    token = draw(ids, probabilities, uniform)
    gated = probabilities if selar.gate_on == "filtered" else softmax(logits / filters.temperature)
    entropy = normalised_entropy(gated, selar.k)
    explored = entropy >= selar.tau and token not in selar.guarded
    ids, probabilities = ids[: selar.k], probabilities[: selar.k]
    weights = vector = None
    if explored:
        shares, strength = probabilities / probabilities.sum(), selar.contrast * entropy
        weights, vector = soft_weights(shares, strength), soft_vector(shares, rows[ids], strength)
    return Step(token, entropy, explored, ids, probabilities, weights, vector, logits)


def selar(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    settings: Selar | None = None,
    uniforms: Sequence[float] | None = None,
) -> Iterator[Step]:
    """Decode at most `n_steps` tokens; greedy without `uniforms`, else step i draws with uniforms[i].

    A token of `end_ids` is yielded and ends the text.
    """
    filters, settings = filters or Filters(), settings or Selar()
    cache = transformer.new_cache()
    inputs: Sequence[ModelInput] = prompt
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        step = selar_step(logits, transformer.rows, filters, settings, uniform)
        yield step
        if step.token in end_ids:
            return
        inputs = [step.token if step.vector is None else step.vector]


def cot(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    k: int = 3,
    uniforms: Sequence[float] | None = None,
) -> Iterator[Step]:
    """Decode with the drawn token as every next input; `k` is only what the entropy is measured over."""
    # No normalised entropy reaches 2, so the gate never opens.
    never = Selar(k=k, tau=2.0)
    return selar(transformer, prompt, n_steps, end_ids=end_ids, filters=filters, settings=never, uniforms=uniforms)
