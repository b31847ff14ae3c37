"""A prompt decoded by a runtime on its own, as most tests want it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from selar_local.llama.inputs import Chunk
from selar_local.llama.runtime import LlamaRuntime

__all__ = ["prefill"]


def prefill(
    runtime: LlamaRuntime,
    sequence: int,
    position: int,
    ids: Sequence[int],
    last: bool = True,
    cancelled: Callable[[], bool] = bool,
    hidden: bool = False,
) -> npt.NDArray[np.float32] | None:
    """One chunk of one sequence; its logits where it is the `last`."""
    return runtime.prefill([Chunk(sequence, position, ids, last)], cancelled, hidden)[0]
