"""Engines end when nobody has them any more, and not before; the memory is free when the next one opens."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import selar_local as sl
from selar_local.engine import lifetime, worker
from selar_local.engine.wire import Wire
from selar_local.errors import EngineClosed, ModelFileError, OptionError
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Decision, Setting, Stepper, StepView, Token

SOON = 20
SECONDS = 60


@pytest.fixture
def open_models(monkeypatch: pytest.MonkeyPatch) -> list[LlamaRuntime]:
    """The models that this process has open."""
    models: list[LlamaRuntime] = []

    class Counted(LlamaRuntime):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            models.append(self)

        def close(self) -> None:
            super().close()
            if self in models:  # a load that fails closes too
                models.remove(self)

    monkeypatch.setattr(worker, "LlamaRuntime", Counted)
    return models


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the collector of cycles: what is freed is freed because nobody has it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def ended(engine: sl.Engine | sl.IsolatedEngine) -> Callable[[], bool]:
    """Whether the engine's thread or process ends soon. (It holds what computes, not the engine.)"""
    if isinstance(engine, sl.Engine):
        thread = engine._worker._thread
        return lambda: (thread.join(SOON), not thread.is_alive())[1]
    process = engine._child.process
    return lambda: process.wait(SOON) is not None


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("use", ["nothing", "generate", "stream", "error", "closed stream", "vocabulary"])
@pytest.mark.usefixtures("no_collector")
def test_a_dropped_engine_ends(model, isolated, use):
    engine = sl.load(model, threads=1, isolated=isolated)
    if use == "generate":
        engine.generate("Hello", max_tokens=3, logprobs=1)
    elif use == "stream":
        list(engine.stream("Hello", max_tokens=3))
    elif use == "error":
        with pytest.raises(OptionError):
            engine.generate("Hello", tau=1)
    elif use == "closed stream":
        engine.stream("Hello", raw=True).close()
    elif use == "vocabulary":
        engine.render([{"role": "user", "content": "x"}], thinking=True)
        engine.token_bytes(engine.tokenize("Hello")[0])
    gone, has_ended = weakref.ref(engine), ended(engine)
    del engine
    assert gone() is None
    assert has_ended()


@pytest.mark.parametrize("isolated", [False, True])
def test_a_running_stream_keeps_its_engine(model, isolated):
    engine = sl.load(model, threads=1, isolated=isolated)
    stream = engine.stream("Hello", raw=True, seed=1, max_tokens=40)
    gone, has_ended = weakref.ref(engine), ended(engine)
    del engine
    gc.collect()
    assert gone() is not None
    events = list(stream)
    assert stream.result.tokens == tuple(event.token for event in events)
    assert stream.result.finish_reason in ("length", "stop")
    gc.collect()
    assert gone() is None  # the finished stream does not
    assert has_ended()
    assert stream.result.text and stream.seed == 1


@pytest.mark.parametrize("isolated", [False, True])
def test_a_stream_in_a_loop_keeps_its_engine(model, isolated):
    import asyncio

    async def main() -> tuple[Any, Any, sl.AsyncStream]:
        engine = sl.load(model, threads=1, isolated=isolated)
        stream = engine.astream("Hello", raw=True, seed=1, max_tokens=40)
        gone, has_ended = weakref.ref(engine), ended(engine)
        del engine
        await anext(stream)
        gc.collect()
        assert gone() is not None
        assert [event.index async for event in stream][-1] == len(stream.result.tokens) - 1
        return gone, has_ended, stream

    gone, has_ended, stream = asyncio.run(main())
    gc.collect()
    assert gone() is None and has_ended()
    assert stream.result.text


@pytest.mark.parametrize("isolated", [False, True])
def test_engine_and_stream_dropped_together(long_model, isolated):
    engine = sl.load(long_model, threads=1, ctx_size=32768, isolated=isolated)
    stream = engine.stream("Hello", raw=True)
    next(stream)
    gone, has_ended = weakref.ref(engine), ended(engine)
    engine.stream_of_mine = stream  # type: ignore[union-attr]  # a cycle: only the collector finds it
    del engine, stream
    gc.collect()
    assert gone() is None and has_ended()


def test_loads_in_a_notebook_leave_one_model_open(model, open_models):
    """A cell that is run again and again, without `close`."""
    most = []
    for _ in range(6):
        engine = sl.load(model, threads=1)
        most.append(len(open_models))
        assert engine.generate("Hello", max_tokens=2).usage.completion_tokens == 2
    assert max(most) <= 2  # while the new one loads, the name still has the old one
    del engine
    lifetime.close_stopped()
    assert open_models == []


@pytest.mark.usefixtures("no_collector")
def test_the_next_load_waits_until_the_memory_is_free(model, open_models, monkeypatch):
    closing, go = threading.Event(), threading.Event()
    close = worker.LlamaRuntime.close

    def slowly(runtime: LlamaRuntime) -> None:
        closing.set()
        assert go.wait(SOON)
        close(runtime)

    engine = sl.load(model, threads=1)
    monkeypatch.setattr(worker.LlamaRuntime, "close", slowly)
    del engine
    assert closing.wait(SOON)
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(len(open_after(model, open_models))))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive() and len(open_models) == 1
    go.set()
    thread.join(SOON)
    assert seen == [1]


def open_after(model: Path, open_models: list[LlamaRuntime]) -> list[LlamaRuntime]:
    """The models that are open just after another load."""
    with sl.load(model, threads=1):
        return list(open_models)


def test_a_load_that_fails_leaves_nothing(tmp_path, open_models):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    threads = threading.active_count()
    for isolated in (False, True):
        with pytest.raises(ModelFileError):
            sl.load(broken, isolated=isolated)
    lifetime.close_stopped()
    assert open_models == [] and threading.active_count() == threads


@dataclass(frozen=True)
class Collecting(sl.CoTGreedy):
    """Its first step waits for `dropped`, and collects garbage."""

    dropped: threading.Event
    done: threading.Event

    def start(self, setting: Setting) -> Stepper:
        method = self

        class Collect(Stepper):
            def __call__(self, view: StepView) -> Decision:
                method.dropped.wait(SOON)
                gc.collect()
                method.done.set()
                return Decision(Token(view.token), last=True)

        return Collect()


def test_a_finalizer_inside_the_worker_does_not_wait_for_itself(model):
    """The collector may find an engine in any thread, the engine's own included."""
    engine = sl.load(model, threads=1)
    thread, dropped, done = engine._worker._thread, threading.Event(), threading.Event()
    engine.begin(lambda message: None, "x", raw=True, method=Collecting(dropped=dropped, done=done))
    cycle: list[Any] = [engine]
    cycle.append(cycle)
    del engine, cycle
    dropped.set()
    assert done.wait(SOON)
    thread.join(SOON)
    assert not thread.is_alive()


def test_the_file_of_a_process_is_closed_with_it(model):
    with sl.load(model, threads=1, isolated=True) as engine:
        wire = engine._child._wire
    assert isinstance(wire, Wire) and wire._outgoing.closed and wire._incoming.closed


# -- processes --------------------------------------------------------------------------------

START = """
import os, sys, threading, time
import selar_local as sl
isolated = sys.argv[2] == "isolated"
engine = sl.load(sys.argv[1], threads=1, ctx_size=32768, isolated=isolated)
"""


def run(code: str, model: Path, isolated: bool) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START + code, str(model),
         "isolated" if isolated else "here"],
        capture_output=True, text=True, timeout=SECONDS, env=environment, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize(
    "code",
    [
        pytest.param("del engine", id="dropped"),
        pytest.param("stream = engine.stream('Hello', raw=True); next(stream); del engine", id="stream"),
        pytest.param("engine.stream('Hello', raw=True); del engine; sys.exit(0)", id="both dropped"),
        pytest.param(
            "import asyncio\n"
            "async def main():\n"
            "    async for event in engine.astream('Hello', raw=True):\n"
            "        return\n"
            "asyncio.run(main())",
            id="loop",
        ),
        pytest.param(
            "import asyncio\nloop = asyncio.new_event_loop()\nstream = engine.astream('Hello', raw=True)\n"
            "async def main():\n    await anext(stream)\n"
            "loop.run_until_complete(main())",
            id="open loop",
        ),
    ],
)
def test_the_interpreter_ends_cleanly(long_model, code, isolated):
    done = run(code, long_model, isolated)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize(
    "in_the_fork",
    [
        "engine.generate('Hello', raw=True, max_tokens=5)",
        "engine.tokenize('Hello')",
        "list(stream), sys.exit(7)",
        "sys.exit(7)",
    ],
)
def test_a_fork_neither_uses_nor_ends_what_its_parent_has(long_model, isolated, in_the_fork):
    code = f"""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
ask = dict(raw=True, max_tokens=5, method="cot-greedy")
first = engine.generate("Hello", **ask).tokens
stream = engine.stream("Hello", raw=True, max_tokens=20, seed=1)
next(stream)
child = os.fork()
if child == 0:
    try:
        {in_the_fork}
    except sl.errors.EngineClosed as error:
        print(str(error), flush=True)
        del stream, engine
        sys.exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(len(list(stream)), engine.generate("Hello", **ask).tokens == first)
"""
    done = run(code, long_model, isolated)
    said = done.stdout.splitlines()
    assert (done.returncode, said[-2:], done.stderr) == (0, ["7", "19 True"], "")
    if in_the_fork.startswith("engine"):
        assert said[0] == "the model was loaded before this process was forked: load it in this process"


# -- the wire ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_frames_of_many_threads_are_whole(seed):
    import random

    draw = random.Random(seed)
    (reads, writes), rest = os.pipe(), os.pipe()
    there = Wire(os.fdopen(reads, "rb"), os.fdopen(rest[1], "wb"))
    here = Wire(os.fdopen(rest[0], "rb"), os.fdopen(writes, "wb"))
    counts = [draw.randrange(1, 40) for _ in range(4)]
    sizes = [draw.choice((1, 100, 70_000)) for _ in counts]

    def send(i: int) -> None:
        for number in range(counts[i]):
            here.send((i, number, "x" * sizes[i]))

    threads = [threading.Thread(target=send, args=(i,)) for i in range(len(counts))]
    for thread in threads:
        thread.start()
    arrived = [there.receive() for _ in range(sum(counts))]
    for thread in threads:
        thread.join(SOON)
    for i, count in enumerate(counts):
        assert [number for sender, number, text in arrived if sender == i] == list(range(count))
    assert all(len(text) == sizes[i] for i, _, text in arrived)
    here.close()
    there.close()


class SendsMore:
    """While a frame is being sent, the garbage collector may drop a stream, which sends another one."""

    def __init__(self, file: Any, send: Callable[[], None]) -> None:
        self._file, self._send, self._sent = file, send, False

    def write(self, data: bytes) -> None:
        if not self._sent:
            self._sent = True
            self._send()
        self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def test_a_frame_within_a_frame_follows_it():
    reads, writes = os.pipe()
    with os.fdopen(reads, "rb") as incoming, os.fdopen(writes, "wb") as outgoing:
        wire = Wire(incoming, SendsMore(outgoing, lambda: wire.send("inner")))  # type: ignore[arg-type]
        wire.send("outer")
        assert [wire.receive(), wire.receive()] == ["outer", "inner"]


def test_a_closed_engine_is_not_dropped_twice(model):
    engine = sl.load(model, threads=1)
    engine.close()
    with pytest.raises(EngineClosed):
        engine.generate("x")
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


SLOW_CLOSE = """
import os, signal, sys, threading, time
import selar_local as sl
from selar_local.engine import worker

waits, over = threading.Semaphore(0), threading.Event()
free, close = worker.LlamaRuntime.close, worker.Worker.close
def freed(runtime):
    over.wait()
    free(runtime)
    os.write(1, b"freed")
def closed(part):
    waits.release()
    close(part)
def press():
    for _ in range(3):
        waits.acquire()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    over.set()

worker.LlamaRuntime.close, worker.Worker.close = freed, closed
engine = sl.load(sys.argv[1], threads=1)
threading.Thread(target=press, daemon=True).start()
try:
    engine.close()
except KeyboardInterrupt:
    os.write(1, b"interrupted ")
assert engine.alive()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot be sent SIGINT alone on Windows")
def test_an_interrupted_close_is_finished_before_the_interpreter_goes(model):
    """Else the thread meets an interpreter that has gone, in native code: SIGABRT, sometimes."""
    done = subprocess.run([sys.executable, "-c", SLOW_CLOSE, model], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted freed", "")
