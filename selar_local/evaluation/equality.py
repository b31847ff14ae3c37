"""Mathematical equality by `math-verify`, in a process of its own that is killed where an expression does not end.

`math-verify` ends endless work by a signal, which reaches the main thread alone and no computation inside one big
number. So a worker process does the work, one question a line; whoever waits too long kills it, and the next
question starts another. Expressions come from models: `9^{9^{9^9}}` must cost seconds, not the evaluation.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import subprocess
import sys
import threading
from typing import IO, Any

from selar_local.errors import MissingExtra, SelarError
from selar_local.install_hint import install_hint

__all__ = ["Verdict", "equal"]

#: True, False, or why it could not be told: "timeout", "crash".
Verdict = bool | str

_MODULE = "selar_local.evaluation.equality"
_START_SECONDS = 120.0  # sympy is slow to import on a busy machine
_MEMORY = 4 << 30
_CPU_SECONDS = 120  # of one question, in case nobody is left to kill the worker


class _Worker:
    """One process, asked by one thread at a time."""

    def __init__(self) -> None:
        (child_in, to_child), (from_child, child_out) = os.pipe(), os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=child_in, stdout=child_out, stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        finally:
            os.close(child_in)
            os.close(child_out)
        self._to = os.fdopen(to_child, "w", encoding="utf-8")
        self._from = os.fdopen(from_child, "r", encoding="utf-8")
        self._killed = False
        self.ready = self._line(_START_SECONDS) is not None

    def ask(self, gold: str, given: str, timeout: float) -> Verdict:
        """The verdict; after a "timeout" or a "crash" this worker is gone."""
        try:
            self._to.write(json.dumps([gold, given]) + "\n")
            self._to.flush()
        except OSError:
            return "crash"
        answer = self._line(timeout)
        if answer is None:
            return "timeout" if self._killed else "crash"
        return bool(json.loads(answer))

    def _line(self, timeout: float) -> str | None:
        timer = threading.Timer(timeout, self._kill)
        timer.daemon = True
        timer.start()
        try:
            line = self._from.readline()
        finally:
            timer.cancel()
        return line if line.endswith("\n") else None

    def _kill(self) -> None:
        self._killed = True
        self._process.kill()

    def close(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._to, self._from):
            try:
                stream.close()
            except OSError:  # what was not sent went with the process
                continue


_lock = threading.Lock()
_worker: _Worker | None = None


def equal(gold: str, given: str, *, timeout: float = 5.0) -> Verdict:
    """Whether two LaTeX expressions without delimiters mean the same. `gold` is the expected one.

    Callable from any thread; calls wait for each other. timeout: seconds, after which the verdict is "timeout"; the
    first call, and each after a timeout, waits for the worker to start besides. Raises MissingExtra, and SelarError
    where the worker does not start.
    """
    global _worker
    if importlib.util.find_spec("math_verify") is None:
        raise MissingExtra(f"grading needs math-verify; {install_hint('eval')}")
    with _lock:
        if _worker is None:
            _worker = _Worker()
        if not _worker.ready:
            _stop()
            raise SelarError(f"the grader's process does not start; this tells why: python -m {_MODULE}")
        verdict = _worker.ask(gold, given, timeout)
        if isinstance(verdict, str):
            _stop()
        return verdict


@atexit.register
def _stop() -> None:
    global _worker
    if _worker is not None:
        _worker.close()
    _worker = None


def _compare(gold: str, given: str) -> bool:
    """In the worker: the library's verdict, with our rule for decimals."""
    from math_verify import LatexExtractionConfig, parse, verify

    config = [LatexExtractionConfig()]
    expected, found = (
        parse(f"${text}$", extraction_config=config, parsing_timeout=None, raise_on_error=False)
        for text in (gold, given)
    )
    decimal = _same_decimal(expected, found)
    if decimal is not None:
        return decimal
    return bool(verify(expected, found, timeout_seconds=None, allow_set_relation_comp=True))


def _same_decimal(expected: list[Any], found: list[Any]) -> bool | None:
    """For a decimal against an exact number: six right digits. None where it is another kind of question.

    The library compares six places after the point, so that 0.0000001 would equal 0.
    """
    import sympy  # type: ignore[import-untyped]

    pair = [side[0] for side in (expected, found) if side and isinstance(side[0], sympy.Expr)]
    if len(pair) < 2 or not all(one.is_number for one in pair) or not any(one.has(sympy.Float) for one in pair):
        return None
    a, b = (complex(one.doit().evalf(30)) for one in pair)
    return abs(a - b) <= 1.01e-6 * abs(a)


def _serve(questions: IO[str], answers: IO[str]) -> None:
    import logging

    import math_verify

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    answers.write("ready\n")
    answers.flush()
    for line in questions:
        _limit()
        try:
            verdict = _compare(*json.loads(line))
        except (Exception, RecursionError):  # whatever a broken expression does to the parser: it is not equal
            verdict = False
        answers.write(json.dumps(verdict) + "\n")
        answers.flush()


def _limit() -> None:
    """Bound this process where the system can, should the one that asks be gone."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + _CPU_SECONDS
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, _MEMORY)):
        hard = resource.getrlimit(kind)[1]
        try:
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
        except (ValueError, OSError):  # macOS refuses some: the timeout remains
            continue


def main() -> None:
    """Answer the questions of the standard input until it ends."""
    questions = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    _serve(questions, answers)


if __name__ == "__main__":
    main()
