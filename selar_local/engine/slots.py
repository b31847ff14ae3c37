"""The slots of the KV cache that sequences decode in, and the prompt cache: what a slot can give a later prompt.

A slot knows the tokens behind its KV cache, and the lengths at which it may be cut: the ends of whole chunks of a
prompt. llama.cpp's arithmetic depends on how many tokens are decoded together. The same tokens, decoded from a cut on
in chunks of the same size, are the same to the bit as if all had been decoded anew.

A generated token is reused where it was fed as a token, up to the first step that fed something else, and only by a
prompt that continues all of the earlier prompt: a follow-up turn. Such tokens were decoded one by one, so the next
turn has the bits of a conversation that went on. The same texts read anew may give other last bits.

Recurrent and hybrid models keep a running state that cannot take tokens back, sliding-window models forget what has
left the window. Their slots go back to where they were saved alone: at the last whole chunk of a prompt, at its end,
where a later prompt went on, and at the last whole chunk that a prompt shared with an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from selar_local.llama.context import State
from selar_local.llama.runtime import LlamaRuntime

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
    length: int = 0  # positions in the KV cache: these are of `tokens`, once the sequence has ended
    used: int = 0  # when it was taken last
    busy: bool = False
    states: dict[int, State] = field(default_factory=dict)  # saved at these lengths, rising
    shared: int = 0  # tokens that the prompt had in common with an earlier one: a third may have them too

    def empty(self) -> None:
        """Forget all tokens; no sequence uses the slot."""
        self.tokens, self.prompt_length, self.cuts, self.length, self.busy = (), 0, [], 0, False
        self.states = {}

    def lengths(self, prompt: Sequence[int]) -> list[int]:
        """Lengths from which the prompt goes on with the right bits, the longest first."""
        most = len(prompt) - 1  # the last token is decoded in any case: its logits are needed
        if not self.cuts and not self.states and len(self.tokens) <= self.prompt_length:
            return []
        alike = _common(self.tokens, tuple(prompt), most)
        here = min(alike, self.length)
        found = {cut for cut in self.cuts if cut <= here}
        if alike > self.prompt_length and not self.busy:  # a follow-up turn
            found |= {here, *(n for n in self.states if self.prompt_length <= n <= here)}
        return sorted(found, reverse=True)


class Slots:
    """Gives slots to sequences. chunk: tokens of a prompt decoded together; 0: nothing is reused."""

    def __init__(
        self, runtime: LlamaRuntime, count: int, chunk: int, *, reuse_answers: bool = False, state_bytes: int = 0
    ) -> None:
        """state_bytes: of all saved states together."""
        self._runtime = runtime
        self._state_bytes = state_bytes if runtime.needs_checkpoints and chunk > 0 else 0
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
        known = self._slots if self._state_bytes else ()
        shared = max((_common(slot.tokens, tuple(prompt), len(prompt)) for slot in known), default=0)
        target = min(free, key=lambda slot: (slot.length > 0, slot.used))  # an empty one, else the one unused longest
        # The source is taken itself, unless that would lose much of its other content.
        if source is not None and source in free and 2 * length >= source.length:
            target = source
        cuts = [cut for cut in source.cuts if cut < length] if source is not None else []
        states = dict(source.states) if source is not None else {}
        reused = self._fill(target, source, length)
        self._clock += 1
        target.busy, target.used = True, self._clock
        target.tokens, target.prompt_length, target.length = tuple(prompt), len(prompt), reused
        target.cuts = [*cuts, reused] if reused else []
        target.states = {n: state for n, state in states.items() if n in target.cuts}
        target.shared = shared
        if reused and reused not in target.states:
            self._runtime.tidy(target.index, reused)  # the same prompt, read from here again, comes here by `restore`
            self._save(target)
        return target.index, reused

    def _best(self, prompt: Sequence[int]) -> tuple[_Slot | None, int]:
        """The slot with most of the prompt's beginning in its KV cache, and how many tokens of it."""
        best, length = None, 0
        for slot in self._slots:
            if slot.index not in self._spoilt and (found := self._reusable(slot, prompt)) > length:
                best, length = slot, found
        return best, length

    def _reusable(self, slot: _Slot, prompt: Sequence[int]) -> int:
        """How many tokens of the prompt's beginning are in the slot's KV cache, up to where the slot can go back to."""
        return next((n for n in slot.lengths(prompt) if self._can_go_back(slot, n)), 0)

    def _can_go_back(self, slot: _Slot, length: int) -> bool:
        if length in slot.states or (length == slot.length and not slot.busy):
            return True
        exact = length <= self._runtime.exact_cut or length not in slot.cuts
        return exact and self._runtime.can_cut(slot.index, length)

    def _fill(self, target: _Slot, source: _Slot | None, length: int) -> int:
        """Copy the first `length` tokens of `source`, or cut the target to them. Returns how many it has then."""
        if source is not target and target.length:
            self._runtime.forget(target.index)
        if source is None:
            return 0
        if source is not target:
            self._runtime.copy(source.index, target.index)
        whole = source.length == length and not source.busy  # a running sequence has decoded more than its prompt
        if whole or self._go_back(target.index, length, source.states):
            return length
        self._runtime.forget(target.index)
        return 0

    def _go_back(self, index: int, length: int, states: Mapping[int, State]) -> bool:
        """Free what the slot holds from position `length` on. False: it could not."""
        if length in states:
            return self._runtime.restore(index, states[length], length)
        return self._runtime.truncate(index, length)

    def _save(self, slot: _Slot) -> None:
        """Save the slot's state where it is, and drop the oldest states where there are too many bytes."""
        if not self._state_bytes or slot.length in slot.states:
            return
        slot.states[slot.length] = self._runtime.save(slot.index)
        kept = [(one.used, n, one) for one in self._slots for n in one.states]
        size = sum(len(one.states[n]) for _, n, one in kept)
        for _, n, one in sorted(kept, key=lambda entry: entry[:2]):
            if size <= self._state_bytes:
                return
            size -= len(one.states.pop(n))

    def decoded(self, index: int, length: int) -> None:
        """The first `length` tokens of the slot's prompt are decoded: one more chunk, or the rest of the prompt."""
        slot = self._slots[index]
        whole = length - slot.length == self._chunk
        slot.length = length
        if self._chunk and whole:
            slot.cuts.append(length)
        left, beyond = slot.prompt_length - length, length + self._chunk
        cut = slot.cuts[-1:] == [length] and (left <= self._chunk or length <= slot.shared < beyond)
        if cut or (left == 0 and self._reuse_answers):
            self._save(slot)

    def release(self, index: int, length: int, fed: Sequence[int] = ()) -> None:
        """The slot's sequence has ended with `length` positions. fed: the tokens it fed after its prompt.

        All that no later prompt may reuse is freed, such as all positions from the first vector on.
        """
        slot = self._slots[index]
        slot.busy, slot.length = False, length
        known = {*slot.cuts, *slot.states}
        if self._reuse_answers and fed and length >= slot.prompt_length:
            slot.tokens = (*slot.tokens, *fed)
            known.add(len(slot.tokens))
        # A prompt that was broken off may have left a running state between two tokens.
        here = length if length >= slot.prompt_length or not self._runtime.needs_checkpoints else -1
        for kept in sorted(known, reverse=True):
            if kept == here or (self._can_go_back(slot, kept) and self._go_back(index, kept, slot.states)):
                slot.length = kept
                return
        self._runtime.forget(index)
        slot.empty()

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
