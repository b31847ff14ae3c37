"""What Ctrl-C does at each moment of the program.

While modules are imported, it ends the program at once: a KeyboardInterrupt in the middle of an import can be printed
or replaced by code that is not ours. While a command works, it is a KeyboardInterrupt, so that the command can finish.
All of this applies to the program alone (`selar_local.cli.entry`), not where Python code calls a command.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

_INTERRUPTED = 130
_SOON = 0.01  # seconds
_taken_over = False
_last_words: list[bytes] = []


def take_over() -> None:
    """The process belongs to the program: Ctrl-C ends it at once from here on."""
    global _taken_over
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # such as a background job of a shell, which ignores Ctrl-C
    _taken_over = True
    sys.unraisablehook = _raise_again
    leave_at_once()


def leave_at_once() -> None:
    """From here on Ctrl-C ends the program at once, with exit code 130."""
    if _taken_over:
        signal.signal(signal.SIGINT, leave)


def raise_interrupts() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt."""
    if _taken_over:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class importing:
    """``with importing():`` around imports that take time, in a command that handles KeyboardInterrupt."""

    def __enter__(self) -> None:
        self._before = signal.getsignal(signal.SIGINT)
        leave_at_once()

    def __exit__(self, *error: object) -> None:
        if _taken_over:
            signal.signal(signal.SIGINT, self._before)


class last_words:
    """``with last_words(b"..."):`` where the program must not end without writing them to standard output."""

    def __init__(self, words: bytes) -> None:
        self._words = words

    def __enter__(self) -> None:
        _last_words.append(self._words)

    def __exit__(self, *error: object) -> None:
        _last_words.remove(self._words)


def leave(number: int = 0, frame: Any = None) -> NoReturn:
    """End the program now (also a signal handler)."""
    try:
        for words in reversed(_last_words):
            os.write(1, words)
        os.write(2, b"interrupted\n")
    finally:  # the streams may be closed
        os._exit(_INTERRUPTED)


def _raise_again(unraisable: Any) -> None:
    """Python's hook for errors that nobody can catch. A KeyboardInterrupt among them comes again, a moment later."""
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    import threading

    again = threading.Timer(_SOON, _press)
    again.daemon = True
    again.start()


def _press() -> None:
    """Ctrl-C for the main thread, also while it waits in a system call."""
    import _thread
    import threading

    main = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and main is not None:
        signal.pthread_kill(main, signal.SIGINT)
    else:  # Windows
        _thread.interrupt_main()
