"""Entropies: of the few most probable candidates (SeLaR's gate), and of the whole vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_COLDEST = 1e-30  # below it float32 would make infinities of the quotients, or 0 of the temperature
_EVEN = 1.0 - 1e-12  # rounding leaves an even distribution a hair below 1, where tau = 1 would not see it
# exp(-80) is nothing beside a sum of at least 1, and still no subnormal number, which would be slow
_FLOOR = np.float32(-80.0)


def renormalise(probs: Floats, k: int) -> list[float]:
    """The first `k` probabilities divided by their sum. Zeros stay zeros."""
    head: list[float] = probs[:k].tolist()
    total = sum(head)
    return [p / total for p in head]


def truncated_entropy(q: Sequence[float], k: int) -> float:
    """Normalised entropy ``-sum q log q / log k`` in [0, 1], with 0 log 0 = 0 (SeLaR, arXiv 2604.08299)."""
    h = abs(sum(x * math.log(x) for x in q if x > 0.0)) / math.log(k)  # abs: a sure step is 0.0, not -0.0
    return h if h < _EVEN else 1.0


def candidate_entropy(top: Sequence[tuple[int, float]]) -> float | None:
    """The normalised entropy of listed candidates ``(id, probability)``; None of fewer than two, or of zeros alone."""
    total = sum(probability for _, probability in top)
    if len(top) < 2 or total == 0:
        return None
    return truncated_entropy([probability / total for _, probability in top], len(top))


class Softmax(NamedTuple):
    """The softmax over a whole vocabulary: probability i is ``exp(logit i - largest) / total``. entropy: in nats."""

    total: float
    entropy: float


def softmax(logits: npt.NDArray[np.float32], temperature: float = 1.0) -> Softmax:
    """``softmax(logits / temperature)`` and its entropy. Logits may be -inf; the largest must be finite.

    In float32 with sums in float64: within 1e-5 of the exact entropy, at a third of the time.
    """
    relative = logits - logits.max()
    if temperature != 1.0:
        relative /= np.float32(max(temperature, _COLDEST))
    np.maximum(relative, _FLOOR, out=relative)
    powers = np.exp(relative)
    total = float(powers.sum(dtype=np.float64))
    relative *= powers
    # H = log Z - sum p log power
    return Softmax(total, max(math.log(total) - float(relative.sum(dtype=np.float64)) / total, 0.0))
