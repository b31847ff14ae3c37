"""Where a fenced block of JSON leaves nothing to explore, read from the whole text each time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from .outcomes import Outcome

_BEGINS = re.compile(r"\s*(`|``|```|```j|```js|```jso|```json.*)", re.DOTALL | re.IGNORECASE)


def needs_form(text: str, pieces: Iterable[str]) -> bool:
    """Whether a step after `text` must be a certain one, whose tokens spell `pieces`. No tools were given."""
    *lines, last = text.split("\n")
    opened = ""
    for line in lines:
        if line.lstrip().startswith("```"):
            opened = "" if opened else line
    if opened:
        return opened.lstrip().lower().startswith("```json")
    if last.lstrip().lower().startswith("```json"):
        return True
    begun = [line for piece in pieces for line in (last + piece).split("\n")]
    return any(line.strip() and _BEGINS.fullmatch(line) for line in begun)


def in_form(outcome: Outcome, text: str, pieces: Iterable[str]) -> Outcome:
    """The outcome; with the plain token where the form needs it."""
    if not outcome.explored or outcome.token is None or not needs_form(text, pieces):
        return outcome
    return replace(outcome, explored=False, next_input=outcome.token)
