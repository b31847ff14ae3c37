"""An engine in another process: the same answers, and a death there that is told here."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import selar_local as sl
from selar_local.errors import EngineClosed, EngineCrashed, ModelFileError, ModelNotFound, OptionError

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
SOON = 30


@pytest.fixture(scope="module")
def isolated(model: Path) -> Iterator[sl.IsolatedEngine]:
    with sl.load(model, threads=1, parallel=3, isolated=True) as opened:
        yield opened


def kill(engine: sl.IsolatedEngine) -> None:
    os.kill(engine.process_id, signal.SIGKILL)


@pytest.mark.parametrize("method", ["selar", "cot", "soft-thinking", "swir", "coconut"])
def test_the_same_events_as_in_this_process(model, isolated, method):
    with sl.load(model, threads=1) as here:
        for seed in (1, 2):
            options = {"method": method, "seed": seed, "max_tokens": 24, "logprobs": 2}
            stream, there = here.stream("Hello", **options), isolated.stream("Hello", **options)
            assert list(there) == list(stream)
            assert (there.seed, there.prompt, there.method) == (stream.seed, stream.prompt, stream.method)
            assert there.result.text == stream.result.text
            assert there.result.usage == stream.result.usage
        assert isolated.info == here.info
        turns = [{"role": "user", "content": "x"}]
        assert isolated.render(turns, thinking=True) == here.render(turns, thinking=True)
        assert isolated.tokenize("Hello") == here.tokenize("Hello")
        own, other = (engine.generate("Hello", seed=3, max_tokens=9) for engine in (here, isolated))
        assert own.tokens == other.tokens


def test_errors_come_over_as_what_they_are(isolated, tmp_path):
    with pytest.raises(OptionError, match="unknown option 'bogus'"):
        isolated.stream("x", bogus=1)
    with pytest.raises(sl.errors.PromptTooLong):
        isolated.stream("x" * 9000, raw=True)
    with pytest.raises(OptionError, match="think_end"):
        isolated.stream("x", method=sl.SwiReasoning(think_end="nope"))
    with pytest.raises(ModelNotFound):
        sl.load(tmp_path / "nothing.gguf", isolated=True)
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelFileError):
        sl.load(tmp_path / "bad.gguf", isolated=True)
    assert isolated.generate("Hello", max_tokens=1).usage.completion_tokens == 1


@posix
def test_a_process_that_does_not_come_back_is_replaced(model):
    with sl.load(model, threads=1, hang_timeout=0.5, isolated=True) as engine:
        stream = engine.stream("Hello", seed=1)
        next(stream)
        old = engine.process_id
        os.kill(old, signal.SIGSTOP)
        with pytest.raises(EngineCrashed, match="did not come back"):
            list(stream)
        assert engine.generate("Hello", max_tokens=2, seed=1).usage.completion_tokens == 2
        assert engine.process_id != old


@posix
def test_who_comes_to_a_process_that_was_just_replaced_hears_of_its_death(model):
    with sl.load(model, threads=1, isolated=True) as engine:
        old = engine._child
        kill(engine)
        with pytest.raises(EngineCrashed):
            old.ask("tokenize", text="a")
        assert engine.generate("Hello", max_tokens=1, seed=1).text is not None  # another one is there
        with pytest.raises(EngineCrashed):
            old.ask("tokenize", text="a")


@posix
def test_the_app_alone_decides_when_the_process_ends(model):
    with sl.load(model, threads=1, isolated=True) as engine:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(engine.process_id, number)
        assert engine.generate("Hello", max_tokens=2, seed=1).usage.completion_tokens == 2


def test_it_can_be_stopped_from_here(isolated):
    seen: list[tuple[int, int]] = []
    stream = isolated.stream("Hello", raw=True, max_tokens=4000, on_prefill=lambda *done: seen.append(done))
    next(stream)
    stream.cancel()
    rest = list(stream)
    assert stream.result.finish_reason == "cancelled"
    assert len(stream.result.tokens) == 1 + len(rest) < 4000
    assert seen and seen[-1][0] == seen[-1][1]
    with isolated.stream("Hello", raw=True) as dropped:
        next(dropped)
    assert dropped.result.finish_reason == "cancelled"


def test_many_threads_at_once(tiny):
    with sl.load(tiny(weight_type="Q8_0"), threads=1, parallel=3, isolated=True) as engine:
        expected = {i: engine.generate("Hello", raw=True, seed=i, max_tokens=12).tokens for i in range(6)}
        found: dict[int, tuple[int, ...]] = {}

        def ask(i: int) -> None:
            found[i] = engine.generate("Hello", raw=True, seed=i, max_tokens=12).tokens

        threads = [threading.Thread(target=ask, args=(i,)) for i in expected]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SOON)
    assert found == expected


@posix
def test_a_death_ends_what_runs_and_the_next_request_starts_anew(model):
    with sl.load(model, threads=1, parallel=2, isolated=True) as engine:
        before = engine.generate("Hello", seed=1, max_tokens=12).tokens
        first, second = (engine.stream("Hello", raw=True, max_tokens=4000, seed=i) for i in range(2))
        events = [next(first) for _ in range(3)]
        next(second)
        kill(engine)
        with pytest.raises(EngineCrashed, match="signal 9"):
            events += list(first)
        with pytest.raises(EngineCrashed):
            list(second)
        assert first.result.finish_reason == "error"
        assert first.result.tokens[:3] == tuple(event.token for event in events[:3])
        assert first.result.usage.prompt_read == first.result.usage.prompt_tokens == len(first.prompt)
        assert list(first) == []
        old = engine.process_id
        assert engine.generate("Hello", seed=1, max_tokens=12).tokens == before
        assert engine.process_id != old


@posix
def test_the_new_process_tells_its_progress_too(model):
    shares: list[float] = []
    with sl.load(model, threads=1, isolated=True, on_progress=shares.append) as engine:
        assert shares
        shares.clear()
        kill(engine)
        assert engine._child._gone.wait(SOON)
        assert engine.tokenize("Hello") and shares and shares == sorted(shares)


@posix
def test_a_death_while_nobody_asks_is_not_noticed(model):
    with sl.load(model, threads=1, isolated=True) as engine:
        kill(engine)
        time.sleep(0.2)
        assert engine.generate("Hello", max_tokens=2).usage.completion_tokens == 2
        kill(engine)
        time.sleep(0.2)
        assert engine.tokenize("Hello")


@posix
def test_a_child_does_not_outlive_its_app(model, tmp_path):
    script = (
        "import sys, selar_local as sl, os, signal\n"
        f"engine = sl.load({os.fspath(model)!r}, threads=1, isolated=True)\n"
        "print(engine.process_id, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON, check=False)
    child = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and " Z " in Path(f"/proc/{child}/stat").read_text():
            return  # ended; nobody has asked for its exit code yet
        time.sleep(0.1)
    raise AssertionError("the child still runs")


def test_a_script_without_a_main_guard_can_use_it_and_leaves_it_open(model):
    script = (
        f"import selar_local as sl\nengine = sl.load({os.fspath(model)!r}, threads=1, isolated=True)\n"
        "print(len(engine.generate('Hello', max_tokens=3).tokens))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SOON, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "3", "")


@posix
def test_it_can_be_closed_while_another_process_loads(model):
    """The thread that asked waits for it: who closes must not."""
    loading, go, errors = threading.Event(), threading.Event(), []

    def hold(share: float) -> None:
        if dead.is_set():
            loading.set()
            go.wait(SOON)

    def ask() -> None:
        try:
            engine.tokenize("Hello")
        except EngineClosed as error:
            errors.append(error)

    dead = threading.Event()
    engine = sl.load(model, threads=1, isolated=True, on_progress=hold)
    dead.set()
    kill(engine)
    assert engine._child._gone.wait(SOON)
    thread = threading.Thread(target=ask)
    thread.start()
    assert loading.wait(SOON)
    engine.close()
    assert engine._child.process.poll() is not None
    go.set()
    thread.join(SOON)
    assert len(errors) == 1


def test_ctrl_c_while_a_request_is_being_accepted(model, monkeypatch):
    """It may have been accepted: then it must not run on, nor its messages end the thread that reads them."""
    with sl.load(model, threads=1, parallel=1, isolated=True) as engine:
        child = engine._child

        def interrupted(kind, number, arguments):
            child._send((kind, number, pickle.dumps(arguments)))
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(child, "_command", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.stream("Hello", raw=True, max_tokens=4000)
        started = time.monotonic()
        assert engine.generate("Hello", max_tokens=2).usage.completion_tokens == 2
        assert time.monotonic() - started < SOON and engine._child is child


def test_a_request_that_the_process_cannot_read_fails_alone(model, monkeypatch):
    """Such as a method of the app's own script."""
    here = types.ModuleType("only_in_this_process")
    method = dataclass(frozen=True)(type("Mine", (sl.CoT,), {"__module__": here.__name__}))
    here.Mine = method
    monkeypatch.setitem(sys.modules, here.__name__, here)
    with sl.load(model, threads=1, parallel=2, isolated=True) as engine:
        running = engine.stream("Hello", raw=True, max_tokens=30, seed=1)
        next(running)
        before = engine.process_id
        with pytest.raises(OptionError, match="a method must be importable there"):
            engine.stream("Hello", method=method())
        with pytest.raises(OptionError, match="cannot be sent"):
            engine._living().ask("tokenize", text=lambda: 1)
        list(running)
        assert running.result.finish_reason in ("length", "stop") and engine.process_id == before


class Breaking:
    """Read in the other process, it breaks the engine's loop there."""

    def __reduce__(self):
        return exec, ("import selar_local.engine.scheduler as m; m.Scheduler._retire = lambda self: 1 / 0",)


def test_a_process_whose_worker_has_failed_is_replaced(model):
    with sl.load(model, threads=1, isolated=True) as engine:
        before = engine.generate("Hello", seed=1, max_tokens=4).tokens
        with pytest.raises(sl.SelarError):
            engine._living().ask("tokenize", text=Breaking())
        with pytest.raises(sl.SelarError, match="division by zero"):
            engine.generate("Hello", max_tokens=4)
        with pytest.raises(EngineCrashed, match="exit code 1"):
            engine.generate("Hello", max_tokens=4)
        assert engine.generate("Hello", seed=1, max_tokens=4).tokens == before


def test_closed_is_closed(model):
    engine = sl.load(model, threads=1, isolated=True)
    stream = engine.stream("Hello", raw=True, max_tokens=4000)
    next(stream)
    engine.close()
    engine.close()
    with pytest.raises(EngineClosed):
        list(stream)
    with pytest.raises(EngineClosed):
        engine.generate("x")
    assert engine._child.process.poll() == 0
