"""An independent implementation of the general format's thinking: the judge of the reader."""

from __future__ import annotations

from selar_local.formats import TAGS

__all__ = ["ThinkingSplitter", "split_thinking"]

_NEWLINES = "\r\n"


class ThinkingSplitter:
    """Splits streamed text into thinking and answer; the cut does not depend on how the text comes in pieces.

    - ``prompt_tail`` is the end of the rendered prompt: where it ends with an opening tag (and white space),
      the text starts as thinking. A model that then repeats the tag is forgiven.
    - The model's own opening tag counts only at the start of its text, white space aside; later it is text.
    - Thinking ends at the closing tag of the same pair. After it everything is answer.
    - A closing tag that nothing opened is dropped at the very start (it closes an empty thinking). Later it
      stays in the answer as text: what came before has been shown, and an answer may speak about the tag.
    - Tags are not given out, nor the newlines after the opening tag and on both sides of the closing tag.
    """

    def __init__(self, prompt_tail: str = "") -> None:
        tail = prompt_tail.rstrip()
        self._pair = next((pair for pair in TAGS if tail.endswith(pair[0])), None)
        self._state = "reopen" if self._pair else "start"
        self._held = ""

    @property
    def in_thinking(self) -> bool:
        """Whether the text that comes next is thinking, as far as is known by now."""
        return self._state in ("reopen", "open", "think")

    def feed(self, text: str) -> list[tuple[str, bool]]:
        """Takes the next text; returns what is certain by now as ``(piece, is_thinking)``, none empty."""
        if self._state == "answer":
            return [(text, False)] if text else []
        self._held += text
        pieces: list[tuple[str, bool]] = []
        state = ""
        while state != self._state and self._held:
            state = self._state
            self._advance(pieces)
        return pieces

    def flush(self) -> list[tuple[str, bool]]:
        """The end of the text: what was held back, which turned out not to be a tag."""
        held, self._held = self._held, ""
        if self._state == "reopen":
            held = held.lstrip(_NEWLINES)
        return [(held, self.in_thinking)] if held else []

    def _advance(self, pieces: list[tuple[str, bool]]) -> None:
        if self._state in ("start", "reopen"):
            self._at_start()
        if self._state in ("open", "gap"):
            self._held = self._held.lstrip(_NEWLINES)
            if self._held:
                self._state = "think" if self._state == "open" else "answer"
        if self._state == "think" and self._pair:
            self._think(self._pair[1], pieces)
        elif self._state == "answer" and self._held:
            pieces.append((self._held, False))
            self._held = ""

    def _at_start(self) -> None:
        """Looks for a tag at the start; leaves the state as it is while that is open."""
        begin = self._held.lstrip()
        pairs = TAGS if self._pair is None else (self._pair,)
        for pair in pairs:
            for tag in pair:
                if begin.startswith(tag) and (tag == pair[0] or self._pair is None):
                    self._pair, self._held = pair, begin[len(tag) :]
                    self._state = "open" if tag == pair[0] else "gap"
                    return
        # Opened by the prompt, only a repeated opening tag is waited for: the closing one is found as ever.
        awaited = (pairs[0][0],) if self._pair else tuple(tag for pair in pairs for tag in pair)
        if not any(tag.startswith(begin) for tag in awaited):
            self._state = "answer" if self._pair is None else "open"

    def _think(self, closing: str, pieces: list[tuple[str, bool]]) -> None:
        at = self._held.find(closing)
        if at >= 0:
            text, self._held = self._held[:at], self._held[at + len(closing) :]
            text = text.rstrip(_NEWLINES)
            self._state = "gap"
        else:
            keep = next((n for n in range(len(closing) - 1, 0, -1) if self._held.endswith(closing[:n])), 0)
            text = self._held[: len(self._held) - keep].rstrip(_NEWLINES)
            self._held = self._held[len(text) :]
        if text:
            pieces.append((text, True))


def split_thinking(text: str, prompt_tail: str = "") -> tuple[str, str]:
    """``(thinking, answer)`` of a whole text, as `ThinkingSplitter` tells them apart."""
    splitter = ThinkingSplitter(prompt_tail)
    pieces = splitter.feed(text) + splitter.flush()
    return "".join(t for t, thinks in pieces if thinks), "".join(t for t, thinks in pieces if not thinks)
