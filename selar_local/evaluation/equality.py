"""Mathematical equality by `math-verify`, in a process of its own that is killed where an expression does not end.

`math-verify` ends long work by a signal, which reaches only the main thread, and not inside one big number. Models
write such numbers: `9^{9^{9^9}}` must cost seconds, not the evaluation.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong  # Python 3.10 has a class of its own for it
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from typing import Any

from selar_local.errors import MissingExtra, SelarError
from selar_local.install_hint import install_hint

#: True, False, or the reason why there is no verdict: "timeout", "crash".
Verdict = bool | str

_START_SECONDS = 120.0  # sympy is slow to import on a busy machine
_MEMORY = 4 << 30
_CPU_SECONDS = 120  # of one question, in case nobody is left to kill the process

_lock = threading.Lock()
_worker: tuple[ProcessPoolExecutor, int] | None = None  # with the process's id


def equal(gold: str, given: str, *, timeout: float = 5.0) -> Verdict:
    """Whether two LaTeX expressions without delimiters mean the same. `gold` is the expected one.

    Callable from any thread; calls wait for each other. timeout: seconds, after which the verdict is "timeout". The
    first call, and each call after a timeout, also waits until the process has started. Raises MissingExtra, and
    SelarError where the process does not start.
    """
    global _worker
    if importlib.util.find_spec("math_verify") is None:
        raise MissingExtra(f"grading needs math-verify; {install_hint('eval')}")
    with _lock:
        executor, process = _worker = _worker or _start()
        try:
            return executor.submit(_compare, gold, given).result(timeout)
        except (BrokenProcessPool, TookTooLong) as error:
            with suppress(ProcessLookupError):  # it may be dead already
                os.kill(process, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)
            _stop()
            return "timeout" if isinstance(error, TookTooLong) else "crash"


def _start() -> tuple[ProcessPoolExecutor, int]:
    executor = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_prepare)
    try:
        return executor, executor.submit(os.getpid).result(_START_SECONDS)
    except (BrokenProcessPool, TookTooLong) as error:
        executor.shutdown(wait=False, cancel_futures=True)
        raise SelarError(f"the grader's process does not start: {error}") from None


@atexit.register
def _stop() -> None:
    global _worker
    if _worker is not None:
        _worker[0].shutdown(wait=False, cancel_futures=True)
    _worker = None


def _prepare() -> None:
    """In the process: import the library, print nothing, leave Ctrl-C to the parent, and end with it."""
    import logging

    import math_verify

    logging.getLogger(math_verify.__name__).setLevel(logging.ERROR)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        os.dup2(silence, output)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _compare(gold: str, given: str) -> bool:
    """In the process: the library's verdict, with our rule for decimals."""
    from math_verify import LatexExtractionConfig, parse, verify

    _limit()
    config = [LatexExtractionConfig()]
    try:
        expected, found = (
            parse(f"${text}$", extraction_config=config, parsing_timeout=None, raise_on_error=False)
            for text in (gold, given)
        )
        decimal = _same_decimal(expected, found)
        if decimal is not None:
            return decimal
        return bool(verify(expected, found, timeout_seconds=None, allow_set_relation_comp=True))
    except (Exception, RecursionError):  # a broken expression may raise anything: it is not equal
        return False


def _same_decimal(expected: list[Any], found: list[Any]) -> bool | None:
    """For a decimal against an exact number: six right digits. None for any other question.

    The library compares six places after the point, so 0.0000001 would equal 0.
    """
    import sympy  # type: ignore[import-untyped]

    pair = [side[0] for side in (expected, found) if side and isinstance(side[0], sympy.Expr)]
    if len(pair) < 2 or not all(one.is_number for one in pair) or not any(one.has(sympy.Float) for one in pair):
        return None
    a, b = (complex(one.doit().evalf(30)) for one in pair)
    return abs(a - b) <= 1.01e-6 * abs(a)


def _limit() -> None:
    """Bound memory and time where the system can, in case the parent is gone."""
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
