"""How llama.cpp's threads wait for each other: a short spin on an idle machine, a very short one on a busy machine.

The number of threads stays: with flash attention it changes the bits of a step once 256 tokens are in the KV cache.
How threads wait changes no bit.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from pathlib import Path

from selar_local.llama.ggml import address_of, symbol
from selar_local.llama.native import WAITING_SET_BY_USER

_TASKS = Path("/proc/self/task")


def waited_seconds() -> float | None:
    """Seconds that the process's living threads were ready to run and had no core; None where the system has no figure.

    The second number of each ``/proc/self/task/*/schedstat`` (Linux, Documentation/scheduler/sched-stats.rst).
    """
    total = 0
    try:
        for task in _TASKS.iterdir():
            try:
                total += int((task / "schedstat").read_bytes().split()[1])
            except FileNotFoundError:  # the thread has ended
                continue
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9


_WINDOW = 0.25  # seconds of decoding between two looks at the scheduler's figures
# Seconds of waiting for a core, over all threads, in a second of decoding.
_BUSY = 0.4
_IDLE = 0.25


class ThreadWaiting:
    """Watches one engine's decodes and shortens the spin while its threads wait for cores."""

    def __init__(
        self,
        clock: Callable[[], float | None] = waited_seconds,
        shorten: Callable[[], Callable[[], None]] | None = None,
    ) -> None:
        """clock: seconds that threads have waited for cores. shorten: shortens the spin, returns how to undo it."""
        self._clock = clock
        self._shorten = shorten or _shortener()
        self._undo: Callable[[], None] | None = None
        self._last = clock()
        self._window = 0.0
        self._waited = self._decoded = 0.0

    def meter(self, threads: int) -> Callable[[], float | None]:
        """A function that gives the part of the decoding time from now on, 0 to 1, that a thread waited for a core.

        None where the system has no figure, or too little was decoded for one.
        """
        waited, decoded = self._waited, self._decoded

        def share() -> float | None:
            seconds = self._decoded - decoded
            return min(1.0, (self._waited - waited) / (threads * seconds)) if seconds > 0 else None

        return share

    @property
    def shortened(self) -> bool:
        """Whether the spin is shortened now."""
        return self._undo is not None

    def decoded(self, seconds: float) -> None:
        """A decode has taken so long. Cheap: the scheduler is asked once in a quarter of a second of decoding."""
        self._window += seconds
        if self._window < _WINDOW or self._last is None:
            return
        now = self._clock()
        if now is None:
            return
        waited = max(0.0, now - self._last)  # the sum falls where a thread has ended
        self._adapt(waited / self._window)
        self._waited += waited
        self._decoded += self._window
        self._last, self._window = now, 0.0

    def _adapt(self, share: float) -> None:
        if self._shorten is None:
            return
        if self._undo is None and share > _BUSY:
            self._undo = self._shorten()
        elif self._undo is not None and share < _IDLE:
            self.close()

    def close(self) -> None:
        """Give the spin its usual length. Idempotent."""
        if self._undo is not None:
            self._undo()
            self._undo = None


def _shortener() -> Callable[[], Callable[[], None]] | None:
    """What shortens the spin of GCC's OpenMP; None where another OpenMP is used, or the user has chosen.

    GCC's OpenMP (libgomp, ``gomp_throttled_spin_count_var``) spins for 100 rounds once it manages more threads than
    there are cores. So a pool of threads is made that does nothing but sleep, and ended again.
    """
    run = symbol("GOMP_parallel", None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint])
    cores = symbol("omp_get_num_procs", ctypes.c_int, [])
    nothing = address_of("omp_get_level")  # a function that each thread of the pool can call
    if WAITING_SET_BY_USER or run is None or cores is None or nothing is None:
        return None

    def shorten() -> Callable[[], None]:
        made, over = threading.Event(), threading.Event()

        def keep_pool() -> None:
            run(nothing, None, cores() + 1, 0)
            made.set()
            over.wait()  # the pool ends with its thread

        keeper = threading.Thread(target=keep_pool, name="selar-local spin", daemon=True)
        keeper.start()
        made.wait()

        def undo() -> None:
            over.set()
            keeper.join()

        return undo

    return shorten
