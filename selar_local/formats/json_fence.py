"""Fenced blocks of JSON in a text that streams in."""

from __future__ import annotations

_FENCE = "```"
_JSON = "```json"
_LONGEST = 100  # characters of a line that are kept: its beginning decides


class JsonFence:
    """Follows a text: whether it stands in a block that begins with ```json on a line of its own."""

    def __init__(self) -> None:
        self._line = ""
        self._block = ""  # the line that has opened the block, "" outside of one
        #: Whether such a block is open, or may begin with a text that has no backtick.
        self.near = False

    @property
    def open(self) -> bool:
        """Whether the text that comes next belongs to such a block, its first and its last line included."""
        return self._is_json(self._block or self._line)

    def feed(self, text: str) -> None:
        """Take the next text."""
        *lines, self._line = (self._line + text).split("\n")
        self._line = self._line[:_LONGEST]
        for line in lines:
            if line.lstrip().startswith(_FENCE):
                self._block = "" if self._block else line
        self.near = self.open or self._line.lstrip()[:1] == "`"

    def may_begin(self, text: str) -> bool:
        """Whether such a block begins, or may, with a text that comes next."""
        lines = [line.lstrip() for line in (self._line + text).split("\n")]
        return not self._block and any(line and (_JSON.startswith(line) or self._is_json(line)) for line in lines)

    def _is_json(self, line: str) -> bool:
        return line.lstrip().lower().startswith(_JSON)
