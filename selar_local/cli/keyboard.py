"""The keyboard of a chat: what Ctrl-C does, and what happens to keys while the model works."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from selar_local.cli.interrupt import last_words

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


def mark_pastes() -> None:
    """Ask the terminal to mark where a paste begins and ends ("bracketed paste")."""
    _write(_PASTE_ON)


@contextmanager
def pastes_marked(wanted: bool = True) -> Iterator[None]:
    """A paste is one message, also where it comes before the prompt, while the model loads or answers."""
    if not wanted or not can_edit():
        yield
        return
    with last_words(_PASTE_OFF.encode()):
        try:
            mark_pastes()
            yield
        finally:
            _write(_PASTE_OFF)


@contextmanager
def keys_wait() -> Iterator[None]:
    """Keys that are typed while the model answers wait unseen for the next prompt. Ctrl-C is a signal all the same."""
    try:
        import termios
    except ImportError:  # Windows shows them at the prompt alone
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    waiting = termios.tcgetattr(keyboard)
    waiting[3] &= ~(termios.ECHO | termios.ICANON)
    try:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, waiting)
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _write(text: str) -> None:
    with suppress(OSError, ValueError):
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
