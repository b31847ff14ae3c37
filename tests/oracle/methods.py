"""What the methods share (filters, draws, entropies), and CoT and SeLaR written from their definitions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from .transformer import ModelInput, Transformer, softmax
from .weights import Array

Ids = npt.NDArray[np.int64]
Mode = Literal["soft", "normal"]
Allowed = Callable[[int], bool]  # whether a step may explore that drew this token
Thinking = Callable[[Sequence[int]], bool]  # whether thinking is open after these generated tokens


@dataclass(frozen=True)
class Filters:
    """The filters on the next token's distribution, in the order they act."""

    temperature: float = 0.6
    top_k: int = 20  # 0: all
    top_p: float = 0.95  # 1 or more: all
    min_p: float = 0.0
    typical: float = 1.0  # 1: all
    xtc: float | None = None  # the threshold, where it acts in this step


@dataclass(frozen=True)
class Selar:
    """SeLaR's settings."""

    k: int = 3
    tau: float = 0.5
    contrast: float = 1.0
    guarded: frozenset[int] = frozenset()  # drawing one of these ids makes a step certain
    gate_on: Literal["filtered", "full"] = "filtered"
    strict_gate: bool = False  # explore above tau only, not at it
    invert_gate: bool = False  # explore where the gate would be closed
    gate_by: Literal["h", "p-max"] = "h"  # p-max: the inverted gate opens at a largest probability of tau
    scope: Literal["all", "thinking"] = "all"
    repel: int = 1  # move away from the mean of this many of the most probable candidates
    anchor: float = 1.0  # the mixture's share; the rest is the drawn token's
    show: Literal["drawn", "heaviest"] = "drawn"
    max_share: float = 1.0  # of the steps so far, those of the highest entropies may explore
    batch_gate: bool = False  # one text that explores makes all explore

    def __post_init__(self) -> None:
        if not 1 <= self.repel < max(self.k, 2):
            raise ValueError(f"repel {self.repel} is not below k {self.k}")
        if self.gate_by == "p-max" and not self.invert_gate:
            raise ValueError("the largest probability is for the inverted gate")
        if self.batch_gate and self.max_share < 1:
            raise ValueError("max_share limits one text, batch_gate couples several")


@dataclass(frozen=True)
class Step:
    """One generated token and what decided the input that follows it."""

    token: int  # the one shown
    entropy: float  # normalised entropy of the k largest probabilities, 0..1
    explored: bool
    ids: Ids  # the k most probable tokens; fewer where the filters left fewer
    probabilities: Array  # theirs in the filtered distribution (not renormalised over the k)
    weights: Array | None  # those of `mixed_ids` in the vector, None at a certain step
    vector: Array | None  # the next input as a mix of unscaled rows, None where it is the token
    logits: Array
    drawn: int
    mixed_ids: Ids | None  # `ids`, and the drawn token behind them where an anchor brings it in
    opened: bool = False  # it would explore if `max_share` were 1
    rank: float = 0.0  # of the open steps those of the highest ranks may explore


@dataclass(frozen=True)
class LatentStep:
    """One generated token of the methods other than SeLaR, and the input that follows it."""

    token: int  # the one shown
    entropy: float | None  # what the method goes by, in nats
    explored: bool  # the next input is not the token
    mode: Mode
    ids: Ids | None  # of the mixture; None where the next input is the token, like the two below
    weights: Array | None
    vector: Array | None  # the next input as a mix of unscaled rows
    logits: Array


def uniform_numbers(seed: int, count: int) -> list[float]:
    """The numbers that tokens are drawn with: one a step, used or not."""
    return np.random.Generator(np.random.PCG64(seed)).random(count).tolist()


def noise_generator(seed: int) -> np.random.Generator:
    """Where noise comes from, so that it leaves the draws alone."""
    return np.random.Generator(np.random.PCG64([seed, 1]))


def by_falling_value(values: Array) -> Ids:
    """Indices from the largest value to the smallest; of equal ones the lower index first."""
    return np.argsort(-values, kind="stable")


def filtered_distribution(logits: Array, filters: Filters) -> tuple[Ids, Array]:
    """Ids that survive all filters, in the order of their names, most probable first, and their probabilities."""
    ids = np.arange(len(logits))
    if 0 < filters.top_k < len(logits):  # those alike at the end are sorted out below
        ids = np.flatnonzero(logits >= np.partition(logits, -filters.top_k)[-filters.top_k])
    ids = ids[by_falling_value(logits[ids])][: filters.top_k or None]
    probabilities = softmax(logits[ids] / filters.temperature)
    if filters.typical < 1.0:
        ids, probabilities = most_typical(ids, probabilities, filters.typical)
    if filters.top_p < 1.0:
        exceeding = np.flatnonzero(np.cumsum(probabilities) > filters.top_p)
        if len(exceeding) > 0:
            probabilities = probabilities[: exceeding[0] + 1]
    probabilities = probabilities[probabilities >= filters.min_p * probabilities[0]]
    ids, probabilities = ids[: len(probabilities)], probabilities / probabilities.sum()
    if filters.xtc is not None:
        probable = np.flatnonzero(probabilities >= filters.xtc)
        if len(probable) > 1:
            ids, probabilities = ids[probable[-1] :], probabilities[probable[-1] :]
    return ids[: len(probabilities)], probabilities / probabilities.sum()


def most_typical(ids: Ids, probabilities: Array, share: float) -> tuple[Ids, Array]:
    """Those whose surprise is nearest to the expected one, until they have more than `share` of the probability."""
    positive = probabilities > 0
    surprise = np.full(len(ids), np.inf)
    surprise[positive] = -np.log(probabilities[positive])
    order = np.argsort(np.abs(surprise - entropy_in_nats(probabilities)), kind="stable")
    taken, total = [], 0.0
    for place in order.tolist():
        taken.append(place)
        total += probabilities[place]
        if total > share:
            break
    taken.sort()
    return ids[taken], probabilities[taken] / probabilities[taken].sum()


def entropy_in_nats(probabilities: Array) -> float:
    """-sum p log p, with 0 log 0 = 0."""
    positive = probabilities[probabilities > 0.0]
    return float(-(positive * np.log(positive)).sum())


def normalised_entropy(probabilities: Array, k: int) -> float:
    """Entropy of the k largest probabilities, renormalised, over log k."""
    if k == 1:
        return 0.0
    largest = np.sort(probabilities)[::-1][:k]
    return float(np.clip(entropy_in_nats(largest / largest.sum()) / log(k), 0.0, 1.0))


def draw(ids: Ids, probabilities: Array, uniform: float | None) -> int:
    """The most probable id (uniform None), or the first whose cumulative probability exceeds `uniform`."""
    if uniform is None:
        return int(ids[0])
    exceeding = np.flatnonzero(np.cumsum(probabilities) > uniform)
    # Rounding can leave the sum of all a hair below a number close to 1.
    return int(ids[exceeding[0]] if len(exceeding) > 0 else ids[-1])


def soft_vector(shares: Array, rows: Array, strength: float, repel: int = 1) -> Array:
    """The mix of rows, moved away from that of the `repel` first ones by `strength` times their difference."""
    mixed = shares @ rows
    centre = shares[:repel] @ rows[:repel] / shares[:repel].sum()
    return mixed + strength * (mixed - centre)


def soft_weights(shares: Array, strength: float, repel: int = 1) -> Array:
    """Weight of each row in `soft_vector`."""
    weights = (1.0 + strength) * shares
    weights[:repel] -= strength * shares[:repel] / shares[:repel].sum()
    return weights


def anchored(ids: Ids, weights: Array, drawn: int, anchor: float) -> tuple[Ids, Array]:
    """Scale the weights by `anchor` and give the rest to the drawn token, which may be a new id."""
    if anchor == 1.0:
        return ids, weights
    if drawn not in ids:
        ids, weights = np.append(ids, drawn), np.append(weights, 0.0)
    return ids, (1.0 - anchor) * (ids == drawn) + anchor * weights


def within_share(rank: float, past: Sequence[Step], selar: Selar) -> bool:
    """Whether a step that is open may explore after these.

    The threshold is the n-th highest rank of all open steps, its own included, n the whole part of `max_share` times
    the number of steps. No more than n steps may have explored.
    """
    places = floor(selar.max_share * (len(past) + 1))
    if places < 1 + sum(step.explored for step in past):
        return False
    ranks = np.array([rank, *(step.rank for step in past if step.opened)])
    return len(ranks) <= places or bool(rank >= np.partition(ranks, -places)[-places])


def always(_: int) -> bool:
    """The scope in which every token may explore."""
    return True


def selar_step(
    logits: Array,
    rows: Array,
    filters: Filters,
    selar: Selar,
    uniform: float | None,
    *,
    end_ids: Collection[int] = (),
    allowed: Allowed = always,
    forced: bool = False,
    past: Sequence[Step] = (),
) -> Step:
    """Draw a token and decide whether a mixture is fed in its place.

    With `gate_on="full"` the unfiltered entropy takes the place of h everywhere: in the gate and in the
    strength of the contrast. `allowed` says whether this drawn token is within the scope; `forced` opens the gate
    whatever the entropy, guard and scope say; `past` are the text's earlier steps.
    """
    ids, probabilities = filtered_distribution(logits, filters)
    drawn = draw(ids, probabilities, uniform)
    gated = probabilities if selar.gate_on == "filtered" else softmax(logits / filters.temperature)
    entropy = normalised_entropy(gated, selar.k)
    rank = float(gated.max()) if selar.gate_by == "p-max" else entropy
    opened = rank > selar.tau if selar.strict_gate else rank >= selar.tau
    if selar.gate_by == "h" and selar.invert_gate:
        opened, rank = not opened, -rank
    opened = opened and drawn not in selar.guarded and allowed(drawn)
    explored = forced or (opened and within_share(rank, past, selar))
    ids, probabilities = ids[: selar.k], probabilities[: selar.k]
    if not explored or drawn in end_ids:
        return Step(drawn, entropy, False, ids, probabilities, None, None, logits, drawn, None, opened, rank)
    shares, strength = probabilities / probabilities.sum(), selar.contrast * entropy
    mixed_ids, weights = anchored(ids, soft_weights(shares, strength, selar.repel), drawn, selar.anchor)
    vector = soft_vector(shares, rows[ids], strength, selar.repel)
    vector = (1.0 - selar.anchor) * rows[drawn] + selar.anchor * vector
    token = int(mixed_ids[weights.argmax()]) if selar.show == "heaviest" else drawn
    return Step(token, entropy, True, ids, probabilities, weights, vector, logits, drawn, mixed_ids, opened, rank)


class Scoped(Protocol):
    """Settings with a scope."""

    @property
    def scope(self) -> Literal["all", "thinking"]:
        """Where a step may explore."""


def scope_after(shown: Sequence[int], settings: Scoped, thinking: Thinking | None) -> Allowed:
    """Which tokens may explore after those shown: within the thinking, only where it is open and stays so."""
    if settings.scope == "all":
        return always
    if thinking is None:
        raise ValueError("the scope needs to be told whether thinking is open")
    before = thinking(shown)
    return lambda token: before and thinking([*shown, token])


def selar(
    transformer: Transformer,
    prompt: Sequence[int],
    n_steps: int,
    *,
    end_ids: Collection[int] = (),
    filters: Filters | None = None,
    settings: Selar | None = None,
    uniforms: Sequence[float] | None = None,
    thinking: Thinking | None = None,
) -> Iterator[Step]:
    """Decode at most `n_steps` tokens; greedy without `uniforms`, else step i draws with uniforms[i].

    A token of `end_ids` is yielded and ends the text. `thinking` tells whether it is open after the tokens shown.
    """
    filters, settings = filters or Filters(), settings or Selar()
    cache = transformer.new_cache()
    inputs: Sequence[ModelInput] = prompt
    past: list[Step] = []
    for number in range(n_steps):
        logits = transformer.forward(inputs, cache)
        uniform = None if uniforms is None else uniforms[number]
        allowed = scope_after([step.token for step in past], settings, thinking)
        step = selar_step(
            logits, transformer.rows, filters, settings, uniform, end_ids=end_ids, allowed=allowed, past=past
        )
        yield step
        if step.token in end_ids:
            return
        inputs = [step.token if step.vector is None else step.vector]
        past.append(step)


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
