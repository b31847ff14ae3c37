"""What an oracle makes of a position, and where a small difference may change it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np

from .methods import Filters, Ids, filtered_distribution
from .transformer import ModelInput, softmax
from .weights import Array


@dataclass(frozen=True)
class Known:
    """What the oracles are told of the model, the prompt and the draws."""

    rows: Array
    ends: frozenset[int]  # drawing one of these ends the text
    seed: int = 0
    closed: bool = False  # the prompt has closed the thinking
    opened: bool = False  # the prompt ends with the tag that opens it
    piece: Callable[[int], bytes] = lambda token: b""

    def thinks_after(self, shown: Sequence[int]) -> bool:
        """Whether thinking is open after these tokens: opened by the prompt or at the text's start, not closed yet."""
        text = b"".join(map(self.piece, shown)).decode(errors="replace")
        opened = self.opened or text.lstrip().startswith("<think>")
        return opened and "</think>" not in text


@dataclass(frozen=True)
class Outcome:
    """What a method makes of one position."""

    token: int | None  # the one shown; None: none is
    entropy: float | None
    explored: bool
    mode: str | None
    next_input: ModelInput = field(repr=False)  # arrays: unscaled mixtures of rows
    ids: Ids = field(repr=False)  # the filtered distribution
    probabilities: Array = field(repr=False)
    last: bool = False  # the text ends here, whatever the token
    injected: bool = False
    switch_count: int | None = None


def filter_edge(logits: Array, filters: Filters, uniform: float | None, margin: float, count: int) -> str | None:
    """Why a difference of `margin` may change what is left, the order of its `count` most probable, or the draw."""
    falling = np.sort(logits)[::-1]
    kept = softmax(falling[: filters.top_k or None] / filters.temperature)
    # A difference of `margin` in a probability of a half is one of 2.4 margins in the logits at temperature 0.6.
    apart = 3.0 * margin
    alike = -np.diff(falling) <= apart
    if 0 < filters.top_k < len(falling) and kept[-1] > margin and alike[filters.top_k - 1]:
        return "two logits alike at top_k"
    if filters.top_p < 1 and near(np.cumsum(kept), filters.top_p, margin):
        return "a cumulative probability at top_p"
    if filters.min_p > 0 and near(falling - falling[0], filters.temperature * log(filters.min_p), apart):
        return "a probability at min_p"
    shares = filtered_distribution(logits, filters)[1]
    if alike[: min(count, len(shares))].any():
        return "two logits alike"
    if uniform is not None and near(np.cumsum(shares), uniform, margin):
        return "a cumulative probability at the drawn number"
    return None


def near(values: Array | float, bound: float, margin: float) -> bool:
    """Whether one of the values is within the margin of the bound."""
    return bool((np.abs(np.asarray(values) - bound) <= margin).any())


class Text(ABC):
    """A method's oracle at work on one text."""

    @abstractmethod
    def look(self, logits: Array, hidden: Array | None, uniform: float | None) -> Outcome:
        """What is made of the next position."""

    @abstractmethod
    def edge(self, margin: float) -> str | None:
        """Why a difference of `margin` in probabilities or entropy might have changed the last outcome."""
