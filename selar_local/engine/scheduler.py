"""The scheduler: it gives sequences their slots and advances all running ones by a step."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from selar_local.engine.sequence import Sequence
from selar_local.engine.slots import Slots
from selar_local.errors import DecodeError, SelarError
from selar_local.llama.context import Aborted, ContextFull
from selar_local.llama.fillers import ALONE
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.runtime import LlamaRuntime

logger = logging.getLogger("selar_local.engine")


class Scheduler:
    """Admits waiting sequences to free slots and advances the running ones. Owned by one thread."""

    def __init__(
        self,
        runtime: LlamaRuntime,
        slots: int,
        closing: Callable[[], bool] = bool,
        *,
        prompt_cache: bool = False,
        reuse_answers: bool = False,
        state_bytes: int = 0,
    ) -> None:
        """closing: called while a prompt is decoded. Once it returns True, the decode is given up.

        prompt_cache, reuse_answers, state_bytes: see `Slots`.
        """
        self._runtime = runtime
        self._closing = closing
        chunk = runtime.batch_size if prompt_cache else 0
        self._slots = Slots(runtime, slots, chunk, reuse_answers=reuse_answers, state_bytes=state_bytes)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self.waiting and not self.running

    def step(self) -> None:
        """One turn: cancelled sequences end, waiting ones get slots, prompts advance by a chunk, answers by a token."""
        self._drop_cancelled()
        self._admit()
        self._prefill_some()
        ready = [s for s in self.running if s.next_input is not None and not s.finished]
        if ready:
            # llama.cpp computes only neighbouring slots together: out of order, each would be a batch of its own.
            self._advance(sorted(ready, key=lambda s: s.slot))
        for sequence in self.running:  # not before all have made their step: callers would contend for the interpreter
            sequence.give_out()
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
            sequence = self.waiting[0]  # it stays in the queue until it has a slot: `abandon` must find it
            sequence.slot, reused = self._slots.take(sequence.request.prompt, anew=sequence.scores_prompt)
            self.running.append(self.waiting.popleft())
            sequence.begin(reused, self._runtime.core_wait_meter())

    def _prefill_some(self) -> None:
        """Decode one chunk of the prompt that waits longest, and of other prompts what fits into a chunk's length.

        Prompts that are computed together may be longer, up to what a batch takes. So may all prompts where most
        sequences wait for a short one: a step of many answers costs little more than a step of a few. Running answers
        never wait for more.
        """
        waiting = [s for s in self.running if s.prefilling]
        if not waiting:
            return
        short = sum(len(s.pending_prompt) < self._runtime.batch_size for s in waiting)
        left = self._runtime.largest_batch
        room = left if 2 * short > len(self.running) else self._runtime.batch_size
        while waiting:
            needed = min(len(waiting[0].pending_prompt), self._runtime.batch_size)
            if needed > room:
                return
            together = self._of_equal_length(waiting, left // needed)
            left -= needed * len(together)
            room -= needed * len(together)
            waiting = [s for s in waiting if s not in together]
            self._prefill(together)

    def _of_equal_length(self, waiting: list[Sequence], most: int) -> list[Sequence]:
        """The first, and others with as many tokens to decode: prompts of equal length share a batch.

        Up to three sequences never share one: each gets the numbers that it would get alone. Whole chunks never do:
        the prompt cache keeps them, and they must be the same as when decoded alone.
        """
        first, length = waiting[0], len(waiting[0].pending_prompt)
        own = first.wants_hidden or first.scores_prompt
        if len(self.running) <= ALONE or length >= self._runtime.batch_size or own:
            return [first]
        equal = [s for s in waiting if len(s.pending_prompt) == length and not (s.wants_hidden or s.scores_prompt)]
        return sorted(equal[:most], key=lambda s: s.slot)

    def _prefill(self, sequences: list[Sequence]) -> None:
        scored = sequences[0].scores_prompt
        size = self._runtime.most_scored if scored else self._runtime.batch_size
        chunks = [Chunk(s.slot, s.position, s.pending_prompt[:size], len(s.pending_prompt) <= size) for s in sequences]
        hidden = chunks[0].last and sequences[0].wants_hidden
        try:
            found = self._score(sequences[0], chunks[0]) if scored else self._prefill_chunks(sequences, chunks, hidden)
        except Aborted:
            for sequence in sequences:
                if sequence.cancelled.is_set():  # else the engine closes, and `abandon` ends them all
                    sequence.finish("cancelled")
        except Exception as error:
            if len(sequences) > 1:  # one prompt may have spoilt the batch: each is tried alone
                for sequence in sequences:
                    self._prefill([sequence])
            elif isinstance(error, ContextFull):
                sequences[0].finish("length", context_full=True)
            else:
                sequences[0].finish("error", _selar_error(error), spoilt=True)
        else:
            for sequence, chunk, logits in zip(sequences, chunks, found, strict=True):
                self._prefilled(sequence, len(chunk.ids), logits, hidden)

    def _prefill_chunks(
        self, sequences: list[Sequence], chunks: list[Chunk], hidden: bool
    ) -> list[npt.NDArray[np.float32] | None]:
        return self._runtime.prefill(
            chunks, lambda: self._closing() or all(s.cancelled.is_set() for s in sequences), hidden
        )

    def _score(self, sequence: Sequence, chunk: Chunk) -> list[npt.NDArray[np.float32] | None]:
        """Decode a chunk of a prompt whose log-probabilities are wanted; the logits after it where it is the last."""
        rows = self._runtime.score(chunk, lambda: self._closing() or sequence.cancelled.is_set())
        sequence.score(rows)
        return [rows[-1] if chunk.last else None]

    def _prefilled(self, sequence: Sequence, count: int, logits: npt.NDArray[np.float32] | None, hidden: bool) -> None:
        sequence.prefilled(count)
        if not hidden:  # for a hidden state the last token was decoded alone
            self._slots.decoded(sequence.slot, sequence.position)
        if logits is not None:
            self._step(sequence, logits, 0)
            sequence.give_out()

    def _step(self, sequence: Sequence, logits: npt.NDArray[np.float32], row: int) -> None:
        """The sequence's step on the logits of the batch's row. An error ends this sequence alone."""
        try:
            hidden = self._runtime.hidden_state(row) if sequence.wants_hidden else None
            sequence.step(logits, self._runtime.capacity, hidden)
        except Exception as error:
            sequence.finish("error", _selar_error(error), spoilt=not np.isfinite(logits).all())

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
                ready[0].finish("error", _selar_error(error), spoilt=True)
            else:  # one input may have spoilt the batch: each is tried alone
                for sequence in ready:
                    self._advance([sequence])
            return
        for row, (sequence, logits) in enumerate(zip(ready, all_logits, strict=True)):
            sequence.advanced()
            self._step(sequence, logits, row)

    def _retire(self) -> None:
        for sequence in [s for s in self.running if s.finished]:
            self.running.remove(sequence)
            if sequence.spoilt:
                self._slots.spoil(sequence.slot)
            else:
                self._slots.release(sequence.slot, sequence.position, sequence.fed_tokens)
        if self._slots.spoilt and not self.running:
            self._runtime.clear()
            self._slots.wiped()

    def abandon(self, error: BaseException) -> None:
        """End every sequence with `error`: the engine is closing, or its worker has failed."""
        reason = _selar_error(error)
        for sequence in [*self.waiting, *self.running]:
            sequence.finish("error", reason)
        self.waiting.clear()
        self.running.clear()


def _selar_error(error: BaseException) -> SelarError:
    """The error for the caller. Another error than ours, such as one of a method from outside, is logged too."""
    if isinstance(error, SelarError):
        return error
    logger.error("a generation failed", exc_info=error)
    return DecodeError(f"internal error: {error!r}")
