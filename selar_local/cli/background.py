"""Work in a thread of its own, so that Ctrl-C reaches the main one.

While llama.cpp calls back into Python in the main thread, Python's signal handler may run within the callback, and what
it raises there is lost.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

_GLANCE = 0.2  # seconds: where waiting for a thread cannot be interrupted, Ctrl-C is seen as often


class Background:
    """One thread, for all that is done within a ``with`` block."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="selar-local")
        self._stop = threading.Event()

    def do(self, work: Callable[[], T]) -> T:
        """The result of `work`, or its error. Ctrl-C: `stopped` becomes true, and goes on when the work has ended."""
        future = self._pool.submit(work)
        try:
            while not wait([future], _GLANCE).done:
                pass
        except BaseException:
            self._stop.set()
            wait([future])
            raise
        return future.result()

    def stopped(self) -> bool:
        """Whether the work should end."""
        return self._stop.is_set()

    def stoppable(self, report: Callable[[float], None]) -> Callable[[float], None]:
        """`report`, but InterruptedError once the work should end."""

        def show(share: float) -> None:
            if self.stopped():
                raise InterruptedError("interrupted")
            report(share)

        return show

    def __enter__(self) -> Background:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.shutdown()
