"""Texts side by side on a terminal, their styles kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

from wcwidth import wcwidth

_GAP = "  "
_TAB = "    "

Style = str
Line = list["_Cell"]


class Piece(NamedTuple):
    """A part of a text, and the name of its style."""

    text: str
    style: Style = ""


class _Cell(NamedTuple):
    character: str
    style: Style
    width: int


def wrapped(pieces: Iterable[Piece], width: int) -> list[Line]:
    """The lines of a text, none wider than `width` cells of the terminal; broken at spaces where there are some."""
    lines: list[Line] = [[]]
    for piece in pieces:
        for character in piece.text.replace("\t", _TAB):
            if character == "\n":
                lines.append([])
                continue
            lines[-1].append(_Cell(character, piece.style, max(wcwidth(character), 0)))
            while _width(lines[-1]) > width and len(lines[-1]) > 1:
                lines[-1:] = _broken(lines[-1])
    return lines


def _broken(line: Line) -> list[Line]:
    """A line that is one character too long, in two: at its last space, if there is one after its first character."""
    spaces = [place for place, cell in enumerate(line) if cell.character == " " and place > 0]
    if not spaces:
        return [line[:-1], line[-1:]]
    return [line[: spaces[-1]], line[spaces[-1] + 1 :]]


def _width(line: Line) -> int:
    return sum(cell.width for cell in line)


def side_by_side(texts: Sequence[Sequence[Piece]], width: int, paint: Callable[[str, Style], str]) -> list[str]:
    """The texts in columns of equal width, `width` cells in all. paint: makes a run of text and its style visible."""
    column = (width - len(_GAP) * (len(texts) - 1)) // len(texts)
    rows = zip_longest(*(wrapped(text, column) for text in texts), fillvalue=[])
    return [_GAP.join(_painted(line, column, paint) for line in row).rstrip() for row in rows]


def _painted(line: Line, column: int, paint: Callable[[str, Style], str]) -> str:
    runs = groupby(line, key=lambda cell: cell.style)
    text = "".join(paint("".join(cell.character for cell in run), style) for style, run in runs)
    return text + " " * (column - _width(line))
