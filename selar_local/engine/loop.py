"""The one decode loop: advances all running sequences by a step. Everything else is a consumer of it."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as Many
from typing import Protocol

import numpy as np
import numpy.typing as npt

from selar_local.engine.sequence import Sequence
from selar_local.engine.slots import Slots
from selar_local.errors import DecodeError, SelarError
from selar_local.llama.context import Aborted, ContextFull
from selar_local.llama.runtime import Chunk, Feed

__all__ = ["DecodeLoop", "Runtime"]

logger = logging.getLogger("selar_local.engine")

# Up to so many rows llama.cpp's arithmetic is that of one row: with no more under way, each gets what it gets alone.
_ALONE = 3


class Runtime(Protocol):
    """What the loop needs of a model: `LlamaRuntime`, or a scripted fake in the tests."""

    capacity: int
    batch_size: int  # tokens of a chunk of a prompt
    largest_batch: int  # tokens that a batch can take

    def prefill(
        self, chunks: Many[Chunk], cancelled: Callable[[], bool], hidden: bool = False
    ) -> list[npt.NDArray[np.float32] | None]:
        """Decode chunks of prompts; logits after those that end one. hidden, for one chunk: keep its hidden state."""

    def step(self, feeds: Many[Feed], prefer_rows: bool, hidden: bool = False) -> list[npt.NDArray[np.float32]]:
        """Decode one input per sequence; their logits. hidden: keep their hidden states too."""

    def core_wait_meter(self) -> Callable[[], float | None]:
        """A function that gives the part of the decoding time from now on that a thread waited for a core."""

    def hidden_state(self, row: int) -> npt.NDArray[np.float32]:
        """The hidden state of a row of the last call, which was asked to keep it."""

    def forget(self, slot: int) -> None:
        """Free the slot's KV cache."""

    def truncate(self, slot: int, length: int) -> bool:
        """Free the slot's KV cache from position `length` on; False where the model's memory cannot."""

    def copy(self, source: int, target: int) -> None:
        """Make an empty slot hold what another one holds."""

    def clear(self) -> None:
        """Free the KV cache of all sequences and wipe what was in it."""


class DecodeLoop:
    """Admits waiting sequences to free slots and advances the running ones. Owned by one thread."""

    def __init__(
        self,
        runtime: Runtime,
        slots: int,
        closing: Callable[[], bool] = bool,
        *,
        prompt_cache: bool = False,
        reuse_answers: bool = False,
    ) -> None:
        """closing: asked while a prompt is decoded; once true, the decode is given up."""
        self._runtime = runtime
        self._closing = closing
        self._slots = Slots(runtime, slots, runtime.batch_size if prompt_cache else 0, reuse_answers=reuse_answers)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def step(self) -> None:
        """One turn: end the cancelled, admit, a chunk's worth of waiting prompts, one token for the others."""
        self._drop_cancelled()
        self._admit()
        self._prefill_some()
        ready = [s for s in self.running if s.next_input is not None and not s.finished]
        if ready:
            # llama.cpp computes only neighbouring places together: out of order, each would be a batch of its own.
            self._advance(sorted(ready, key=lambda s: s.slot))
        self._retire()

    def _drop_cancelled(self) -> None:
        cancelled = [s for s in (*self.waiting, *self.running) if s.cancelled.is_set()]
        if not cancelled:
            return
        for sequence in cancelled:
            sequence.finish("cancelled")
        self.waiting = deque(s for s in self.waiting if not s.finished)
        self._retire()

    def _admit(self) -> None:
        while self.waiting and self._slots.available:
            sequence = self.waiting[0]  # it stays there until it has its place: whatever happens, somebody ends it
            sequence.slot, held = self._slots.take(sequence.request.prompt)
            self.running.append(self.waiting.popleft())
            sequence.begin(held, self._runtime.core_wait_meter())

    def _prefill_some(self) -> None:
        """One chunk of the prompt that waits longest, and of others as much as fits into a chunk's length with it.

        Running answers never wait for more than that, or for one batch of prompts that are computed together.
        """
        room = self._runtime.batch_size
        waiting = [s for s in self.running if s.prefilling]
        while waiting:
            needed = min(len(waiting[0].pending_prompt), self._runtime.batch_size)
            if needed > room:
                return
            together = self._alike(waiting, self._runtime.largest_batch // needed)
            room -= needed * len(together)
            waiting = [s for s in waiting if s not in together]
            self._prefill(together)

    def _alike(self, waiting: list[Sequence], most: int) -> list[Sequence]:
        """The first, and others with as many tokens to decode: llama.cpp computes chunks of one length at once.

        (Whole chunks never share a batch: what the prompt cache keeps of them must be what it was alone.)
        """
        first, length = waiting[0], len(waiting[0].pending_prompt)
        if len(self.running) <= _ALONE or length >= self._runtime.batch_size or not first.mixes:
            return [first]
        alike = [s for s in waiting if len(s.pending_prompt) == length and s.mixes]
        return sorted(alike[:most], key=lambda s: s.slot)

    def _prefill(self, sequences: list[Sequence]) -> None:
        size = self._runtime.batch_size
        chunks = [Chunk(s.slot, s.position, s.pending_prompt[:size], len(s.pending_prompt) <= size) for s in sequences]
        hidden = chunks[0].last and sequences[0].wants_hidden
        try:
            found = self._runtime.prefill(
                chunks, lambda: self._closing() or all(s.cancelled.is_set() for s in sequences), hidden
            )
        except Aborted:
            for sequence in sequences:
                if sequence.cancelled.is_set():  # else the engine closes, and says so to all
                    sequence.finish("cancelled")
        except Exception as error:
            if len(sequences) > 1:  # one prompt may have spoilt the batch: each alone, so that the others go on
                for sequence in sequences:
                    self._prefill([sequence])
            elif isinstance(error, ContextFull):
                sequences[0].finish("length", context_full=True)
            else:
                sequences[0].finish("error", _fit(error), spoilt=True)
        else:
            for sequence, chunk, logits in zip(sequences, chunks, found, strict=True):
                self._prefilled(sequence, len(chunk.ids), logits, hidden)

    def _prefilled(self, sequence: Sequence, count: int, logits: npt.NDArray[np.float32] | None, hidden: bool) -> None:
        sequence.prefilled(count)
        if not hidden:  # with it the last token was decoded alone
            self._slots.decoded(sequence.slot, sequence.position)
        if logits is not None:
            self._take(sequence, logits, 0)

    def _take(self, sequence: Sequence, logits: npt.NDArray[np.float32], row: int) -> None:
        """The sequence's step on the logits of the batch's row; what goes wrong in it is its own."""
        try:
            hidden = self._runtime.hidden_state(row) if sequence.wants_hidden else None
            sequence.take(logits, self._runtime.capacity, hidden)
        except Exception as error:
            sequence.finish("error", _fit(error), spoilt=not np.isfinite(logits).all())

    def _advance(self, ready: list[Sequence]) -> None:
        feeds = [Feed(s.slot, s.position, s.next_input) for s in ready if s.next_input is not None]
        try:
            all_logits = self._runtime.step(
                feeds, any(s.prefer_rows for s in ready), any(s.wants_hidden for s in ready)
            )
        except ContextFull:
            # A cache shared by several sequences can be full before each reaches its own limit: the longest yields.
            max(ready, key=lambda s: s.position).finish("length", context_full=True)
            return
        except Exception as error:
            if len(ready) == 1:
                ready[0].finish("error", _fit(error), spoilt=True)
            else:  # one input may have spoilt the batch: each alone, so that the others go on
                for sequence in ready:
                    self._advance([sequence])
            return
        for row, (sequence, logits) in enumerate(zip(ready, all_logits, strict=True)):
            sequence.advanced()
            self._take(sequence, logits, row)

    def _retire(self) -> None:
        for sequence in [s for s in self.running if s.finished]:
            self.running.remove(sequence)
            if sequence.spoilt:
                self._slots.spoil(sequence.slot)
            else:
                self._slots.release(sequence.slot, sequence.position, sequence.fed)
        if self._slots.spoilt and not self.running:
            self._runtime.clear()
            self._slots.wiped()

    def abandon(self, error: BaseException) -> None:
        """End every sequence with `error`: the engine is closing or something unforeseen happened."""
        reason = _fit(error)
        for sequence in [*self.waiting, *self.running]:
            sequence.finish("error", reason)
        self.waiting.clear()
        self.running.clear()


def _fit(error: BaseException) -> SelarError:
    """The error as one for the caller; one that is not ours, such as that of a method he wrote, is logged too."""
    if isinstance(error, SelarError):
        return error
    logger.error("a generation failed", exc_info=error)
    return DecodeError(f"internal error: {error!r}")
