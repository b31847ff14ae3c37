"""What a decoding method is: it looks at one step's logits and chooses the next input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from selar_local.config import SamplingConfig, require
from selar_local.methods.distribution import Distribution

__all__ = [
    "Decision",
    "Method",
    "Mixture",
    "NextInput",
    "StepView",
    "Stepper",
    "Token",
    "Vector",
    "Vocabulary",
]


class Token(NamedTuple):
    """The next input is the plain token `id`."""

    id: int


class Mixture(NamedTuple):
    """The next input is ``sum weights[i] * E[ids[i]]``, E the token-embedding matrix.

    ids: (m,) int64, weights: (m,) float64; weights may be negative and need not sum to 1.
    """

    ids: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]


class Vector(NamedTuple):
    """The next input is a vector of the model's width (float32), such as a hidden state."""

    values: npt.NDArray[np.float32]


NextInput = Token | Mixture | Vector


class StepView(NamedTuple):
    """What a method sees of a step: the raw logits, the filtered distribution, and the drawn token."""

    logits: npt.NDArray[np.float32]
    distribution: Distribution
    token: int
    temperature: float
    thinking: bool


class Decision(NamedTuple):
    """A method's choice for a step. `entropy` is normalised as the method uses it, None where it uses none."""

    next_input: NextInput
    entropy: float | None

    @property
    def explored(self) -> bool:
        """Whether the next input is something else than a plain token."""
        return not isinstance(self.next_input, Token)


class Vocabulary(Protocol):
    """What a method may ask of a model's vocabulary."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text: no special tokens parsed or added."""


class Stepper(Protocol):
    """A method at work on one sequence; it may keep state from step to step."""

    def __call__(self, view: StepView) -> Decision: ...


@dataclass(frozen=True)
class Method(ABC):
    """A decoding method with its options. Frozen: one instance serves any number of sequences."""

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    greedy: ClassVar[bool] = False
    feeds_vectors: ClassVar[bool] = False

    @property
    def n_candidates(self) -> int:
        """How many candidates the method looks at (and a trace lists)."""
        return 3

    def check_sampling(self, sampling: SamplingConfig) -> None:
        """Raises OptionError for a sampling this method cannot work with."""
        require(
            sampling.temperature > 0 or not self.feeds_vectors,
            f"temperature 0 leaves {self.name} nothing to mix: use greedy, which keeps the temperature for the gate",
        )

    @abstractmethod
    def start(self, vocabulary: Vocabulary) -> Stepper:
        """A stepper for one new sequence."""
