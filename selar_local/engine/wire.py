"""Frames between an app and the process that runs llama.cpp for it: a length, then a pickle.

Both ends are the same program, started by the app itself: what comes over the pipe is trusted as its own memory is.
"""

from __future__ import annotations

import contextlib
import pickle
import struct
import threading
from queue import Empty, SimpleQueue
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


class Wire:
    """Objects over a pair of byte streams. `send` may be called by any thread, `receive` by one."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()
        self._outbox: SimpleQueue[bytes] = SimpleQueue()

    def send(self, value: Any) -> None:
        """Send a frame. Where another thread is sending, that one sends it too, and this one does not wait.

        (The garbage collector may call this in the middle of another `send`.) Raises OSError or ValueError when the
        other end is gone, whatever `pickle` does for what it cannot take.
        """
        self._outbox.put(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        while not self._outbox.empty() and self._lock.acquire(blocking=False):
            try:
                self._send_all()
            finally:
                self._lock.release()

    def _send_all(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                data = self._outbox.get_nowait()
                self._outgoing.write(_LENGTH.pack(len(data)))
                self._outgoing.write(data)
        self._outgoing.flush()

    def receive(self) -> Any:
        """The next object; EOFError when the other end is gone."""
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        return pickle.loads(self._exactly(length))

    def _exactly(self, size: int) -> bytes:
        data = self._incoming.read(size)
        if data is None or len(data) < size:
            raise EOFError("the other process is gone")
        return data

    def close(self) -> None:
        """Close both streams."""
        for stream in (self._outgoing, self._incoming):
            try:
                stream.close()
            except OSError:  # what was not sent is lost with the process
                continue
