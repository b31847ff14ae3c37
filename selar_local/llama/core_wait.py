"""How long threads of this process wait for a core, by Linux's scheduler statistics."""

from __future__ import annotations

import os

_TASKS = "/proc/self/task"


def waited_seconds() -> float | None:
    """Seconds that the process's living threads were ready to run and had no core; None where the system has no figure.

    The second number of each ``/proc/self/task/*/schedstat`` (Linux, Documentation/scheduler/sched-stats.rst).
    """
    total = 0
    try:
        for task in os.listdir(_TASKS):
            try:
                with open(f"{_TASKS}/{task}/schedstat", "rb", buffering=0) as figures:
                    total += int(figures.read().split()[1])
            except FileNotFoundError:  # the thread has ended
                continue
    except (OSError, ValueError, IndexError):
        return None
    return total / 1e9
