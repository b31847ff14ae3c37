"""Text on standard input beside a prompt: `git diff | selar-local run model.gguf "Explain this change"`.

Standard input may also be a pipe that nobody writes to: that of a service, of an editor, of a program that starts this
one. So the first byte is waited for a few seconds only, while the model loads.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections.abc import Callable

from selar_local.cli.streams import is_terminal

_PATIENCE = 3.0  # seconds for the first byte
_GLANCE = 0.2  # seconds between two looks, so that Ctrl-C is seen
_BLOCK = 1 << 16


class PipedText:
    """Reads standard input in a thread, from now on."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._begun, self._ended = threading.Event(), threading.Event()
        self._since = time.monotonic()
        self._left = 0  # bytes of a file that another program reads, too
        descriptor = None if is_terminal(sys.stdin) else self._descriptor()
        if descriptor is None:
            self._ended.set()
        else:
            threading.Thread(target=self._read, args=(descriptor,), name="selar-local stdin", daemon=True).start()

    def _descriptor(self) -> int | None:
        """What to read; None where there is nothing more to read."""
        try:
            descriptor = sys.stdin.fileno()
            state = os.fstat(descriptor)
        except (OSError, ValueError, AttributeError):  # closed, or replaced by Python code
            buffer = getattr(sys.stdin, "buffer", None)
            self._blocks = [] if buffer is None or buffer.closed else [buffer.read()]
            return None
        place = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(state.st_mode) else 0
        if place > 0:
            self._left = max(state.st_size - place, 0)
            return None
        return descriptor

    def _read(self, descriptor: int) -> None:
        # Not `sys.stdin`: a thread that waits in it would stop the interpreter from ending.
        try:
            while block := os.read(descriptor, _BLOCK):
                self._blocks.append(block)
                self._begun.set()
        except OSError:  # such as a folder
            pass
        finally:
            self._ended.set()

    def wait(self, warn: Callable[[str], None]) -> bytes:
        """All of it; nothing where the first byte does not come in time. warn: takes the reason."""
        if self._left:
            warn(
                "standard input is not read: another program has read a part of it, such as a loop of the shell "
                "(< /dev/null says that there is no text, -f - reads the rest)"
            )
        while not self._ended.wait(_GLANCE):
            if not self._begun.is_set() and time.monotonic() - self._since > _PATIENCE:
                warn(
                    f"nothing came on standard input for {_PATIENCE:.0f} seconds: the model gets the prompt alone "
                    "(< /dev/null says that there is no text, -f - waits for it)"
                )
                return b""
        return b"".join(self._blocks)
