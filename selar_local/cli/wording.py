"""Pieces of messages that several commands share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Where messages go to a model without a chat template.
NO_TEMPLATE = "this model has no chat template: ChatML is assumed, a base model may not answer to it"


def counted(number: int, word: str) -> str:
    """`1 turn`, `1200 turns`."""
    return f"{number} {word}{'s' * (number != 1)}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word; empty where none of the known ones is close."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def valley_words(at: float, low: float | None, high: float | None, depth: float | None) -> str:
    """Where a valley is, with its interval and depth."""
    return (
        f"valley {at:.2f} (90 % interval {low or 0:.2f} to {high or 0:.2f}), "
        f"{100 * (depth or 0):.0f} % below the lower of its two peaks"
    )
