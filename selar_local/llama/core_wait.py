"""How long threads of this process wait for a core, by Linux's scheduler statistics."""

from __future__ import annotations

from pathlib import Path

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
