"""The slots of the KV cache that sequences decode in, and the prompt cache: what a slot can give a later prompt.

A slot knows the tokens behind its KV cache, and the lengths at which it may be cut: the ends of whole chunks of a
prompt. llama.cpp's arithmetic depends on how many tokens are decoded together. The same tokens, decoded from a cut on
in chunks of the same size, are the same to the bit as if all had been decoded anew.

A generated token is reused where it was fed as a token, up to the first step that fed something else, and only by a
prompt that continues all of the earlier prompt: a follow-up turn. Such tokens were decoded one by one, so the next
turn has the bits of a conversation that went on. The same texts read anew may give other last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from selar_local.llama.runtime import LlamaRuntime

__all__ = ["Slots"]

# From this share of spoilt slots on nothing new begins until they are wiped.
_SPOILT = 0.25
_BLOCK = 64  # tokens compared at once


@dataclass
class _Slot:
    """One slot."""

    index: int
    tokens: tuple[int, ...] = ()  # of the prompt; once the sequence has ended also the ones it fed as tokens
    prompt_length: int = 0
    cuts: list[int] = field(default_factory=list)  # lengths, rising, at which the KV cache may be cut
    length: int = 0  # positions in the KV cache
    used: int = 0  # when it was taken last
    busy: bool = False

    def empty(self) -> None:
        """Forget all tokens; no sequence uses the slot."""
        self.tokens, self.prompt_length, self.cuts, self.length, self.busy = (), 0, [], 0, False

    def reusable(self, prompt: Sequence[int]) -> int:
        """How many tokens of the prompt's beginning are in the KV cache, up to a length where it may be cut."""
        most = len(prompt) - 1  # the last token is decoded in any case: its logits are needed
        if not self.cuts and len(self.tokens) <= self.prompt_length:
            return 0
        alike = _common(self.tokens, tuple(prompt), most)
        if alike > self.prompt_length and not self.busy:
            return alike
        return max((cut for cut in self.cuts if cut <= alike), default=0)


class Slots:
    """Gives slots to sequences. chunk: tokens of a prompt decoded together; 0: nothing is reused."""

    def __init__(self, runtime: LlamaRuntime, count: int, chunk: int, *, reuse_answers: bool = False) -> None:
        self._runtime = runtime
        self._chunk = chunk
        self._reuse_answers = reuse_answers and chunk > 0
        self._slots = [_Slot(index) for index in range(count)]
        self._spoilt: set[int] = set()
        self._clock = 0

    @property
    def available(self) -> bool:
        """Whether a slot is free. Where many slots wait to be wiped none is: first all running sequences must end."""
        if len(self._spoilt) >= _SPOILT * len(self._slots):
            return False
        return any(not slot.busy and slot.index not in self._spoilt for slot in self._slots)

    @property
    def spoilt(self) -> bool:
        """Whether slots wait to be wiped: without flash attention, NaN outlives `forget`."""
        return bool(self._spoilt)

    def take(self, prompt: Sequence[int], *, anew: bool = False) -> tuple[int, int]:
        """A free slot for this prompt, and how many of its tokens the slot's KV cache has already.

        anew: nothing is reused.
        """
        free = [slot for slot in self._slots if not slot.busy and slot.index not in self._spoilt]
        source, length = (None, 0) if anew else self._best(prompt)
        target = min(free, key=lambda slot: (slot.length > 0, slot.used))  # an empty one, else the one unused longest
        # The source is taken itself, unless that would lose much of its other content.
        if source is not None and source in free and 2 * length >= source.length:
            target = source
        cuts = [cut for cut in source.cuts if cut < length] if source is not None else []
        reused = self._fill(target, source, length)
        self._clock += 1
        target.busy, target.used = True, self._clock
        target.tokens, target.prompt_length, target.length = tuple(prompt), len(prompt), reused
        target.cuts = [*cuts, reused] if reused else []
        return target.index, reused

    def _best(self, prompt: Sequence[int]) -> tuple[_Slot | None, int]:
        """The slot with most of the prompt's beginning in its KV cache, and how many tokens of it."""
        best, length = None, 0
        for slot in self._slots:
            if slot.index not in self._spoilt and (found := slot.reusable(prompt)) > length:
                best, length = slot, found
        return best, length

    def _fill(self, target: _Slot, source: _Slot | None, length: int) -> int:
        """Copy the first `length` tokens of `source`, or cut the target to them. Returns how many it has then."""
        if source is not target and target.length:
            self._runtime.forget(target.index)
        if source is None:
            return 0
        if source is not target:
            self._runtime.copy(source.index, target.index)
        whole = source.length == length and not source.busy  # a running sequence has decoded more than its prompt
        if whole or self._runtime.truncate(target.index, length):
            return length
        self._runtime.forget(target.index)
        return 0

    def decoded(self, index: int, length: int) -> None:
        """The first `length` tokens of the slot's prompt are decoded: one more chunk, or the rest of the prompt."""
        slot = self._slots[index]
        whole = length - slot.length == self._chunk
        slot.length = length
        if self._chunk and whole:
            slot.cuts.append(length)

    def release(self, index: int, length: int, fed: Sequence[int] = ()) -> None:
        """The slot's sequence has ended with `length` positions. fed: the tokens it fed after its prompt.

        All that no later prompt may reuse is freed, such as all positions from the first vector on.
        """
        slot = self._slots[index]
        slot.busy, slot.length = False, length
        kept = slot.cuts[-1] if slot.cuts else 0
        if self._reuse_answers and fed and length >= slot.prompt_length:
            slot.tokens = (*slot.tokens, *fed)
            kept = len(slot.tokens)
        if not kept or not (kept == length or self._runtime.truncate(index, kept)):
            self._runtime.forget(index)
            slot.empty()
        else:
            slot.length = kept

    def spoil(self, index: int) -> None:
        """The slot's sequence failed: its KV cache may contain NaN. The slot serves again after `wiped`."""
        self._runtime.forget(index)
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
