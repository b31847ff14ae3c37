"""The caller's end of one generation in asyncio: an asynchronous iterator of events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType

from selar_local.engine.awaiting import Inbox, Launch, Refused
from selar_local.engine.events import Result, TokenEvent
from selar_local.engine.messages import Emit, Message, Prefilled, Source, Started
from selar_local.engine.stream import BaseStream, Streaming

__all__ = ["AsyncStream"]


class _Arrivals:
    """What has come of one generation; the event loop's thread alone touches it.

    It does not know its `AsyncStream`, so that one which nobody has any more is noticed while messages still come.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready: deque[TokenEvent | Prefilled] = deque()
        self.source: Source | None = None
        self.result: Result | None = None
        self.error: Exception | None = None
        self.over = False
        self._changed = asyncio.Event()
        self._launch: Launch | None = None

    def begin(self, begin: Callable[[Emit], Source]) -> None:
        """Hand the generation to the engine."""
        inbox = Inbox(self.take, self.cancel)
        self._launch = Launch(begin, inbox.put)

    def cancel(self) -> None:
        """Ask the generation to stop; any thread may."""
        if self._launch is not None:
            self._launch.cancel()

    def take(self, message: Message | Refused) -> None:
        """One more message."""
        if isinstance(message, (TokenEvent, Prefilled)):
            self.ready.append(message)
        elif isinstance(message, Started):
            self.source = message.source
        elif isinstance(message, Result):
            self.result, self.over = message, True
        elif isinstance(message, Refused):
            self.error, self.over = message.error, True
        else:  # the result follows
            self.error = message
        self._changed.set()

    async def change(self) -> None:
        """Wait for the next message."""
        self._changed.clear()
        await self._changed.wait()


class AsyncStream(BaseStream, AsyncIterator[TokenEvent]):
    """As `Stream`, for ``async for``. It belongs to the event loop that first uses it.

    The generation begins with ``async with``, or with the first event. Leaving the ``async with`` block, `aclose`, a
    cancelled task that waits for an event, or dropping the last reference stops it within one decode step.
    """

    def __init__(
        self,
        begin: Callable[[Emit], Source],
        engine: Streaming,
        on_prefill: Callable[[int, int], None] | None = None,
    ) -> None:
        """begin: `BaseEngine.begin` with its other arguments."""
        self._begin: Callable[[Emit], Source] | None = begin
        self._engine: Streaming | None = engine
        self._on_prefill = on_prefill
        self._cancelled = False
        self._arrivals: _Arrivals | None = None

    def _facts(self) -> tuple[Source | None, Result | None]:
        return (None, None) if self._arrivals is None else (self._arrivals.source, self._arrivals.result)

    async def __anext__(self) -> TokenEvent:
        arrivals = self._started()
        while True:
            if arrivals.ready:
                message = arrivals.ready.popleft()
                if isinstance(message, TokenEvent):
                    self._tokens += 1
                    return message
                if self._on_prefill is not None:
                    self._on_prefill(message.done, message.total)
            elif arrivals.over:
                self._end(arrivals)
                raise StopAsyncIteration
            else:
                await self._wait(arrivals)

    def _started(self) -> _Arrivals:
        """What has come so far. The first call hands the generation to the engine."""
        if self._arrivals is None:
            self._arrivals = _Arrivals()
            if self._begin is not None:
                self._arrivals.begin(self._begin)
                self._begin = None
            if self._cancelled:
                self._arrivals.cancel()
        elif self._arrivals.loop is not asyncio.get_running_loop():
            raise RuntimeError("this stream belongs to another event loop")
        return self._arrivals

    async def _wait(self, arrivals: _Arrivals) -> None:
        try:
            await arrivals.change()
        except BaseException:  # the task was cancelled, or dropped
            self.cancel()
            raise

    def _end(self, arrivals: _Arrivals) -> None:
        """All has come: let the engine go, and raise its error, once."""
        self._engine = None
        if arrivals.error is not None:
            error, arrivals.error = arrivals.error, None
            try:
                raise error
            finally:
                del error  # see `Stream`

    def cancel(self) -> None:
        """Ask the generation to stop. Returns at once; callable from any thread, any number of times."""
        self._cancelled = True
        if self._arrivals is not None:
            self._arrivals.cancel()

    async def aclose(self) -> None:
        """Stop the generation and wait until it has stopped; `result` is then there. Idempotent.

        One that has not begun never begins, and has no result.
        """
        self.cancel()
        if self._arrivals is None:
            self._begin = None
            self._started().over = True
        arrivals = self._started()
        while not arrivals.over:
            await arrivals.change()
        arrivals.ready.clear()
        self._engine = None

    async def __aenter__(self) -> AsyncStream:
        """Wait until the engine has taken the request. Raises its errors."""
        arrivals = self._started()
        while arrivals.source is None and not arrivals.over:
            await self._wait(arrivals)
        if arrivals.source is None:
            self._end(arrivals)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:  # the task was dropped: nothing can be awaited
            self.cancel()
        else:
            await self.aclose()

    def __del__(self) -> None:
        self.cancel()
