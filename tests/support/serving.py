"""``selar-local serve`` as a process of the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

COMMAND = [sys.executable, "-c", "from selar_local.cli.main import main; main()", "serve"]


class Process:
    """The command; `url` once it listens."""

    def __init__(self, *words: object, **environment: str) -> None:
        self.err: list[str] = []
        self.url = ""
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **environment},
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.err.append(line)
            found = re.match(r"listening on (http://\S+)$", line)
            if found:
                self.url = found[1]
                self._ready.set()
        self._ready.set()

    def listening(self) -> str:
        assert self._ready.wait(120) and self.url, self.err  # long: other tests may keep the cores busy
        return self.url

    def ended(self) -> int:
        code = self.process.wait(20)
        self._reader.join(10)  # what it wrote last is in `err`
        return code


@contextmanager
def serving() -> Iterator[Callable[..., Process]]:
    """Within: what is given starts the command, ``start(*words, **environment)``; at the end what runs is killed."""
    started: list[Process] = []

    def start(*words: object, **environment: str) -> Process:
        started.append(Process(*words, **environment))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait(10)
        one.process.stdout.close()
        one.process.stderr.close()
