"""The caller's end of one generation in asyncio: an asynchronous iterator of events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import TYPE_CHECKING

from selar_local.engine.awaiting import Launch, Refused
from selar_local.engine.events import Emit, Message, Prefilled, Result, Started, TokenEvent
from selar_local.engine.stream import Arrived, BaseStream

if TYPE_CHECKING:
    from selar_local.engine.base_engine import BaseEngine


class _Arrived(Arrived):
    """The messages of one generation so far; the event loop's thread alone touches them.

    It does not know its `AsyncStream`: a stream without references is noticed while messages still come.
    """

    def __init__(self) -> None:
        self.ready: deque[TokenEvent | Prefilled] = deque()
        self.over = False
        self._changed = asyncio.Event()

    def take(self, message: Message | Refused) -> None:
        """Add one more message."""
        if isinstance(message, (TokenEvent, Prefilled)):
            self.ready.append(message)
        elif isinstance(message, Started):
            self.started = message
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

    _arrived: _Arrived

    def __init__(
        self,
        begin: Callable[[Emit], Started],
        engine: BaseEngine,
        on_prefill: Callable[[int, int], None] | None = None,
    ) -> None:
        """begin: `BaseEngine.begin` with its other arguments."""
        super().__init__(_Arrived(), engine)
        self._begin: Callable[[Emit], Started] | None = begin
        self._on_prefill = on_prefill
        self._cancelled = False
        self._launch: Launch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __anext__(self) -> TokenEvent:
        arrived = self._launched()
        while True:
            if arrived.ready:
                message = arrived.ready.popleft()
                if isinstance(message, TokenEvent):
                    self._tokens += 1
                    return message
                if self._on_prefill is not None:
                    self._on_prefill(message.done, message.total)
            elif arrived.over:
                self._engine = None
                self._raise_error()
                raise StopAsyncIteration
            else:
                await self._wait()

    def _launched(self) -> _Arrived:
        """The messages so far. The first call gives the generation to the engine."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            if self._begin is not None:
                self._launch = Launch(self._begin, self._arrived.take, self._cancelled)
                self._begin = None
            if self._cancelled:  # another thread may have asked for it meanwhile
                self.cancel()
        elif self._loop is not asyncio.get_running_loop():
            raise RuntimeError("this stream belongs to another event loop")
        return self._arrived

    async def _wait(self) -> None:
        try:
            await self._arrived.change()
        except BaseException:  # the task was cancelled, or dropped
            self.cancel()
            raise

    def cancel(self) -> None:
        """Ask the generation to stop. Returns at once; callable from any thread, any number of times."""
        self._cancelled = True
        if self._launch is not None:
            self._launch.cancel()

    async def aclose(self) -> None:
        """Stop the generation and wait until it has stopped; `result` is then there. Idempotent.

        A generation that has not begun never begins, and has no result.
        """
        self.cancel()
        if self._loop is None:
            self._begin, self._arrived.over = None, True
        arrived = self._launched()
        while not arrived.over:
            await arrived.change()
        arrived.ready.clear()
        self._engine = None

    async def __aenter__(self) -> AsyncStream:
        """Wait until the engine has taken the request. Raises its errors."""
        arrived = self._launched()
        while arrived.started is None and not arrived.over:
            await self._wait()
        if arrived.started is None:
            self._engine = None
            self._raise_error()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is GeneratorExit:  # the task was dropped: nothing can be awaited
            self.cancel()
        else:
            await self.aclose()

    def __del__(self) -> None:
        if hasattr(self, "_launch"):
            self.cancel()
