"""What this process may use of the machine: cores and memory, in a container its share of them."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def default_threads() -> int:
    """Physical cores, no more than the cores that a container may use: llama.cpp slows down beyond either."""
    quota = cpu_quota()
    cores = physical_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def physical_cores(root: Path = _ROOT) -> int:
    """Cores that this process may run on, hyper-threads not counted; half of the threads where nothing says more."""
    if sys.platform == "darwin" and (cores := _cores_of_macos()):
        return cores
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    try:
        return len({_siblings(root, number) for number in usable}) or 1
    except OSError:
        return len(usable) if len(usable) <= 4 else max(4, len(usable) // 2)


def _siblings(root: Path, number: int) -> str:
    return (root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings").read_text()


def _cores_of_macos() -> int:
    """The fast cores, where there are slow ones, too."""
    count, size = ctypes.c_int(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    for name in (b"hw.perflevel0.physicalcpu", b"hw.physicalcpu"):
        if ctypes.CDLL(None).sysctlbyname(name, ctypes.byref(count), ctypes.byref(size), None, 0) == 0:
            return count.value
    return 0


def cpu_quota(root: Path = _ROOT) -> float | None:
    """How many cores the control groups of Linux give this process; None where they set no limit."""
    found = []
    for folder in _groups(root, "cpu"):
        with suppress(OSError, ValueError, ZeroDivisionError):
            new = folder / "cpu.max"  # version 2
            if new.exists():
                quota, period = new.read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Bytes of memory that this process may have: the machine's, or its container's. None where nothing says so."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                found.append(int((folder / name).read_text()))  # "max" is no number
    return min(found, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups, up to the root. A container may see some of them only."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [controllers, controller] if controllers else ["", "unified"]
        for mount in dict.fromkeys(mounts):
            own = PurePosixPath(path)
            for group in (own, *own.parents):
                yield root / "sys/fs/cgroup" / mount / str(group).lstrip("/")
