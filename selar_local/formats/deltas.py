"""What a reader gives: deltas while the text streams in, and the parsed whole at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

#: "call" begins a call: `text` is its name. "arguments" is more of its JSON text. "end" says that it is complete.
Kind = Literal["thinking", "content", "call", "arguments", "end"]


class Delta(NamedTuple):
    """A certain piece of the output. `call` counts the calls from 0, and is -1 outside of calls."""

    kind: Kind
    text: str
    call: int = -1
    id: str | None = None


class Call(NamedTuple):
    """A complete call: the arguments are the JSON text of an object."""

    name: str
    arguments: str
    id: str | None = None

    def as_openai(self, id: str | None = None) -> dict[str, Any]:
        """As OpenAI's API has it. id: for a call that has none."""
        function = {"name": self.name, "arguments": self.arguments}
        return {"id": self.id or id, "type": "function", "function": function}


@dataclass(frozen=True)
class Parsed:
    """The whole output.

    content, thinking: the text without markers. calls: the complete calls only, in order. cut: the name and the
    argument text of a call that was begun and not completed, None where there is none. rest: the deltas that became
    certain only at the end of the text; `feed` has not returned them.
    """

    content: str
    thinking: str
    calls: list[Call] = field(default_factory=list)
    cut: Call | None = None
    rest: list[Delta] = field(default_factory=list)
