"""From the engine's threads to an event loop: the one bridge of `async for`, the server and the evaluation."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from selar_local.engine.events import Result
from selar_local.engine.messages import Emit, Message, Source, Started

__all__ = ["Inbox", "Launch", "Refused"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """Hands items from any thread to the event loop that made it, which is woken once for all that have come."""

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
        """Hand over one item, and return at once."""
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
    """Hands one generation to an engine without holding up the event loop: what that takes is done in a thread.

    (Rendering and tokenising the prompt; loading the model again after a crash.) The thread ends when the engine has
    taken the request.
    """

    def __init__(self, begin: Callable[[Emit], Source], emit: Callable[[Message | Refused], None]) -> None:
        """begin: `BaseEngine.begin` with its other arguments. emit: takes the messages, in the engine's thread."""
        self._emit = emit
        self._source: Source | None = None
        self._cancelled = False
        self._over = False
        threading.Thread(target=self._run, args=(begin,), name="selar-local request", daemon=True).start()

    def cancel(self) -> None:
        """Stop the generation, also one that the engine has yet to take. Returns at once; any thread may call it."""
        self._cancelled = True
        if self._source is not None:
            self._source.cancelled.set()

    def _run(self, begin: Callable[[Emit], Source]) -> None:
        try:
            begin(self._pass_on)
        except Exception as error:  # nothing may leave the event loop waiting
            if not self._over:
                self._emit(Refused(error))

    def _pass_on(self, message: Message) -> None:
        if isinstance(message, Started):
            self._source = message.source
            if self._cancelled:
                message.source.cancelled.set()
        elif isinstance(message, Result):
            self._over = True
        self._emit(message)
