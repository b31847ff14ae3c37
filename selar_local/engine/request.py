"""The request of one generation, ready to be decoded."""

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
    """A grammar at one place of a text."""

    def mask(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The logits with -inf for every token that may not come next."""

    def accept(self, token: int) -> None:
        """`token` comes next."""


@dataclass(frozen=True)
class Request:
    """Everything one generation needs.

    events: report every step, not the result alone (to wake the caller for each token costs a fast model one or two
    per cent). constraint: under it every step is a certain one, the method decides nothing.
    """

    prompt: tuple[int, ...]
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    prompt_tail: str = ""  # the end of the prompt's text: it may open or close the thinking
    split_thinking: bool = True  # tell thinking and answer apart (chat)
    events: bool = True
    room: int = 2**31 - 1  # tokens for which the context has room after the prompt
    constraint: Constraint | None = None  # the grammar that the text must follow
    notes: tuple[str, ...] = ()  # options that have no effect, in plain sentences
