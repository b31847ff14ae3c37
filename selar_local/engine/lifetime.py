"""How engines end: by `close`, when nobody has them any more, or with the program."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import Protocol, TypeVar

from selar_local.errors import EngineClosed


class Closable(Protocol):
    """The part of an engine that computes, and that must end: a thread or a process. It does not know the engine."""

    closed: bool

    def stop(self) -> None:
        """Begin to end, and return at once.

        The garbage collector may call this, in any thread and at any place: it must not wait for a lock.
        """

    def close(self) -> None:
        """End, and wait for the end."""


T = TypeVar("T")

_lock = threading.Lock()
_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def end_with(engine: T, part: Closable) -> weakref.finalize[..., T]:
    """Stop `part` when `engine` is dropped; close it at the end of the program at the latest."""
    with _lock:
        _open.add(part)
    ending = weakref.finalize(engine, part.stop)
    ending.atexit = False  # `_close_all` waits for the end, too
    return ending


def close_stopped() -> None:
    """Wait until dropped engines have freed their memory: the next one may need it."""
    for part in _parts():
        if part.closed:
            part.close()


def require_own_process(process_id: int) -> None:
    """Raises EngineClosed in a fork of the process that loaded the model: threads and pipes stayed in that one."""
    if os.getpid() != process_id:
        raise EngineClosed("the model was loaded before this process was forked: load it in this process")


def _parts() -> list[Closable]:
    with _lock:
        return list(_open)


@atexit.register
def _close_all() -> None:
    """Free every model before the interpreter goes: llama.cpp's threads must not outlive it.

    Ctrl-C does not shorten this: a thread that comes back from llama.cpp to an interpreter that has ended stops the
    process with SIGABRT. (On the command line Ctrl-C ends the whole process at once.)
    """
    left = _parts()
    while left:
        try:
            left[-1].close()
            left.pop()
        except KeyboardInterrupt:
            continue
