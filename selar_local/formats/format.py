"""What a family of models writes: its name, its thinking, its markers and its reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selar_local.formats.reader import TAGS, Reader


@dataclass(frozen=True)
class Thinking:
    """The tags of the thinking. `end` is the text to inject that closes it and opens the answer."""

    opening: str
    closing: str
    end: str


@dataclass(frozen=True)
class Format:
    """A family's format.

    signs: the texts in a chat template that tell the family; each entry is an alternative, of which all must be
    there. thinking: None where the family does not think. markers: texts that may be control tokens, which the
    reader must get as text.
    """

    name: str
    signs: tuple[tuple[str, ...], ...]
    read: type[Reader]
    thinking: Thinking | None = None
    markers: tuple[str, ...] = ()

    def reader(self, prompt_tail: str = "", tools: Sequence[Mapping[str, Any]] | None = None) -> Reader:
        """A new reader for one output.

        prompt_tail: the end of the rendered prompt, with the last turn's opening. tools: OpenAI's list, for the
        types of arguments; with tools, only a call of one of them is a call.
        """
        return self.read(prompt_tail, tools)

    def closes_thinking(self, prompt_tail: str) -> bool:
        """Whether a prompt that ends like this has closed the thinking, as templates do that switch it off."""
        pairs = ((self.thinking.opening, self.thinking.closing),) if self.thinking else TAGS
        return prompt_tail.rstrip().endswith(tuple(closing for _, closing in pairs))

    def fits(self, template: str) -> bool:
        """Whether a chat template is of this family."""
        return any(all(text in template for text in texts) for texts in self.signs)

    def with_tags_of(self, template: str) -> Format:
        """This format with the thinking whose tags the template has, where the family sets none, and their markers."""
        tags = [tag for pair in (*self.read.tags, *self.read.answer) for tag in pair if tag]
        markers = tuple(dict.fromkeys((*self.markers, *tags)))
        pair = next((pair for pair in self.read.tags if pair[0] in template or pair[1] in template), None)
        thinking = self.thinking or (Thinking(*pair, f"\n{pair[1]}\n\n") if pair else None)
        return replace(self, thinking=thinking, markers=markers)
