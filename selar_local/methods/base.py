"""What a decoding method is: it looks at one step's logits and chooses the next input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from selar_local.config import SamplingConfig, from_mapping
from selar_local.errors import OptionError
from selar_local.formats import Thinking
from selar_local.methods.distribution import Distribution
from selar_local.options import Options

M = TypeVar("M", bound="Method")


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
    """What a method sees of a step: the logits, the filtered distribution, and the token drawn from it.

    logits: the model's own, but for what biases and penalties have changed.
    thinking: whether the thinking is open before this step's token; `thinking_after` tells whether it would be
    after a token (None: as before). hidden: (n_embd,) float32, the last layer's state after the final norm at the
    position these logits belong to, where the method asked for it; valid during the step only.
    """

    logits: npt.NDArray[np.float32]
    distribution: Distribution
    token: int
    temperature: float
    thinking: bool
    thinking_after: Callable[[int], bool] | None = None
    hidden: npt.NDArray[np.float32] | None = None

    def keeps_thinking(self) -> bool:
        """Whether the thinking is open before the drawn token and still after it."""
        return self.thinking and (self.thinking_after is None or self.thinking_after(self.token))


class Decision(NamedTuple):
    """A method's choice for a step.

    entropy: in the method's `entropy_unit`, None where it uses none. token: shown and recorded in place of the drawn
    one. mode: the name of the method's state, for those that have several. silent: a latent position, no token is
    shown or counted. last: the text ends after this step's token. needs_hidden: the next step's view must carry the
    hidden state. kept: why a step that would have explored feeds a token all the same, such as "symbol guard".
    """

    next_input: NextInput
    entropy: float | None = None
    token: int | None = None
    mode: str | None = None
    silent: bool = False
    last: bool = False
    needs_hidden: bool = False
    kept: str | None = None

    @property
    def explored(self) -> bool:
        """Whether the next input is something else than a plain token."""
        return not isinstance(self.next_input, Token)


class NamedTokens(Protocol):
    """Tokens by their texts."""

    def token_of(self, text: str) -> int | None:
        """The single token, special ones included, that spells `text`; None where there is none."""


class Vocabulary(NamedTokens, Protocol):
    """What a method may ask of a model's vocabulary."""

    @property
    def n_vocab(self) -> int:
        """Number of tokens."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text: no special tokens parsed or added."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends the generation."""


class Setting(NamedTuple):
    """What a method knows of a sequence before its first step.

    max_tokens: the most tokens the sequence can have. seed: of its draws. thinking_over: the prompt itself has
    closed the thinking already. thinking: the tags of the model's family, None where it has none of its own. closing:
    the tokens that close it and open the answer.
    """

    vocabulary: Vocabulary
    sampling: SamplingConfig
    max_tokens: int
    seed: int = 0
    thinking_over: bool = False
    thinking: Thinking | None = None
    closing: tuple[int, ...] = ()

    def noise(self) -> np.random.Generator:
        """Random numbers of the method's own: what it draws does not move the sequence's draws."""
        return np.random.Generator(np.random.PCG64([self.seed, 1]))


class Stepper(ABC):
    """A method at work on one sequence; it may keep state from step to step.

    sampling: how the coming step's distribution is filtered; None: as the request says.
    """

    sampling: SamplingConfig | None = None

    @abstractmethod
    def __call__(self, view: StepView) -> Decision:
        """The decision of one step. The views come in order, one for every position decoded."""


@dataclass(frozen=True, kw_only=True)
class Method(Options, ABC):
    """A decoding method with its options, given by name. Frozen: one instance serves any number of sequences.

    greedy: the most probable token is taken, none is drawn. feeds_vectors: inputs may be vectors. entropy_unit: of the
    entropies it reports, "normalised" (0 to 1) or "nats". sampling_defaults: fields of `SamplingConfig` whose default
    is another with this method. always_shown: options that a summary of a run names even at their defaults.
    removed_options: options of earlier versions with their defaults; old files have them. ablations: names of the full
    method (first, it sets nothing) and of the method without one of its parts, with the options that make it so;
    reports of studies compare them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    greedy: ClassVar[bool] = False
    feeds_vectors: ClassVar[bool] = False
    entropy_unit: ClassVar[str] = "normalised"
    sampling_defaults: ClassVar[Mapping[str, Any]] = {}
    always_shown: ClassVar[tuple[str, ...]] = ()
    removed_options: ClassVar[Mapping[str, Any]] = {}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    def __init_subclass__(cls) -> None:
        if "__repr__" not in vars(cls):  # else `dataclass` writes one
            cls.__repr__ = Method.__repr__  # type: ignore[method-assign]

    def __repr__(self) -> str:
        """As one would write it: the options that differ from their defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.repr}
        defaults = {field.name: field.default for field in fields(self)}
        own = ", ".join(f"{name}={value!r}" for name, value in values.items() if value != defaults[name])
        return f"{type(self).__name__}({own})"

    def __new__(cls: type[M], *values: Any, **options: Any) -> M:
        """Raises OptionError for options without their names, and for unknown ones."""
        names = ", ".join(field.name for field in fields(cls)) or "none"
        for name in options.keys() - {field.name for field in fields(cls)}:
            raise OptionError(f"{cls.__name__} has no option {name!r} (options: {names})")
        if values:
            raise OptionError(f"{cls.__name__} takes named options only, but got {values[0]!r} (options: {names})")
        return super().__new__(cls)

    @property
    def n_candidates(self) -> int:
        """How many candidates the method looks at (and a trace lists)."""
        return 3

    @property
    def threshold(self) -> tuple[float, str] | None:
        """The entropy at which the method changes what it does, with a label for curves; None where it has none."""
        return None

    @property
    def needs_hidden(self) -> bool:
        """Whether the first step's view must carry the hidden state."""
        return False

    def sampling(self, given: Mapping[str, Any], recommended: Mapping[str, Any] | None = None) -> SamplingConfig:
        """The sampling of a request.

        What was `given`, else the method's own default, else what the model file has `recommended`, else the general
        default. A temperature of 0 is greedy: the methods that mix keep their own temperature for the gate. Raises
        OptionError.
        """
        chosen = {**(recommended or {}), **self.sampling_defaults, **given}
        if chosen.get("temperature") == 0 and self.feeds_vectors:
            del chosen["temperature"]
            chosen["greedy"] = True
        return from_mapping(SamplingConfig, chosen)

    def prompt_text(self, text: str) -> str:
        """The prompt as the method wants it, made of the rendered one."""
        return text

    def fitted(self, calibrated: Callable[[int, str], float]) -> Method:
        """The method with what depends on the model filled in.

        calibrated: tau for (k, gate_on) from the model's calibration; raises OptionError where there is none.
        """
        return self

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        """What a person should know who uses this method on this model: plain sentences, mostly none.

        has_thinking: the model has tags around a thinking. thinking_over: the prompt has closed the thinking already.
        """
        return ()

    @abstractmethod
    def start(self, setting: Setting) -> Stepper:
        """A stepper for one new sequence. Raises OptionError for options that do not fit the model."""
