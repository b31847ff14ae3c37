"""A histogram in lines of text, in block characters or, where the encoding does not know them, in ASCII."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["DWARFED", "bar_characters", "histogram"]

_BLOCKS = " ▏▎▍▌▋▊▉█"
_ARROW = "◂"
_ASCII = " #"
#: From this ratio of the largest bin to the next one on, bars show square roots.
DWARFED = 8.0


def bar_characters(encoding: str | None) -> str:
    """What bars are made of on a stream of this encoding: from nothing to the full character."""
    try:
        (_BLOCKS + _ARROW).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return _ASCII
    return _BLOCKS


def histogram(counts: Sequence[int], mark: float | None, label: str, characters: str, width: int) -> list[str]:
    """One line a bin of [0, 1], and one above them that says what they show.

    counts: of equal bins. mark: the place in [0, 1] that gets `label`. width: of a full bar, in characters.
    """
    largest, second = (*sorted(counts, reverse=True), 0, 0)[:2]
    dwarfed = largest >= DWARFED * max(second, 1)
    scale = math.sqrt if dwarfed else float
    digits = max(len(f"{largest:,}"), len("steps"))
    arrow = _ARROW if characters == _BLOCKS else "<"
    lines = [f"{'entropy':<9}  {'steps':>{digits}}{'  (bars show square roots)' if dwarfed else ''}"]
    marked = None if mark is None else min(int(mark * len(counts)), len(counts) - 1)
    for number, count in enumerate(counts):
        low, high = number / len(counts), (number + 1) / len(counts)
        bar = _bar(scale(count) / scale(max(largest, 1)) * width, characters)
        note = f" {arrow} {label}" if number == marked else ""
        lines.append(f"{low:.2f}-{high:.2f}  {count:>{digits},}  {bar}{note}".rstrip())
    return lines


def _bar(length: float, characters: str) -> str:
    """A bar `length` full characters long; what is there at all shows."""
    levels = len(characters) - 1
    eighths = math.ceil(length * levels) if 0 < length * levels < 1 else round(length * levels)
    full, rest = divmod(eighths, levels)
    return characters[-1] * full + (characters[rest] if rest else "")
