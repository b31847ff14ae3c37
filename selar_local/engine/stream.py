"""The caller's end of one generation: an iterator of events that can be stopped from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING

from selar_local.engine.events import Message, Prefilled, Result, Started, TokenEvent
from selar_local.engine.reprs import short
from selar_local.errors import EngineClosed, SelarError
from selar_local.methods.base import Method

if TYPE_CHECKING:
    from selar_local.engine.base_engine import BaseEngine

_POLL_SECONDS = 0.5  # lets Ctrl-C through on Windows, and notices a worker that died


class Arrived:
    """The messages of one generation so far that concern it as a whole."""

    started: Started | None = None
    error: Exception | None = None
    result: Result | None = None


class BaseStream:
    """The part that `Stream` and `AsyncStream` have in common."""

    def __init__(self, arrived: Arrived, engine: BaseEngine) -> None:
        """engine: not dropped while the generation goes on."""
        self._arrived = arrived
        self._engine: BaseEngine | None = engine
        self._tokens = 0  # of the events so far

    @property
    def result(self) -> Result:
        """The finished generation. Raises RuntimeError while it is still going on."""
        if self._arrived.result is None:
            raise RuntimeError("the generation is not finished: iterate over the stream or close it first")
        return self._arrived.result

    @property
    def seed(self) -> int:
        """The seed of this generation's draws: give it again for the same run."""
        return self._started().seed

    @property
    def method(self) -> Method:
        """The method at work, with what depends on the model filled in (a calibrated tau)."""
        return self._started().method

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        return self._started().prompt

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the request, such as an option that has no effect on this model."""
        return self._started().notes

    def _started(self) -> Started:
        if self._arrived.started is None:
            raise RuntimeError("the generation has not begun: enter `async with`, or iterate, first")
        return self._arrived.started

    def _raise_error(self) -> None:
        """Raise the generation's error, once."""
        if self._arrived.error is not None:
            error, self._arrived.error = self._arrived.error, None
            try:
                raise error
            finally:
                del error  # else this frame and the error would keep each other, and the caller's engine with them

    def __repr__(self) -> str:
        result = self._arrived.result
        if result is None:
            count, state, preview = self._tokens, "running" if self._arrived.started else "not begun", ""
        else:
            count, state = result.usage.completion_tokens, result.finish_reason
            preview = f", {short(result.text)!r}"
        return f"<{type(self).__name__}: {state}, {count} token{'' if count == 1 else 's'}{preview}>"


class Stream(BaseStream, Iterator[TokenEvent]):
    """Iterate over it for `TokenEvent`s; afterwards `result` has the `Result`.

    Leaving the ``with`` block, `close`, or dropping the last reference stops the generation within one
    decode step. An error of the engine is raised by the iteration, after the events before it.
    """

    def __init__(
        self,
        started: Started,
        messages: SimpleQueue[Message],
        engine: BaseEngine,
        on_prefill: Callable[[int, int], None] | None = None,
    ) -> None:
        """messages: of the generation that `started` describes."""
        super().__init__(Arrived(), engine)
        self._arrived.started = started
        self._messages = messages
        self._on_prefill = on_prefill
        self._on_result: Callable[[Result], None] | None = None

    def on_result(self, callback: Callable[[Result], None]) -> None:
        """Have `callback` called with the `Result`, in the thread that receives it, just before `result` has it."""
        self._on_result = callback

    def __next__(self) -> TokenEvent:
        while self._arrived.result is None:
            message = self._receive()
            if isinstance(message, TokenEvent):
                self._tokens += 1
                return message
            if isinstance(message, Prefilled) and self._on_prefill is not None:
                self._on_prefill(message.done, message.total)
        self._raise_error()
        raise StopIteration

    def _receive(self) -> Message | None:
        try:
            message = self._messages.get(timeout=_POLL_SECONDS)
        except Empty:
            if self._engine and not self._engine.alive() and self._messages.empty():
                self._started().fail(EngineClosed("the engine was closed"))
            return None
        if isinstance(message, Result):
            if self._on_result is not None:
                self._on_result(message)
            # A finished stream keeps neither the engine nor the callback.
            self._arrived.result, self._engine, self._on_result = message, None, None
        elif isinstance(message, SelarError):
            self._arrived.error = message
        return message

    def cancel(self) -> None:
        """Ask the generation to stop. Returns at once; callable from any thread, any number of times."""
        self._started().cancel()

    def close(self) -> None:
        """Stop the generation and wait until it has stopped; `result` is then there. Idempotent."""
        self.cancel()
        while self._arrived.result is None:
            self._receive()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_arrived"):
            self.cancel()
