"""How much of two distributions over a vocabulary is common to both. Pure NumPy.

Two measures. *Mass*: ``sum_v min(p(v), q(v))``, which is 1 less their total variation distance. *Common*: the share of
p's k most probable tokens that are among q's k, whatever their order.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selar_local.methods.distribution import top_k

MEASURES = ("mass", "common")
#: What is compared, by the places of the branches: 0 the push, 1 without it, 2 the first candidate, 3 the second.
PAIRS: dict[str, tuple[int, int]] = {
    "with_top1": (0, 2),
    "with_top2": (0, 3),
    "without_top1": (1, 2),
    "without_top2": (1, 3),
    "top1_top2": (2, 3),
}

Floats = npt.NDArray[np.float32]


def overlaps(logits: Floats, k: int) -> npt.NDArray[np.float64]:
    """The overlaps of the four branches' distributions: (4, n_vocab) logits to (pairs, measures).

    In the order of `PAIRS` and `MEASURES`, each between 0 and 1. The distributions are the softmax at temperature 1,
    without filters. `logits` is overwritten. Raises DecodeError where they are not numbers.
    """
    k = min(k, logits.shape[1])
    leading = [set(top_k(row, k)[0].tolist()) for row in logits]
    logits -= logits.max(axis=1, keepdims=True)
    powers = np.exp(logits, out=logits)
    powers /= powers.sum(axis=1, dtype=np.float64, keepdims=True).astype(np.float32)
    return np.array(
        [
            [
                min(float(np.minimum(powers[a], powers[b]).sum(dtype=np.float64)), 1.0),
                len(leading[a] & leading[b]) / k,
            ]
            for a, b in PAIRS.values()
        ]
    )
