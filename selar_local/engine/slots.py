"""The places that sequences decode in, and what each still holds: the prompt cache.

A place knows the tokens behind its KV cache, and where it may be cut: at the ends of whole chunks of a prompt.
llama.cpp's arithmetic depends on how many tokens are decoded together, so the same tokens, decoded from a cut on in
chunks of the same size, are the same to the bit as if they had been decoded anew.

A generated token is reused where it was fed as a token, up to the first step that fed something else, and only by a
prompt that goes on behind all of the earlier prompt: a follow-up turn. Such tokens were decoded one by one, so the
next turn's bits are those of a conversation that went on, not those of one that was read anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Memory", "Slots"]

# With this share of the places spoilt nothing new begins until they are wiped.
_SPOILT = 0.25
_BLOCK = 64  # tokens compared at once


class Memory(Protocol):
    """What the slots need of the runtime's KV cache."""

    def forget(self, slot: int) -> None:
        """Free all that a slot holds."""

    def truncate(self, slot: int, length: int) -> bool:
        """Free what a slot holds from position `length` on. False where the model's memory cannot: nothing changed."""

    def copy(self, source: int, target: int) -> None:
        """Make an empty slot hold what another one holds."""


@dataclass
class _Slot:
    """One place.

    tokens: of the prompt, once the sequence has ended also those it fed as tokens. prompt_length: how many are the
    prompt's. cuts: lengths, rising, at which what the place holds may be cut. length: positions in the KV cache.
    """

    index: int
    tokens: tuple[int, ...] = ()
    prompt_length: int = 0
    cuts: list[int] = field(default_factory=list)
    length: int = 0
    used: int = 0
    busy: bool = False

    def empty(self) -> None:
        """It holds nothing, and serves nobody."""
        self.tokens, self.prompt_length, self.cuts, self.length, self.busy = (), 0, [], 0, False

    def reusable(self, prompt: Sequence[int]) -> int:
        """How many tokens of the prompt's beginning it holds, up to where it may be cut."""
        most = len(prompt) - 1  # the last token is decoded in any case: its logits are needed
        if not self.cuts and len(self.tokens) <= self.prompt_length:
            return 0
        alike = _common(self.tokens, tuple(prompt), most)
        if alike > self.prompt_length and not self.busy:
            return alike
        return max((cut for cut in self.cuts if cut <= alike), default=0)


class Slots:
    """Gives places to sequences. chunk: tokens of a prompt decoded together; 0: nothing is reused."""

    def __init__(self, memory: Memory, count: int, chunk: int, *, reuse_answers: bool = False) -> None:
        self._memory = memory
        self._chunk = chunk
        self._reuse_answers = reuse_answers and chunk > 0
        self._slots = [_Slot(index) for index in range(count)]
        self._spoilt: set[int] = set()
        self._clock = 0

    @property
    def available(self) -> bool:
        """Whether a place is free. None is where many wait to be wiped: that needs an end of all that runs."""
        if len(self._spoilt) >= _SPOILT * len(self._slots):
            return False
        return any(not slot.busy and slot.index not in self._spoilt for slot in self._slots)

    @property
    def spoilt(self) -> bool:
        """Whether places wait to be wiped: without flash attention, NaN outlives `forget`."""
        return bool(self._spoilt)

    def take(self, prompt: Sequence[int]) -> tuple[int, int]:
        """A free slot for this prompt, and how many of its tokens the slot's KV cache has already."""
        free = [slot for slot in self._slots if not slot.busy and slot.index not in self._spoilt]
        source, length = self._best(prompt)
        target = min(free, key=lambda slot: (slot.length > 0, slot.used))  # an empty one, else the one unused longest
        # The one that holds it is taken itself, unless that would lose much of what else it holds.
        if source is not None and source in free and 2 * length >= source.length:
            target = source
        cuts = [cut for cut in source.cuts if cut < length] if source is not None else []
        held = self._fill(target, source, length)
        self._clock += 1
        target.busy, target.used = True, self._clock
        target.tokens, target.prompt_length, target.length = tuple(prompt), len(prompt), held
        target.cuts = [*cuts, held] if held else []
        return target.index, held

    def _best(self, prompt: Sequence[int]) -> tuple[_Slot | None, int]:
        """The place that holds most of the prompt's beginning, and how many tokens of it."""
        best, length = None, 0
        for slot in self._slots:
            if slot.index not in self._spoilt and (found := slot.reusable(prompt)) > length:
                best, length = slot, found
        return best, length

    def _fill(self, target: _Slot, source: _Slot | None, length: int) -> int:
        """Make `target` hold the first `length` tokens of what `source` holds; how many it then holds."""
        if source is not target and target.length:
            self._memory.forget(target.index)
        if source is None:
            return 0
        if source is not target:
            self._memory.copy(source.index, target.index)
        whole = source.length == length and not source.busy  # a running sequence has decoded more than its prompt
        if whole or self._memory.truncate(target.index, length):
            return length
        self._memory.forget(target.index)
        return 0

    def decoded(self, index: int, length: int) -> None:
        """The first `length` tokens of the place's prompt are decoded: a chunk more, or what was left of it."""
        slot = self._slots[index]
        whole = length - slot.length == self._chunk
        slot.length = length
        if self._chunk and whole:
            slot.cuts.append(length)

    def release(self, index: int, length: int, fed: Sequence[int] = ()) -> None:
        """The place's sequence has ended with `length` positions. fed: the tokens it fed behind its prompt.

        What it fed from the first vector on is freed, and with it what no later prompt may reuse.
        """
        slot = self._slots[index]
        slot.busy, slot.length = False, length
        kept = slot.cuts[-1] if slot.cuts else 0
        if self._reuse_answers and fed and length >= slot.prompt_length:
            slot.tokens = (*slot.tokens, *fed)
            kept = len(slot.tokens)
        if not kept or not (kept == length or self._memory.truncate(index, kept)):
            self._memory.forget(index)
            slot.empty()
        else:
            slot.length = kept

    def spoil(self, index: int) -> None:
        """The place's sequence failed: what the place holds may be spoilt, it serves again after `wiped`."""
        self._memory.forget(index)
        self._slots[index].empty()
        self._spoilt.add(index)

    def wiped(self) -> None:
        """The whole memory has been wiped; nothing runs."""
        for slot in self._slots:
            slot.empty()
        self._spoilt.clear()


def _common(one: tuple[int, ...], other: tuple[int, ...], most: int) -> int:
    """How many tokens both begin with, `most` at most."""
    most, at = min(len(one), len(other), most), 0
    while at < most and one[at : at + _BLOCK] == other[at : at + _BLOCK]:
        at += _BLOCK
    while at < most and one[at] == other[at]:
        at += 1
    return min(at, most)
