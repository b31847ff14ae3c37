"""What users write is text: special tokens that it spells are cut, so that the tokenizer finds none in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["contents", "cut_at", "marked"]

#: Characters that no text has: Unicode keeps them for the use within a program.
_MARKS = tuple(map(chr, range(0xFDD0, 0xFDE8)))
Messages = Sequence[Mapping[str, Any]]


def contents(messages: Messages) -> Iterator[str]:
    """The texts of all messages but the model's own, whose markers a template may read."""
    for message in messages:
        if message.get("role") == "assistant":
            continue
        content = message.get("content")
        if isinstance(content, str):
            yield content
        elif isinstance(content, Sequence):
            yield from (part["text"] for part in content if isinstance(part, Mapping) and _is_text(part))


def _is_text(part: Mapping[str, Any]) -> bool:
    return isinstance(part.get("text"), str)


def marked(messages: Messages, specials: Sequence[str]) -> tuple[list[dict[str, Any]], str]:
    """The messages with a mark inside of each special text, and the mark. Without any special text the mark is ""."""
    written = "\n".join(contents(messages))
    spelt = [special for special in specials if special in written]
    if not spelt:
        return [dict(message) for message in messages], ""
    mark = next(mark for mark in _MARKS if mark not in written)

    def spoilt(text: str) -> str:
        places = {at + 1 for special in spelt for at in _places(text, special)}
        ends = [0, *sorted(places), len(text)]
        return mark.join(text[a:b] for a, b in pairwise(ends))

    found = []
    for message in map(dict, messages):
        content = message.get("content")
        if message.get("role") == "assistant":
            pass
        elif isinstance(content, str):
            message["content"] = spoilt(content)
        elif isinstance(content, Sequence):
            message["content"] = [
                {**part, "text": spoilt(part["text"])} if isinstance(part, Mapping) and _is_text(part) else part
                for part in content
            ]
        found.append(message)
    return found, mark


def _places(text: str, special: str) -> Iterator[int]:
    at = text.find(special)
    while at >= 0:
        yield at
        at = text.find(special, at + 1)


def cut_at(mark: str, text: str) -> list[str]:
    """The parts of a rendered prompt. A template may have written the mark as JSON does."""
    return text.replace(f"\\u{ord(mark):04x}", mark).split(mark) if mark else [text]
