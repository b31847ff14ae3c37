"""Token bytes to text: whole UTF-8 characters only, and stop strings cut off."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from selar_local.errors import OptionError

__all__ = ["TextStream"]


class TextStream:
    """Turns the bytes of tokens into text that may be shown at once; one object per generated text.

    Bytes that are no UTF-8 become U+FFFD; the halves of a character wait for each other.

    ``stop``: strings that end the text. Text that may be the beginning of one waits. The one that is complete
    first wins; of those complete at the same character the longest, so that as little as possible of them is
    shown. The result does not depend on how the bytes come in pieces. A plain string counts as a list of one;
    an empty one raises `OptionError`.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(isinstance(text, str) and text for text in self._stop):
            raise OptionError("a stop string is empty")
        self._firsts = frozenset(text[0] for text in self._stop)
        self._longest = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._decode = self._decoder.decode
        self._held = ""
        self.stopped = False
        self.stop_reason: str | None = None

    def feed(self, piece: bytes) -> str:
        """The text that is certain after these bytes (often one token's); "" once stopped."""
        if not self._stop:
            return self._decode(piece)
        return "" if self.stopped else self._release(self._decode(piece))

    def peek(self, piece: bytes) -> str:
        """What `feed` would give, without taking the bytes in."""
        kept = self._decoder.getstate(), self._held, self.stopped, self.stop_reason
        try:
            return self.feed(piece)
        finally:
            state, self._held, self.stopped, self.stop_reason = kept
            self._decoder.setstate(state)

    def flush(self) -> str:
        """The end: what was held back, half a character as U+FFFD."""
        if self.stopped:
            return ""
        text = self._decode(b"", True)
        if self._stop:
            text = self._release(text)
        held, self._held = self._held, ""
        return text + held

    def _release(self, new: str) -> str:
        text = self._held + new
        self._held = ""
        found = [(text.find(stop), stop) for stop in self._stop if stop in text]
        if found:
            start, self.stop_reason = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            self.stopped = True
            return text[:start]
        for start in range(max(0, len(text) - self._longest + 1), len(text)):
            if text[start] in self._firsts and any(stop.startswith(text[start:]) for stop in self._stop):
                self._held = text[start:]
                return text[:start]
        return text
