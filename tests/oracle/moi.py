"""Mixture of Inputs written from its definition."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Literal

import numpy as np

from .methods import (
    Allowed,
    Filters,
    Ids,
    always,
    by_falling_value,
    draw,
    entropy_in_nats,
    filtered_distribution,
    normalised_entropy,
)
from .transformer import ModelInput, Transformer, softmax
from .weights import Array


@dataclass(frozen=True)
class MoI:
    """Mixture of Inputs' settings."""

    beta: float = 1.0
    candidates: int = 20
    mix_on: Literal["raw", "filtered"] = "raw"
    normaliser: Literal["candidates", "vocabulary"] = "candidates"
    direct_mixture: bool = False  # the candidates alone
    scope: Literal["all", "thinking"] = "all"
    tau: float | None = None  # None: no gate
    k: int = 3  # of the gate
    guarded: frozenset[int] = frozenset()  # with a gate, drawing one of these ids feeds the token


@dataclass(frozen=True)
class MoIStep:
    """One generated token and what decided the input that follows it."""

    token: int
    entropy: float  # the gate's where there is one, else the one that sets the blend
    explored: bool
    ids: Ids | None  # of the blend; None where the next input is the token, like the two below
    weights: Array | None
    vector: Array | None
    logits: Array


def moi_step(
    logits: Array,
    rows: Array,
    filters: Filters,
    settings: MoI,
    uniform: float | None,
    *,
    end_ids: Collection[int] = (),
    allowed: Allowed = always,
) -> MoIStep:
    """Draw a token and blend its row with the others. `allowed` says whether the token is within the scope."""
    ids, probabilities = filtered_distribution(logits, filters)
    token = draw(ids, probabilities, uniform)
    if settings.mix_on == "raw":
        ids, probabilities = by_falling_value(logits), softmax(np.sort(logits)[::-1])
    shares = probabilities[: settings.candidates] / probabilities[: settings.candidates].sum()
    if settings.normaliser == "candidates":
        entropy = entropy_in_nats(shares) / log(settings.candidates)
    else:
        entropy = entropy_in_nats(probabilities) / log(len(logits))
    # (H sum p_i E_i + (beta + 1 - H) E_y) / (beta + 1), the paper's way to write it.
    weights = np.zeros(len(logits))
    if settings.direct_mixture:
        weights[ids[: settings.candidates]] = shares
    else:
        weights[ids[: settings.candidates]] = entropy * shares
        weights[token] += settings.beta + 1.0 - entropy
        weights /= settings.beta + 1.0
    opened = True
    if settings.tau is not None:
        entropy = normalised_entropy(filtered_distribution(logits, filters)[1], settings.k)
        opened = entropy >= settings.tau and token not in settings.guarded
    mixed = np.flatnonzero(weights)
    if not opened or not allowed(token) or token in end_ids or (len(mixed) == 1 and mixed[0] == token):
        return MoIStep(token, entropy, False, None, None, None, logits)
    return MoIStep(token, entropy, True, mixed, weights[mixed], weights[mixed] @ rows[mixed], logits)


def moi(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    settings: MoI | None = None,
    uniforms: Sequence[float] | None = None,
) -> Iterator[MoIStep]:
    """Decode at most `n_steps` tokens; greedy without `uniforms`. A token of `end_ids` ends the text."""
    cache = transformer.new_cache()
    inputs: Sequence[ModelInput] = prompt
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        step = moi_step(logits, transformer.rows, filters or Filters(), settings or MoI(), uniform, end_ids=end_ids)
        yield step
        if step.token in end_ids:
            return
        inputs = [step.token if step.vector is None else step.vector]
