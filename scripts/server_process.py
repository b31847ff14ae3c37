"""`selar-local serve` as a process, for the scripts that ask it: its address, its memory, its last words."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque

import click

_LAST_WORDS = 20


class Command:
    """``selar-local serve`` as a process, and what is seen of it from outside."""

    def __init__(self, model: str, *options: object) -> None:
        command = [sys.executable, "-c", "from selar_local.cli.main import main; main()", "serve", model, "--port", "0"]
        self._process = subprocess.Popen(
            [*command, *map(str, options)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.url = ""
        self.said: deque[str] = deque(maxlen=_LAST_WORDS)
        self.logged = 0  # characters
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(120) or not self.url:
            self._process.kill()
            raise click.ClickException("the server does not start: " + "".join(self.said))

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                self._ready.set()
            self.said.append(line)
            self.logged += len(line)
        self._ready.set()

    def resident(self) -> tuple[int, dict[int, int]]:
        """Memory in KiB: the server's, and that of each living child."""
        rows = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,rss=,stat="], capture_output=True, text=True, check=True, timeout=20
        ).stdout.splitlines()
        own, children = 0, {}
        for pid, parent, size, state in (row.split()[:4] for row in rows):
            if int(pid) == self._process.pid:
                own = int(size)
            elif int(parent) == self._process.pid and not state.startswith("Z"):
                children[int(pid)] = int(size)
        return own, children

    def stop(self) -> int | None:
        """Its exit code; None where it had to be killed."""
        self._process.terminate()
        try:
            return self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            return None
