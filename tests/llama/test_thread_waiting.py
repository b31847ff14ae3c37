"""How llama.cpp's threads wait: what decides it, what a user has set, what it costs the bits (nothing)."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_gguf import write_tiny_gguf

from selar_local.config import EngineConfig
from selar_local.llama import native, thread_waiting
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.library import uses_openmp
from selar_local.llama.runtime import LlamaRuntime
from selar_local.llama.thread_pool import ThreadPool
from selar_local.llama.thread_waiting import ThreadWaiting, _shortener
from selar_local.methods.base import Token

LINUX = sys.platform == "linux"


class Machine:
    """A scheduler that makes threads wait for so many seconds in each second of decoding."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.short = 0
        self.changes: list[bool] = []
        self.waiting = ThreadWaiting(lambda: self.waited, self.shorten)

    def shorten(self):
        self.short += 1
        self.changes.append(True)
        return self.undo

    def undo(self) -> None:
        self.short -= 1
        self.changes.append(False)

    def decode(self, share: float, seconds: float = 0.1, times: int = 10) -> None:
        for _ in range(times):
            self.waited += share * seconds
            self.waiting.decoded(seconds)


def test_the_spin_is_short_while_threads_wait_for_cores():
    machine = Machine()
    machine.decode(0.05)
    assert not machine.waiting.shortened
    machine.decode(0.9)
    assert machine.waiting.shortened
    machine.decode(0.3)  # between the two thresholds nothing changes
    assert machine.waiting.shortened
    machine.decode(0.05)
    assert not machine.waiting.shortened
    assert machine.changes == [True, False]


def test_one_slow_decode_is_enough():
    machine = Machine()
    machine.decode(0.9, seconds=2.0, times=1)
    assert machine.waiting.shortened


def test_nothing_changes_before_a_quarter_of_a_second_was_decoded():
    machine = Machine()
    machine.decode(2.0, seconds=0.01, times=20)
    assert machine.changes == []


@given(st.lists(st.tuples(st.floats(0, 4), st.floats(0, 2)), max_size=60))
def test_it_is_shortened_once_at_a_time_and_given_back(decodes):
    machine = Machine()
    for share, seconds in decodes:
        machine.decode(share, seconds, times=1)
        assert machine.short == machine.waiting.shortened
    assert all(one != other for one, other in pairwise(machine.changes))
    machine.waiting.close()
    machine.waiting.close()
    assert machine.short == 0


def test_the_meter_gives_the_share_a_thread_waited():
    machine = Machine()
    machine.decode(1.0, seconds=0.3)
    share = machine.waiting.meter(threads=2)
    assert share() is None
    machine.decode(0.5, seconds=0.3, times=3)
    machine.decode(0.7, seconds=0.3, times=3)
    assert share() == pytest.approx(0.3)


def test_the_meter_never_says_more_than_all():
    machine = Machine()
    share = machine.waiting.meter(threads=1)
    machine.decode(9.0)
    assert share() == 1.0


def test_without_figures_of_the_scheduler_nothing_is_changed():
    waiting = ThreadWaiting(lambda: None, pytest.fail)
    share = waiting.meter(2)
    for _ in range(10):
        waiting.decoded(1.0)
    assert share() is None


def test_a_sum_that_falls_because_a_thread_ended_is_no_waiting():
    machine = Machine()
    share = machine.waiting.meter(1)
    machine.decode(0.5)
    machine.waited = 0.0
    machine.decode(0.0)
    assert 0 <= share() <= 0.5


@pytest.mark.skipif(not LINUX, reason="Linux has the figures")
def test_two_loops_on_one_core_make_each_other_wait():
    program = (
        "import os, threading, time\nfrom selar_local.llama.thread_waiting import waited_seconds\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "before = waited_seconds()\n"
        "if os.fork() == 0:\n    end = time.time() + 1\n    while time.time() < end: pass\n    os._exit(0)\n"
        "end = time.time() + 1\nwhile time.time() < end: pass\n"
        "print(waited_seconds() - before)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(answer.stdout) > 0.1


def test_a_system_without_figures(monkeypatch, tmp_path):
    monkeypatch.setattr(thread_waiting, "_TASKS", tmp_path / "none")
    assert thread_waiting.waited_seconds() is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("")
    monkeypatch.setattr(thread_waiting, "_TASKS", tmp_path)
    assert thread_waiting.waited_seconds() is None


def loaded(**variables: str) -> list[str]:
    """What a fresh process finds: the spin count before, within and after loading, and whether the user's counts."""
    program = (
        "import os, sys\nfrom unittest import mock\n"
        "import importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'llama_cpp': print(os.environ.get('GOMP_SPINCOUNT'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from selar_local.llama import native\n"
        "print(os.environ.get('GOMP_SPINCOUNT'))\nprint(native.WAITING_SET_BY_USER)"
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**kept, **variables}
    )
    return answer.stdout.split()


def test_the_spin_is_set_only_while_the_library_is_loaded():
    assert loaded() == [str(native.SPIN), "None", "False"]


def test_what_the_user_has_set_stays():
    assert loaded(GOMP_SPINCOUNT="7") == ["7", "7", "True"]
    assert loaded(OMP_WAIT_POLICY="passive") == ["None", "None", "True"]


def test_the_user_switches_the_adapting_off(monkeypatch):
    monkeypatch.setattr("selar_local.llama.thread_waiting.WAITING_SET_BY_USER", True)
    assert _shortener() is None


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.skipif(not LINUX, reason="counts threads by /proc")
def test_shortening_makes_more_threads_than_cores_and_ends_them():
    shorten = _shortener()
    if shorten is None:
        pytest.skip("another OpenMP than GCC's, or the user has chosen")
    before = threads()
    undo = shorten()
    assert threads() - before > len(os.sched_getaffinity(0))
    undo()
    end = time.monotonic() + 10
    while threads() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threads() == before


def logits(path: Path, short: bool, flash_attn: str) -> list[np.ndarray]:
    """Of a long prompt and the steps after it."""
    runtime = LlamaRuntime(path, EngineConfig(ctx_size=1024, threads=2, flash_attn=flash_attn))
    runtime.context.waiting = ThreadWaiting(lambda: None)
    undo = (_shortener() or (lambda: lambda: None))() if short else lambda: None
    try:
        found: list[np.ndarray] = []
        for position in range(0, 640, 128):
            ids = [(7 * i) % 50 for i in range(position, position + 128)]
            found += [x.copy() for x in runtime.prefill([Chunk(0, position, ids, True)], bool) if x is not None]
        for i in range(8):
            found.append(runtime.step([Feed(0, 640 + i, Token(i))], True)[0].copy())
        return found
    finally:
        undo()
        runtime.close()


@pytest.mark.parametrize("flash_attn", ["on", "off"])
def test_how_threads_wait_changes_no_bit(tmp_path, flash_attn):
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    for one, other in zip(logits(path, False, flash_attn), logits(path, True, flash_attn), strict=True):
        assert np.array_equal(one, other)


def test_an_own_pool_decodes_the_same(tmp_path, monkeypatch):
    """Builds without OpenMP get llama.cpp's pool; with OpenMP it may be attached too, and is not used."""
    path = write_tiny_gguf(tmp_path / "tiny.gguf")
    expected = logits(path, False, "on")
    made: list[ThreadPool] = []
    attach = ThreadPool.attach.__func__

    def attach_and_keep(cls, context, threads):
        pool = attach(cls, context, threads)
        made.append(pool)
        return pool

    monkeypatch.setattr("selar_local.llama.context.uses_openmp", lambda: False)
    monkeypatch.setattr(ThreadPool, "attach", classmethod(attach_and_keep))
    found = logits(path, False, "on")
    assert made[0] is not None or not uses_openmp()
    for one, other in zip(expected, found, strict=True):
        assert np.array_equal(one, other)
