"""The request of one generation, ready to be decoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.formats import GENERAL, Format
from selar_local.methods.adjustment import Changes
from selar_local.methods.base import Method

if TYPE_CHECKING:
    from selar_local.engine.constraints import Constraint


@dataclass(frozen=True)
class Request:
    """Everything one generation needs.

    events: report every step, not the result alone (to wake the caller for each token costs a fast model one or two
    per cent). constraint: the grammar or schema that the text must follow; under it every step is a certain one,
    the method decides nothing.
    """

    prompt: tuple[int, ...]
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    prompt_tail: str = ""  # the end of the prompt's text: it may open or close the thinking
    begun: str = ""  # the answer's beginning, where the prompt has one; it follows the tail
    turn_end: str = ""  # a text that ends the answer like a stop string, and of which no beginning is shown
    closing: tuple[int, ...] = ()  # the tokens that close the thinking when its budget is used up
    split_thinking: bool = True  # tell thinking and answer apart (chat)
    form: Format = GENERAL  # how the model writes thinking and calls
    tools: Sequence[Mapping[str, Any]] | None = None  # the tools whose calls are read; without them calls stay text
    events: bool = True
    room: int = 2**31 - 1  # tokens for which the context has room after the prompt
    constraint: Constraint | None = None
    changes: Changes = field(default_factory=Changes)  # of the logits
    notes: tuple[str, ...] = ()  # options that have no effect, in plain sentences
