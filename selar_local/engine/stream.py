"""The caller's end of one generation: an iterator of events that can be stopped from any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Protocol

from selar_local.engine.events import Result, TokenEvent
from selar_local.engine.sequence import Message, Prefilled
from selar_local.errors import EngineClosed, SelarError
from selar_local.methods.base import Method

__all__ = ["Stream"]

_POLL_SECONDS = 0.5  # lets Ctrl-C through on Windows, and notices a worker that died


class Source(Protocol):
    """What a stream reads from: a `Sequence`, here or in another process."""

    messages: SimpleQueue[Message]
    seed: int

    @property
    def cancelled(self) -> Any:
        """Has a method `set`, which asks for the end."""

    @property
    def request(self) -> Any:
        """Has `prompt`, its token ids, and `method`."""

    def finish(self, reason: str, error: SelarError | None = None) -> None:
        """End it from this side."""


class Stream(Iterator[TokenEvent]):
    """Iterate over it for `TokenEvent`s; afterwards `result` holds the `Result`.

    Leaving the ``with`` block, `close`, or dropping the last reference stops the generation within one
    decode step. An error of the engine is raised by the iteration, after the events before it.
    """

    def __init__(
        self,
        sequence: Source,
        alive: Callable[[], bool],
        on_prefill: Callable[[int, int], None] | None = None,
    ) -> None:
        self._sequence = sequence
        self._alive = alive
        self._on_prefill = on_prefill
        self._error: SelarError | None = None
        self._result: Result | None = None
        self._on_result: Callable[[Result], None] | None = None

    @property
    def result(self) -> Result:
        """The finished generation. Raises RuntimeError while it is still going on."""
        if self._result is None:
            raise RuntimeError("the generation is not finished: iterate over the stream or close it first")
        return self._result

    @property
    def seed(self) -> int:
        """The seed of this generation's draws: give it again for the same run."""
        return self._sequence.seed

    @property
    def method(self) -> Method:
        """The method at work, with what depends on the model filled in (a calibrated tau)."""
        method: Method = self._sequence.request.method
        return method

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        prompt: tuple[int, ...] = self._sequence.request.prompt
        return prompt

    def on_result(self, callback: Callable[[Result], None]) -> None:
        """Have `callback` called with the `Result`, in the thread that receives it, just before `result` has it."""
        self._on_result = callback

    def __next__(self) -> TokenEvent:
        while self._result is None:
            message = self._receive()
            if isinstance(message, TokenEvent):
                return message
            if isinstance(message, Prefilled) and self._on_prefill is not None:
                self._on_prefill(message.done, message.total)
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        raise StopIteration

    def _receive(self) -> TokenEvent | Prefilled | None:
        try:
            message = self._sequence.messages.get(timeout=_POLL_SECONDS)
        except Empty:
            if not self._alive() and self._sequence.messages.empty():
                self._sequence.finish("error", EngineClosed("the engine was closed"))
            return None
        if isinstance(message, Result):
            if self._on_result is not None:
                self._on_result(message)
            self._result = message
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
