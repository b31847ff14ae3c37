"""Entropy of the few most probable candidates, the signal of SeLaR's gate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["renormalise", "truncated_entropy"]

Floats = npt.NDArray[np.float64]


def renormalise(probs: Floats, k: int) -> list[float]:
    """The first `k` probabilities divided by their sum. Zeros stay zeros."""
    head: list[float] = probs[:k].tolist()
    total = sum(head)
    return [p / total for p in head]


def truncated_entropy(q: Sequence[float], k: int) -> float:
    """Normalised entropy ``-sum q log q / log k`` in [0, 1], with 0 log 0 = 0 (SeLaR, arXiv 2604.08299)."""
    entropy = -sum(x * math.log(x) for x in q if x > 0.0)
    return min(abs(entropy) / math.log(k), 1.0)  # abs: a sure step is 0.0, not -0.0
