"""What a running server writes on standard error: never too much, and no request waits for it.

A pipe that nobody reads, a full disk: what cannot be written is left out.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Full, Queue
from typing import IO

from selar_local.config import LLAMA_LOG

_WAITING = 1000  # lines that wait to be written; more are left out
_LAST_SECONDS = 1.0  # for those that wait at the end


class Sparing(logging.Filter):
    """Lets so many records pass in a minute, and says how many it has left out."""

    def __init__(self, most: int = 20, seconds: float = 60) -> None:
        super().__init__()
        self._most, self._seconds = most, seconds
        self._until, self._passed, self._left_out = 0.0, 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        now = time.monotonic()
        if now >= self._until:
            if self._left_out:
                record.msg, record.args = f"({self._left_out} messages were left out)\n{record.getMessage()}", ()
            self._until, self._passed, self._left_out = now + self._seconds, 0, 0
        self._passed += 1
        self._left_out += self._passed > self._most
        return self._passed <= self._most


class ServerLog(logging.Handler):
    """Writes lines, and the warnings of all libraries, in a thread of its own."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.addFilter(lambda record: record.name != LLAMA_LOG)  # --verbose shows it
        self.addFilter(Sparing())
        self._lines: Queue[str] = Queue(_WAITING)
        threading.Thread(target=self._write, args=(_own_stderr(),), name="selar-local log", daemon=True).start()

    @contextmanager
    def attached(self) -> Iterator[ServerLog]:
        """Within: libraries log here. At the end what waits is written."""
        asyncio, root = logging.getLogger("asyncio"), logging.getLogger()
        level = asyncio.level
        asyncio.setLevel(logging.ERROR)  # it warns of every client that leaves
        root.addHandler(self)
        try:
            yield self
        finally:
            root.removeHandler(self)
            asyncio.setLevel(level)
            end = time.monotonic() + _LAST_SECONDS
            while self._lines.unfinished_tasks and time.monotonic() < end:
                time.sleep(0.01)

    def say(self, line: str) -> None:
        """One line. Returns at once."""
        with suppress(Full):
            self._lines.put_nowait(line)

    def emit(self, record: logging.LogRecord) -> None:
        """The line, or lines, of a log record."""
        self.say(self.format(record))

    def _write(self, stream: IO[str]) -> None:
        while True:
            line = self._lines.get()
            with suppress(OSError, ValueError):
                stream.write(f"{line}\n")
                stream.flush()
            self._lines.task_done()


def _own_stderr() -> IO[str]:
    """Standard error through a stream of its own: whoever waits there keeps nobody from the other one."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding=sys.stderr.encoding, errors="replace")
    except (OSError, ValueError, AttributeError):
        return sys.stderr
