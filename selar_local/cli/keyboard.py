"""The keyboard of a chat: what Ctrl-C does, and what happens to keys while the model works."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts", "can_edit", "keys_wait", "paste_stays_whole"]

_PASTE_ON, _PASTE_OFF = (
    "\x1b[?2004h",
    "\x1b[?2004l",
)  # "bracketed paste": the terminal marks where a paste begins and ends


def can_edit() -> bool:
    """Whether a person sits at a terminal that can move its cursor."""
    try:
        terminal = os.isatty(sys.stdin.fileno()) and os.isatty(sys.stdout.fileno())
    except (OSError, ValueError):  # closed, or replaced by something without a number
        return False
    return terminal and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def paste_stays_whole() -> None:
    """Ask the terminal to mark pastes."""
    _write(_PASTE_ON)


@contextmanager
def keys_wait(wanted: bool = True) -> Iterator[None]:
    """While a model loads or answers, typed keys wait unseen for the next prompt, and a paste stays one message."""
    if not wanted or not can_edit():
        yield
        return
    try:
        import termios
    except ImportError:  # Windows keeps them by itself
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    waiting = termios.tcgetattr(keyboard)
    waiting[3] &= ~(termios.ECHO | termios.ICANON)  # Ctrl-C is still a signal
    termios.tcsetattr(keyboard, termios.TCSADRAIN, waiting)
    try:
        paste_stays_whole()
        yield
    finally:
        _write(_PASTE_OFF)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


class Interrupts:
    """Ctrl-C in a ``with`` block: a KeyboardInterrupt within `stoppable`, nothing elsewhere."""

    def __init__(self) -> None:
        self._stoppable = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, number: int, frame: Any) -> None:
        if self._stoppable:
            raise KeyboardInterrupt

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Something that Ctrl-C ends."""
        self._stoppable = True
        try:
            yield
        finally:
            self._stoppable = False
