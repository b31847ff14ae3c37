"""A request as text, before it meets the tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.request_options import Messages, Tools
from selar_local.engine.transcript import Transcript
from selar_local.formats import GENERAL, Format
from selar_local.methods.base import Method, NamedTokens

_TAIL = 256  # characters of the prompt's end: the last turn's opening, which may open or close the thinking


@dataclass(frozen=True)
class RenderedRequest:
    """A request before it meets the tokenizer.

    template_has_switch: whether the chat template knows `thinking`; None where no template is used. thinking: as asked
    for. messages: None where the prompt was given as it is. rendering: the other options of its rendering. begun: the
    beginning of the answer, with which the text ends. tokens: the prompt, where ids were given.
    """

    text: str
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    thinking: bool | None
    template_has_switch: bool | None
    tools: Tools | None = None
    messages: Messages | None = None
    rendering: Mapping[str, Any] = field(default_factory=dict)
    begun: str = ""
    note: str | None = None
    tokens: tuple[int, ...] | None = None

    @property
    def tail(self) -> str:
        """The end of the prompt before the answer."""
        return self.text[: len(self.text) - len(self.begun)][-_TAIL:]


def request_notes(
    rendered: RenderedRequest, vocabulary: NamedTokens, *, form: Format = GENERAL, has_tags: bool, constrained: bool
) -> Iterator[str]:
    """Options without an effect, in plain sentences; none for most requests.

    has_tags: the model has tags around a thinking. constrained: a grammar binds the text.
    """
    method, thinking, has_switch = rendered.method, rendered.thinking, rendered.template_has_switch
    transcript = Transcript(rendered.tail, form=form, begun=rendered.begun)
    if rendered.note is not None:
        yield rendered.note
    if has_switch is None and thinking is not None:
        yield "thinking has no effect on a raw prompt: no chat template is used"
    elif has_switch is False and thinking and not transcript.in_thinking:
        yield "thinking has no effect: the chat template of this model has no switch for it"
    elif has_switch is False and thinking is False and has_tags and not constrained:
        yield "the thinking cannot be switched off: the chat template of this model has no switch for it"
    has_thinking = has_tags or transcript.in_thinking
    if rendered.generation.thinking_budget is not None and (constrained or not has_thinking):
        why = "under a grammar or a JSON schema" if constrained else "this model has no thinking tags"
        yield f"thinking_budget has no effect: {why}"
    if constrained and method.feeds_vectors:
        yield f"{method.name} has no effect under a grammar or a JSON schema: no step explores there"
    else:
        yield from method.notes(vocabulary, has_thinking=has_thinking, thinking_over=transcript.closed_by_prompt)
