"""From the engine's threads to an event loop: the one bridge of `async for`, the server and the evaluation."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from selar_local.engine.events import Emit, Message, Result, Started

T = TypeVar("T")


class Inbox(Generic[T]):
    """Passes items from any thread to the event loop that made it. The loop wakes once for all that have come."""

    def __init__(self, receive: Callable[[T], None], on_closed: Callable[[], None] = lambda: None) -> None:
        """receive: called in the loop with each item, in their order.

        on_closed: called by the thread that puts an item once the loop is closed, so that it may stop.
        """
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._on_closed = on_closed
        self._items: deque[T] = deque()
        self._woken = False

    def put(self, item: T) -> None:
        """Pass one item, and return at once."""
        self._items.append(item)
        if self._woken and not self._loop.is_closed():
            return
        self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._on_closed()

    def _deliver(self) -> None:
        self._woken = False  # first: an item that comes from now on wakes the loop again
        while self._items:
            self._receive(self._items.popleft())


@dataclass(frozen=True)
class Refused:
    """The engine has not taken the request: the last message, instead of a `Result`."""

    error: Exception


class Launch:
    """One generation, begun from an event loop that does not wait: a thread gives the request to the engine.

    (The prompt must be rendered and tokenised; after a crash the model is loaded again.) The thread ends when the
    engine has taken the request.
    """

    def __init__(
        self,
        begin: Callable[[Emit], Started],
        receive: Callable[[Message | Refused], None],
        cancelled: bool = False,
    ) -> None:
        """begin: `BaseEngine.begin` with its other arguments. receive: called in the loop with each message.

        cancelled: the caller has cancelled it already. An engine of this process then makes no step.
        """
        self._inbox: Inbox[Message | Refused] = Inbox(receive, self.cancel)
        self._started: Started | None = None
        self._cancelled = cancelled
        self._over = False
        threading.Thread(target=self._run, args=(begin,), name="selar-local request", daemon=True).start()

    def cancel(self) -> None:
        """Stop the generation, also before the engine has taken it. Returns at once; any thread may call it."""
        self._cancelled = True
        if self._started is not None:
            self._started.cancel()

    def _run(self, begin: Callable[[Emit], Started]) -> None:
        try:
            begin(self._emit)
        except Exception as error:  # whatever it is, the event loop must not wait for ever
            if not self._over:
                self._inbox.put(Refused(error))

    def _emit(self, message: Message) -> None:
        if isinstance(message, Started):
            self._started = message
            if self._cancelled:
                message.cancel()
        elif isinstance(message, Result):
            self._over = True
        self._inbox.put(message)
