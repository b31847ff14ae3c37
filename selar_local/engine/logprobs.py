"""Log-probabilities of one generation: of its tokens, and of the prompt's tokens where the request asks for them."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from selar_local.config import GenerationConfig
from selar_local.engine.events import Logprobs
from selar_local.methods.distribution import top_k
from selar_local.methods.entropy import softmax


class LogprobReport:
    """What was reported so far. They are the model's own: temperature 1, no filters, no penalties."""

    def __init__(self, generation: GenerationConfig) -> None:
        self._most, self._most_of_prompt = generation.logprobs, generation.prompt_logprobs
        self.of_prompt: list[Logprobs | None] = [] if self._most_of_prompt is None else [None]  # the first has none
        self.of_text: list[Logprobs] = []

    def read(self, rows: Iterable[npt.NDArray[np.float32]], following: Iterable[int]) -> None:
        """Tokens of the prompt, each with the logits before it."""
        most = self._most_of_prompt or 0
        self.of_prompt += [_found(row, token, most) for row, token in zip(rows, following, strict=False)]

    def printed(self, logits: npt.NDArray[np.float32], token: int) -> Logprobs | None:
        """A token of the text."""
        if self._most is None:
            return None
        self.of_text.append(_found(logits, token, self._most))
        return self.of_text[-1]


def _found(logits: npt.NDArray[np.float32], token: int, n: int) -> Logprobs:
    """The token's log-probability, and the `n` largest."""
    ids, values = top_k(logits, max(n, 1))
    norm = float(values[0]) + math.log(softmax(logits).total)
    top = zip(ids.tolist(), values.tolist(), strict=True)
    return Logprobs(float(logits[token]) - norm, tuple((i, value - norm) for i, value in top)[:n])
