"""Where a long text may be cut before it is tokenised, without a change to its tokens.

llama.cpp looks for every special token between all the others it has found. In one piece, 100,000 of them take it
minutes. Gemma's tokenizer has line breaks and indents among them: a long program takes as long.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

_PIECE = 2048  # characters from which on a piece may end


class SpecialTexts:
    """The texts of the tokens that llama.cpp cuts out of a text before all others, the longest first."""

    def __init__(self, texts: Collection[str], strips_right: Collection[str] = ()) -> None:
        """strips_right: those that take the white space after them."""
        self._texts = {text for text in texts if text}
        self._strips_right = tuple(strips_right)
        #: Two neighbouring letters within one of them.
        self._inside = {text[n : n + 2] for text in self._texts for n in range(len(text) - 1)}
        self._lengths = sorted({len(text) for text in self._texts}, reverse=True)
        self._begin = re.compile("|".join(re.escape(begin) for begin in sorted({text[:2] for text in self._texts})))

    def pieces(self, text: str) -> Iterator[str]:
        """The text, cut before special tokens. The pieces have the same tokens as the whole."""
        begin = 0
        while self._texts and (end := self._next_cut(text, begin + _PIECE)):
            yield text[begin:end]
            begin = end
        yield text[begin:]

    def _next_cut(self, text: str, start: int) -> int:
        """The first place from `start` on where a special token surely begins; 0: there is none."""
        for found in self._begin.finditer(text, start):
            at = found.start()
            # White space before a token may belong to it, and so may what follows the token before.
            if text[at - 1].isspace() or self._is_stripped(text, at) or self._is_within(text, at):
                continue
            longest = next((length for length in self._lengths if text[at : at + length] in self._texts), 0)
            if longest and not self._is_overlapped(text, at, longest):
                return at
        return 0

    def _is_stripped(self, text: str, at: int) -> bool:
        return text[at].isspace() and text.endswith(self._strips_right, 0, at)

    def _is_within(self, text: str, at: int) -> bool:
        """Whether a token may reach over this place."""
        if text[at - 1 : at + 1] not in self._inside:
            return False
        places = ((place, n) for n in self._lengths for place in range(max(0, at - n + 1), at))
        return any(text[place : place + n] in self._texts for place, n in places)

    def _is_overlapped(self, text: str, at: int, length: int) -> bool:
        """Whether another token, found first, may take the end of the one at this place."""
        own = text[at : at + length]
        lengths = [other for other in self._lengths if other >= length]
        places = range(at + 1, at + length)
        return any(
            (other := text[place : place + n]) != own and other in self._texts for place in places for n in lengths
        )
