"""Long runs of digits under `superbpe`, whose pre-tokenizer reads the rest of a run at each of its digits.

It cuts a run into groups of three from its end. Cut there before, a run costs linear time, and has the same tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_PIECE = 300  # digits; a multiple of three
_LONG_RUN = re.compile(rf"[0-9]{{{2 * _PIECE},}}")


def cut_digits(text: str) -> Iterator[str]:
    """The text, cut within long runs of digits where `superbpe` cuts anyway."""
    begin = 0
    for run in _LONG_RUN.finditer(text):
        first = run.start() + (run.end() - run.start()) % _PIECE or run.start() + _PIECE
        for end in range(first, run.end(), _PIECE):
            yield text[begin:end]
            begin = end
    yield text[begin:]
