"""What a decode takes: a sequence's next input, a part of its prompt, or a filler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from selar_local.methods.base import NextInput


class Feed(NamedTuple):
    """One sequence's next input at its next position."""

    sequence: int
    position: int
    next_input: NextInput


class Filler(NamedTuple):
    """An input that nobody asked for (see `fillers`), at the sequence's next position."""

    sequence: int
    position: int


class Chunk(NamedTuple):
    """Tokens of one sequence's prompt, from `position` on. last: they end it, the logits after them are wanted."""

    sequence: int
    position: int
    ids: Sequence[int]
    last: bool
