"""What one generation is asked for, ready to be decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.methods.base import Method, Vocabulary

__all__ = ["Constraint", "ModelVocabulary", "Request"]


class ModelVocabulary(Vocabulary, Protocol):
    """What a sequence needs of the model's vocabulary."""

    def piece(self, token: int) -> bytes:
        """The token's bytes; control tokens are empty."""


class Constraint(Protocol):
    """What a text may be, at one place of it."""

    def mask(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The logits with -inf for what may not come next."""

    def accept(self, token: int) -> None:
        """`token` comes next."""


@dataclass(frozen=True)
class Request:
    """Everything one generation needs.

    split_thinking: tell thinking and answer apart (chat). events: report every step, not the result alone
    (waking the caller for each token costs a fast model one or two per cent). room: tokens for which the
    context has room after the prompt. logprobs: report the token's and so many largest log-probabilities of the model's
    own distribution (temperature 1, no filters). constraint: what the text may be; under it every step is a
    certain one, the method decides nothing. notes: what a person should know about it, in plain sentences.
    """

    prompt: tuple[int, ...]
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    prompt_tail: str = ""
    split_thinking: bool = True
    events: bool = True
    room: int = 2**31 - 1
    logprobs: int | None = None
    constraint: Constraint | None = None
    notes: tuple[str, ...] = ()
