"""Cores and memory that a process may use, read from a tree of files like Linux's."""

from __future__ import annotations

import os

import pytest

from selar_local.llama import machine
from selar_local.llama.machine import cpu_quota, default_threads, memory_limit, physical_cores

GIB = 2**30
OURS = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("files", "quota", "memory"),
    [
        ({}, None, None),
        # Version 2, in a container that sees itself as the root.
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "50000 100000", "sys/fs/cgroup/memory.max": GIB},
         0.5, GIB),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000", "sys/fs/cgroup/memory.max": "max"},
         None, None),
        # The tightest limit on the way up counts.
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/cpu.max": "150000 100000",
          "sys/fs/cgroup/a/b/cpu.max": "400000 100000", "sys/fs/cgroup/a/memory.max": GIB,
          "sys/fs/cgroup/a/b/memory.max": "max"}, 1.5, GIB),
        # Version 1, mounted under both names, seen from within a container.
        ({"proc/self/cgroup": "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/docker/1",
          "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": 250000, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": 100000,
          "sys/fs/cgroup/memory/memory.limit_in_bytes": GIB}, 2.5, GIB),
        ({"proc/self/cgroup": "1:cpu:/x", "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": -1,
          "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": 100000}, None, None),
        ({"proc/self/cgroup": "1:cpu:/x", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "nonsense"}, None, None),
    ],
)  # fmt: skip
def test_the_limits_of_control_groups(tmp_path, files, quota, memory):
    root = write(tmp_path, files)
    assert cpu_quota(root) == quota
    limits = [limit for limit in (memory, OURS) if limit is not None]
    assert memory_limit(root) == min(limits, default=None)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux")
@pytest.mark.parametrize(
    ("siblings", "usable", "cores"),
    [
        (["1", "2", "4", "8", "10", "20"], range(6), 6),  # no hyper-threads
        (["03", "03", "0c", "0c"], range(4), 2),
        (["03", "03", "0c", "0c"], [0, 1], 1),
        (["03", "03", "0c", "0c"], [1, 2], 2),
    ],
)
def test_hyper_threads_are_no_cores(tmp_path, monkeypatch, siblings, usable, cores):
    names = (f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings" for number in range(len(siblings)))
    root = write(tmp_path, dict(zip(names, siblings, strict=True)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(usable))
    assert physical_cores(root) == cores


@pytest.mark.parametrize(("usable", "cores"), [(1, 1), (2, 2), (4, 4), (6, 4), (16, 8)])
def test_half_of_many_threads_where_nothing_tells_cores(tmp_path, monkeypatch, usable, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert physical_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("cores", "quota", "threads"), [(8, None, 8), (8, 0.5, 1), (8, 2.9, 2), (2, 16.0, 2), (4, 4.0, 4)]
)
def test_threads_fit_both(monkeypatch, cores, quota, threads):
    monkeypatch.setattr(machine, "physical_cores", lambda: cores)
    monkeypatch.setattr(machine, "cpu_quota", lambda: quota)
    assert default_threads() == threads
