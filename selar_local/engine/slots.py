"""The places that sequences decode in, and what each still holds: the prompt cache.

What is reused is exact. llama.cpp's arithmetic depends on how many tokens are decoded together, so only whole chunks
of a prompt are: the same tokens, at the same positions, decoded in a chunk of the same size, are the same to the bit as
if they had been decoded anew. Generated positions are never reused: they were decoded one by one, many of them from
vectors that no token names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Memory", "Slots"]

# With this share of the places spoilt nothing new begins until they are wiped.
_SPOILT = 0.25


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
    """One place. prompt: the tokens of the prompt last decoded here. chunks: how many of its chunks are whole."""

    index: int
    prompt: Sequence[int] = ()
    chunks: int = 0
    used: int = 0
    busy: bool = False


class Slots:
    """Gives places to sequences. chunk: tokens of a prompt decoded together; 0: nothing is reused."""

    def __init__(self, memory: Memory, count: int, chunk: int) -> None:
        self._memory = memory
        self._chunk = chunk
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
        """A free place for this prompt, and how many of its tokens the place holds already."""
        free = [slot for slot in self._slots if not slot.busy and slot.index not in self._spoilt]
        source, chunks = self._best(prompt)
        target = min(free, key=lambda slot: (slot.chunks > 0, slot.used))  # an empty one, else the one unused longest
        # The one that holds it is taken itself, unless that would lose much of what else it holds.
        if source is not None and source in free and 2 * chunks >= source.chunks:
            target = source
        held = self._fill(target, source, chunks)
        self._clock += 1
        target.busy, target.used, target.prompt, target.chunks = True, self._clock, prompt, held
        return target.index, held * self._chunk

    def _best(self, prompt: Sequence[int]) -> tuple[_Slot | None, int]:
        """The place that holds most of the prompt's beginning, and how many whole chunks of it."""
        if not self._chunk:
            return None, 0
        most = (len(prompt) - 1) // self._chunk  # the last token is decoded in any case: its logits are needed
        best, chunks = None, 0
        for slot in self._slots:
            if slot.index in self._spoilt:
                continue
            alike = _common(slot.prompt, prompt, self._chunk, min(slot.chunks, most))
            if alike > chunks:
                best, chunks = slot, alike
        return best, chunks

    def _fill(self, target: _Slot, source: _Slot | None, chunks: int) -> int:
        """Make `target` hold the first `chunks` of what `source` holds; how many it then holds."""
        if source is not target and target.chunks:
            self._memory.forget(target.index)
        if source is None:
            return 0
        if source is not target:
            self._memory.copy(source.index, target.index)
        if self._memory.truncate(target.index, chunks * self._chunk):
            return chunks
        self._memory.forget(target.index)
        return 0

    def decoded(self, index: int, length: int) -> None:
        """The first `length` tokens of the place's prompt have been decoded, in whole chunks but for the last."""
        if self._chunk:
            self._slots[index].chunks = length // self._chunk

    def release(self, index: int) -> None:
        """The place's sequence has ended: free what was generated, keep whole chunks of the prompt."""
        slot = self._slots[index]
        slot.busy = False
        if not slot.chunks or not self._memory.truncate(index, slot.chunks * self._chunk):
            self._memory.forget(index)
            slot.prompt, slot.chunks = (), 0

    def spoil(self, index: int) -> None:
        """The place's sequence failed: what the place holds may be spoilt, it serves again after `wiped`."""
        slot = self._slots[index]
        self._memory.forget(index)
        slot.busy, slot.prompt, slot.chunks = False, (), 0
        self._spoilt.add(index)

    def wiped(self) -> None:
        """The whole memory has been wiped; nothing runs."""
        for slot in self._slots:
            slot.busy, slot.prompt, slot.chunks = False, (), 0
        self._spoilt.clear()

    def held(self) -> Iterable[int]:
        """Tokens kept in each place (for metrics)."""
        return [slot.chunks * self._chunk for slot in self._slots]


def _common(one: Sequence[int], other: Sequence[int], chunk: int, most: int) -> int:
    """How many whole chunks both begin with, `most` at most."""
    for i in range(most):
        if one[i * chunk : (i + 1) * chunk] != other[i * chunk : (i + 1) * chunk]:
            return i
    return most
