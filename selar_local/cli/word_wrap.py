"""Words of a streamed text that stay whole at the right edge of a terminal."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")
_NARROWEST = 20  # columns; a narrower terminal breaks the lines itself
_TAB = 8
_FENCE = "```"


def terminal_width() -> int:
    """The columns of the terminal, now: people resize it."""
    return shutil.get_terminal_size().columns


class WordWrap:
    """Says what to write so that lines of a streamed text break between words.

    Text is shown at once. A word that grows over the edge is wiped out, with backspaces and spaces, and written again
    on the next line. The terminal itself breaks words that are longer than a line, scripts without spaces, and code
    between fences, so that people copy it as it is.
    """

    def __init__(self, width: Callable[[], int] = terminal_width) -> None:
        """The text begins at the start of a line. width: the columns of the terminal, now; 0: no breaks."""
        self._width = width
        self._column = 0  # cells in use on this line
        self._word, self._shown_word = "", ""  # the word at the end of the line, without and with its styles
        self._beginning = ""  # of the text since the last newline
        self._in_code = False

    def feed(self, text: str, style: Callable[[str], str] = str) -> str:
        """What to write for the next `text`. style: adds the colours to a text that is not empty."""
        edge = self._width() - 1  # terminals differ in where the cursor is after a full line
        written = ""
        run = ""  # what follows, without `style`
        for part in _PARTS.findall(text):
            if part == "\n":
                self._end_line()
                run += part
                continue
            if len(self._beginning) < _TAB:
                self._beginning += part
            if part.isspace():
                run += self._spaces(part, edge)
                continue
            if self._moves(part, edge):
                cells = _cells(self._word)
                written += _styled(run, style) + "\b" * cells + " " * cells + "\n" + self._shown_word
                run, self._column = "", cells
            self._word += part
            self._shown_word += style(part)
            self._column += _cells(part)
            if self._column > edge:  # the terminal breaks it
                self._column %= max(edge + 1, 1)
                self._word = self._shown_word = ""
            run += part
        return written + _styled(run, style)

    def _moves(self, part: str, edge: int) -> bool:
        """Whether the last word, with `part` at its end, belongs on the next line."""
        if self._in_code or self._beginning.lstrip().startswith(_FENCE) or edge < _NARROWEST or _has_wide(part):
            return False
        before, more = _cells(self._word), _cells(part)
        return self._column + more > edge and self._column > before and before + more <= edge

    def _spaces(self, part: str, edge: int) -> str:
        """White space within a line; what does not fit on it is left out."""
        self._word = self._shown_word = ""
        if self._in_code or edge < _NARROWEST:
            return part
        kept = ""
        for space in part:
            cells = _TAB - self._column % _TAB if space == "\t" else 1
            if self._column + cells > edge:
                self._column = edge  # the next word moves
                break
            kept += space
            self._column += cells
        return kept

    def _end_line(self) -> None:
        self._in_code ^= self._beginning.lstrip().startswith(_FENCE)
        self._beginning = self._word = self._shown_word = ""
        self._column = 0


def _styled(text: str, style: Callable[[str], str]) -> str:
    return style(text) if text else ""


def _has_wide(text: str) -> bool:
    """Whether it has characters of two cells, as scripts have that put no spaces between words."""
    return not text.isascii() and _cells(text) > len(text)


def _cells(text: str) -> int:
    """The columns that the text takes."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth

    cells = int(wcswidth(text))
    return cells if cells >= 0 else len(text)
