"""What users write is text: special tokens that it spells are cut, so that the tokenizer finds none in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

#: Characters that no text has: Unicode keeps them for the use within a program.
_MARKS = tuple(map(chr, range(0xFDD0, 0xFDE8)))
Messages = Sequence[Mapping[str, Any]]


def contents(messages: Messages, tools: Messages | None = None) -> Iterator[str]:
    """The texts of the tools, and of all messages but the model's own, whose markers a template may read."""
    yield from _texts(tools)
    for message in messages:
        if message.get("role") != "assistant":
            yield from _texts(message.get("content"))


def _texts(value: Any) -> Iterator[str]:
    """The texts in a value such as JSON has, but for the names in its objects."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


def marked(
    messages: Messages, specials: Sequence[str], tools: Messages | None = None
) -> tuple[list[dict[str, Any]], list[Any] | None, str]:
    """The messages and the tools with a mark inside of each special text, and the mark: "" without any such text."""
    texts = list(contents(messages, tools))
    if not any(special in text for text in texts for special in specials):
        return [dict(message) for message in messages], tools if tools is None else list(tools), ""
    mark = next(mark for mark in _MARKS if not any(mark in text for text in texts))

    def spoilt(value: Any) -> Any:
        if isinstance(value, str):
            places = {at + 1 for special in specials for at in _places(value, special)}
            ends = [0, *sorted(places), len(value)]
            return mark.join(value[a:b] for a, b in pairwise(ends))
        if isinstance(value, Mapping):
            return {name: spoilt(one) for name, one in value.items()}
        return [spoilt(one) for one in value] if isinstance(value, (list, tuple)) else value

    found = [
        dict(message) if message.get("role") == "assistant" else {**message, "content": spoilt(message.get("content"))}
        for message in messages
    ]
    return found, tools if tools is None else spoilt(tools), mark


def _places(text: str, special: str) -> Iterator[int]:
    at = text.find(special)
    while at >= 0:
        yield at
        at = text.find(special, at + 1)


def cut_at(mark: str, text: str) -> list[str]:
    """The parts of a rendered prompt. A template may have written the mark as JSON does."""
    return text.replace(f"\\u{ord(mark):04x}", mark).split(mark) if mark else [text]
