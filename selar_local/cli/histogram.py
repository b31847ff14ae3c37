"""A histogram in lines of text, in block characters or, where the encoding does not know them, in ASCII."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

_BINS = 20
_BAR = 40
_MARGIN = 40  # for what stands beside a bar
Marks = Iterable[tuple[float, str]]

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


def bin_counts(entropies: npt.NDArray[np.float64]) -> list[int]:
    """How many normalised entropies are in each bin."""
    counts: list[int] = np.histogram(entropies, _BINS, (0.0, 1.0))[0].tolist()
    return counts


def entropy_histogram(entropies: npt.NDArray[np.float64], marks: Marks) -> list[str]:
    """The histogram of normalised entropies, as wide as the terminal allows."""
    width = max(min(_BAR, shutil.get_terminal_size().columns - _MARGIN), 8)
    return histogram(bin_counts(entropies), marks, bar_characters(sys.stdout.encoding), width)


def histogram(counts: Sequence[int], marks: Marks, characters: str, width: int) -> list[str]:
    """A heading, and one line for each bin of [0, 1].

    counts: of equal bins. marks: places with their labels; a place above 1 is not shown. width: of a full bar, in
    characters.
    """
    largest, second = (*sorted(counts, reverse=True), 0, 0)[:2]
    dwarfed = largest >= DWARFED * max(second, 1)
    scale = math.sqrt if dwarfed else float
    digits = max(len(f"{largest:,}"), len("steps"))
    arrow = _ARROW if characters == _BLOCKS else "<"
    lines = [f"{'entropy':<9}  {'steps':>{digits}}{'  (bars show square roots)' if dwarfed else ''}"]
    for number, count in enumerate(counts):
        low, high = number / len(counts), (number + 1) / len(counts)
        bar = _bar(scale(count) / scale(max(largest, 1)) * width, characters)
        lines.append(f"{low:.2f}-{high:.2f}  {count:>{digits},}  {bar}")
    for place, label in marks:
        if place <= 1:
            lines[1 + min(int(place * len(counts)), len(counts) - 1)] += f" {arrow} {label}"
    return [line.rstrip() for line in lines]


def _bar(length: float, characters: str) -> str:
    """A bar `length` full characters long; what is there at all shows."""
    levels = len(characters) - 1
    eighths = math.ceil(length * levels) if 0 < length * levels < 1 else round(length * levels)
    full, rest = divmod(eighths, levels)
    return characters[-1] * full + (characters[rest] if rest else "")
