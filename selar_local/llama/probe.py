"""Does llama.cpp survive a model file? A throw-away process opens it and decodes two tokens, a step ahead of this one.

llama.cpp stops its process over some damaged values, and over embeddings for some architectures. A probe finds out
which, whatever the file says: it maps the file, computes on the CPU without NumPy, and prints how far it has come.
The cache keeps the verdict.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from selar_local import cache
from selar_local.errors import ModelFileError, SelarError, UnsupportedModel
from selar_local.llama.probe_process import LATE, STAGES

#: `selar_local.run_child_if_asked` makes a frozen app that is started with it the probe.
PROBE_ARGUMENT = "--selar-local-probe"
_CHILD_ARGUMENT = "--selar-local-child"

_TICK = 0.1  # seconds
_ORDER = tuple(STAGES)
_FROM_OUTSIDE = (-9, -15)  # SIGKILL, SIGTERM: not the file's fault

logger = logging.getLogger("selar_local.llama")


class Probe:
    """The probe of one file. Use it in a ``with`` block, which ends the process."""

    def __init__(self, path: Path, architecture: str, build: str, *, again: bool = False) -> None:
        """build: the version of llama.cpp that the verdict is about. again: ignore the cache."""
        self._path, self._architecture = path, architecture
        self._key = cache.file_key(path, "probe", build)
        known = cache.read(self._key) or {}
        self._reached, self._said = known.get("reached"), str(known.get("said"))
        self._ended = self._reached in STAGES and not again
        self._words: list[str] = []
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._process: subprocess.Popen[bytes] | None = None
        if not self._ended:
            self._reached = None
            self._start()

    def _start(self) -> None:
        here = str(Path(__file__).parents[2])  # an editable install is not on the path of `python -S`
        path = os.pathsep.join(filter(None, [*sys.path, here]))
        output, child_output = os.pipe()
        try:
            self._process = subprocess.Popen(
                [*_command(), os.fspath(self._path.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=child_output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the probe
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            self._do_without(error)
        finally:
            os.close(child_output)
        threading.Thread(target=self._read, args=(output,), name="selar-local probe", daemon=True).start()

    def _read(self, output: int) -> None:
        with os.fdopen(output, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._lines.put(line.strip())
        self._lines.put(None)

    def survives(self, stage: str, on_wait: Callable[[], object] = lambda: None) -> None:
        """Return once the probe has got beyond the stage. on_wait: called meanwhile; what it raises ends the wait.

        Raises UnsupportedModel where llama.cpp stops over embeddings, ModelFileError where it stops over the file.
        """
        wanted = _ORDER.index(stage)
        while not self._ended and (self._reached is None or _ORDER.index(self._reached) <= wanted):
            try:
                self._hear(self._lines.get(timeout=_TICK))
            except Empty:
                on_wait()
        if self._reached is not None and _ORDER.index(self._reached) <= wanted:
            raise self._refusal()

    def _hear(self, line: str | None) -> None:
        """A line of the process; None: it has ended."""
        if line in STAGES:
            self._reached = line
            if line == _ORDER[-1]:
                self._end(0)
        elif line is not None:
            self._words.append(line)
        elif self._process is not None:
            self._end(self._process.wait())

    def _end(self, code: int) -> None:
        self._ended = True
        if self._reached is None:
            self._do_without(code)
            return
        self._said = _last_words(self._words, code)
        if code not in _FROM_OUTSIDE:
            cache.write(self._key, {"reached": self._reached, "said": self._said})

    def _do_without(self, reason: object) -> None:
        """The process does not start here, whatever the file is."""
        logger.warning("%s is opened without a probe, which did not start: %s", self._path.name, reason)
        self._reached, self._ended = _ORDER[-1], True

    def _refusal(self) -> SelarError:
        name = self._path.name
        if self._reached == "rows":
            return UnsupportedModel(
                f"{name} takes no vectors: llama.cpp stops when architecture {self._architecture} is fed embeddings "
                f"({self._said})"
            )
        return ModelFileError(
            f"{name} is damaged, or this llama.cpp cannot run it: llama.cpp stops over it ({self._said})"
        )

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def _command() -> list[str]:
    """How this program starts the probe. Raises OSError where it cannot.

    A frozen app would start itself. It knows what to do then if it has started this process as its child.
    """
    if not getattr(sys, "frozen", False):
        return [sys.executable or "", "-S", "-m", "selar_local.llama.probe_process"]
    if sys.argv[1:2] != [_CHILD_ARGUMENT]:
        raise OSError("a frozen app has it only when it loads isolated")
    return [sys.executable, PROBE_ARGUMENT]


def _last_words(lines: list[str], code: int) -> str:
    """The line of the output that says most: the assertion that failed."""
    telling = [line for line in lines if "GGML_ASSERT" in line or "what():" in line or ".cpp:" in line]
    if telling:
        return re.sub(r"^\S*/|^what\(\):\s*", "", telling[-1])[:200]
    if code == LATE:
        return "it never ends"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
