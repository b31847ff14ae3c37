"""A command on a pseudo-terminal, and a person in front of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence

SECONDS = 30
_STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """Waits for what should appear, types, and reads how it ended."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(command[0], list(command), dict(environment))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._read = b""
        self._seen = 0
        self._code: int | None = None

    @property
    def screen(self) -> str:
        """All that was written, styles included."""
        return self._read.decode(errors="replace").replace("\r\n", "\n")

    @property
    def text(self) -> str:
        """All that was written, without styles."""
        return _STYLES.sub("", self.screen)

    def expect(self, text: str) -> Terminal:
        """Wait until `text` appears after what was expected before."""
        wanted = text.encode()
        end = time.monotonic() + SECONDS
        while (at := self._read.find(wanted, self._seen)) < 0:
            assert time.monotonic() < end and self._more(), f"{text!r} did not come; the screen: {self._read!r}"
        self._seen = at + len(wanted)
        return self

    def type(self, text: str) -> Terminal:
        """Type `text`, control characters included."""
        os.write(self._fd, text.encode("utf-8", "surrogateescape"))
        return self

    def ctrl_c_until(self, text: str) -> Terminal:
        """Press Ctrl-C until `text` appears. (One that falls between readline's prompt and its wait for keys is
        obeyed by Python with the next key only: a second press, as a person would.)
        """
        end = time.monotonic() + SECONDS
        while (at := self._read.find(text.encode(), self._seen)) < 0:
            assert time.monotonic() < end, f"Ctrl-C does not help; the screen: {self._read!r}"
            self.type("\x03")
            pause = time.monotonic() + 1
            while time.monotonic() < pause and text.encode() not in self._read[self._seen :]:
                assert self._more(), f"it ended; the screen: {self._read!r}"
        self._seen = at + len(text)
        return self

    def interrupt(self) -> Terminal:
        """Send the signal of Ctrl-C to the command, whatever the terminal does with the key."""
        os.kill(self._pid, signal.SIGINT)
        return self

    def rest(self, seconds: float) -> Terminal:
        """Read for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            assert self._more(left), f"it ended; the screen: {self._read!r}"
        return self

    def chat(self, line: str) -> Terminal:
        """Wait for the prompt of the chat, then type a line."""
        return self.expect(">>> ").type(line + "\n")

    def end(self) -> int:
        """Read until the command ends; its exit code (negative: a signal)."""
        end = time.monotonic() + SECONDS
        while self._more():
            assert time.monotonic() < end, f"it does not end; the screen: {self._read!r}"
        return self._reap()

    def close(self) -> None:
        """End the command, if it still runs."""
        if self._code is None:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()
        os.close(self._fd)

    def _reap(self) -> int:
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._code

    def _more(self, seconds: float = 0.5) -> bool:
        """Read for a moment; False once the command has closed the terminal."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # Linux: the other side is gone
            data = b""
        self._read += data
        return bool(data)
