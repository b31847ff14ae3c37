"""The caller's end of one generation: an iterator of events that can be stopped from any thread."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol

from selar_local.engine.events import Result, TokenEvent
from selar_local.engine.messages import Message, Prefilled, Source
from selar_local.engine.reprs import short
from selar_local.errors import EngineClosed, SelarError
from selar_local.methods.base import Method

__all__ = ["BaseStream", "Stream", "Streaming"]

_POLL_SECONDS = 0.5  # lets Ctrl-C through on Windows, and notices a worker that died


class Streaming(Protocol):
    """What a stream needs of its engine, which it keeps from being dropped while the generation goes on."""

    def alive(self) -> bool:
        """Whether the thread or process that computes is there."""


class BaseStream(ABC):
    """What both kinds of stream know of their generation."""

    _tokens = 0  # of the events so far

    @abstractmethod
    def _facts(self) -> tuple[Source | None, Result | None]:
        """The generation once it has begun, and its result once it has ended."""

    @property
    def result(self) -> Result:
        """The finished generation. Raises RuntimeError while it is still going on."""
        _, result = self._facts()
        if result is None:
            raise RuntimeError("the generation is not finished: iterate over the stream or close it first")
        return result

    @property
    def seed(self) -> int:
        """The seed of this generation's draws: give it again for the same run."""
        return self._begun().seed

    @property
    def method(self) -> Method:
        """The method at work, with what depends on the model filled in (a calibrated tau)."""
        method: Method = self._begun().request.method
        return method

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        prompt: tuple[int, ...] = self._begun().request.prompt
        return prompt

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the request, such as an option that has no effect on this model."""
        notes: tuple[str, ...] = self._begun().request.notes
        return notes

    def _begun(self) -> Source:
        source, _ = self._facts()
        if source is None:
            raise RuntimeError("the generation has not begun: enter `async with`, or iterate, first")
        return source

    def __repr__(self) -> str:
        source, result = self._facts()
        if result is None:
            count, state, preview = self._tokens, "running" if source else "not begun", ""
        else:
            count, state = result.usage.completion_tokens, result.finish_reason
            preview = f", {short(result.text)!r}"
        return f"<{type(self).__name__}: {state}, {count} token{'' if count == 1 else 's'}{preview}>"


class Stream(BaseStream, Iterator[TokenEvent]):
    """Iterate over it for `TokenEvent`s; afterwards `result` holds the `Result`.

    Leaving the ``with`` block, `close`, or dropping the last reference stops the generation within one
    decode step. An error of the engine is raised by the iteration, after the events before it.
    """

    def __init__(
        self,
        sequence: Source,
        messages: SimpleQueue[Message],
        engine: Streaming,
        on_prefill: Callable[[int, int], None] | None = None,
    ) -> None:
        """messages: those of the sequence."""
        self._sequence = sequence
        self._messages = messages
        self._engine: Streaming | None = engine
        self._on_prefill = on_prefill
        self._error: SelarError | None = None
        self._result: Result | None = None
        self._on_result: Callable[[Result], None] | None = None

    def _facts(self) -> tuple[Source | None, Result | None]:
        return self._sequence, self._result

    def on_result(self, callback: Callable[[Result], None]) -> None:
        """Have `callback` called with the `Result`, in the thread that receives it, just before `result` has it."""
        self._on_result = callback

    def __next__(self) -> TokenEvent:
        while self._result is None:
            message = self._receive()
            if isinstance(message, TokenEvent):
                self._tokens += 1
                return message
            if isinstance(message, Prefilled) and self._on_prefill is not None:
                self._on_prefill(message.done, message.total)
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # else this frame and the error would keep each other, and the caller's engine with them
        raise StopIteration

    def _receive(self) -> Message | None:
        try:
            message = self._messages.get(timeout=_POLL_SECONDS)
        except Empty:
            if self._engine and not self._engine.alive() and self._messages.empty():
                self._sequence.finish("error", EngineClosed("the engine was closed"))
            return None
        if isinstance(message, Result):
            if self._on_result is not None:
                self._on_result(message)
            self._result, self._engine, self._on_result = message, None, None  # a finished stream keeps nothing
        elif isinstance(message, SelarError):
            self._error = message
        else:
            return message
        return None

    def cancel(self) -> None:
        """Ask the generation to stop. Returns at once; callable from any thread, any number of times."""
        self._sequence.cancelled.set()

    def close(self) -> None:
        """Stop the generation and wait until it has stopped; `result` is then there. Idempotent."""
        self.cancel()
        while self._result is None:
            self._receive()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        sequence = getattr(self, "_sequence", None)
        if sequence is not None:
            sequence.cancelled.set()
