"""Generations in event loops: nothing lost, nothing left running, and the loop goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import selar_local as sl
from selar_local.engine.awaiting import Inbox
from selar_local.errors import DecodeError, EngineBusy, EngineClosed, EngineCrashed, OptionError, PromptTooLong
from selar_local.methods import CoTGreedy
from selar_local.methods.base import Decision, Setting, Stepper, StepView, Token

SOON = 20.0  # seconds; what is tested takes milliseconds


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """`asyncio.run` with a limit."""
    return asyncio.run(asyncio.wait_for(coroutine, SOON))


@pytest.fixture(scope="module")
def isolated(model: Path) -> Iterator[sl.IsolatedEngine]:
    with sl.load(model, threads=1, parallel=2, isolated=True) as opened:
        yield opened


@pytest.fixture(params=["here", "isolated"])
def either(request: pytest.FixtureRequest, engine: sl.Engine) -> sl.Engine | sl.IsolatedEngine:
    """An engine in this process, and one in a process of its own."""
    return engine if request.param == "here" else request.getfixturevalue("isolated")


# -- the inbox --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_items_of_any_thread_arrive_once_and_in_order(seed):
    draw = random.Random(seed)
    counts = [draw.randrange(1, 60) for _ in range(draw.randrange(1, 5))]
    pauses = draw.random() < 0.3

    async def main() -> list[tuple[int, int]]:
        arrived: list[tuple[int, int]] = []
        all_there = asyncio.Event()

        def receive(item: tuple[int, int]) -> None:
            arrived.append(item)
            if len(arrived) == sum(counts):
                all_there.set()

        inbox = Inbox(receive)

        def put(thread: int) -> None:
            for i in range(counts[thread]):
                inbox.put((thread, i))
                if pauses and draw.random() < 0.2:
                    threading.Event().wait(0.0001)

        threads = [threading.Thread(target=put, args=(i,)) for i in range(len(counts))]
        for thread in threads:
            thread.start()
        await all_there.wait()
        await asyncio.to_thread(lambda: [thread.join() for thread in threads])
        await asyncio.sleep(0)
        return arrived

    arrived = run(main())
    for thread, count in enumerate(counts):
        assert [i for sender, i in arrived if sender == thread] == list(range(count))
    assert len(arrived) == sum(counts)


def test_the_loop_is_woken_once_for_what_came_together():
    async def main() -> tuple[int, list[int]]:
        arrived: list[int] = []
        inbox = Inbox(arrived.append)
        loop, calls = asyncio.get_running_loop(), []
        original = loop.call_soon_threadsafe
        loop.call_soon_threadsafe = lambda *what: calls.append(what) or original(*what)  # type: ignore[method-assign]
        for i in range(100):
            inbox.put(i)
        await asyncio.sleep(0)
        return len(calls), arrived

    assert run(main()) == (1, list(range(100)))


def test_a_closed_loop_is_noticed_by_every_item():
    async def main() -> Inbox[int]:
        return Inbox(arrived.append, lambda: closed.append(1))

    arrived: list[int] = []
    closed: list[int] = []
    inbox = run(main())
    for i in range(3):
        inbox.put(i)
    assert (arrived, closed) == ([], [1, 1, 1])


def test_a_loop_that_closes_with_a_wake_up_under_way_is_noticed():
    arrived: list[int] = []
    closed: list[int] = []
    loop = asyncio.new_event_loop()
    inbox = loop.run_until_complete(_made(lambda: Inbox(arrived.append, lambda: closed.append(1))))
    inbox.put(1)  # the loop does not run: the wake-up waits
    loop.close()
    inbox.put(2)
    assert (arrived, closed) == ([], [1])


async def _made(make: Callable[[], Any]) -> Any:
    return make()


# -- the same answers -------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["selar", "cot", "soft-thinking", "swir", "coconut"])
def test_the_same_events_and_result_as_without_a_loop(either, method):
    options = {"method": method, "seed": 3, "max_tokens": 24, "logprobs": 2}
    with either.stream("Hello", **options) as stream:
        expected = list(stream)
    read: list[tuple[int, int]] = []

    async def main() -> tuple[list[sl.TokenEvent], sl.AsyncStream, sl.Result]:
        async with either.astream("Hello", on_prefill=lambda *at: read.append(at), **options) as astream:
            assert astream.prompt == stream.prompt and astream.notes == stream.notes  # known at once
            events = [event async for event in astream]
        return events, astream, await either.agenerate("Hello", **options)

    events, astream, result = run(main())
    assert events == expected
    assert (astream.seed, astream.method) == (stream.seed, stream.method)
    for one in (astream.result, result):
        assert (one.text, one.tokens, one.usage, one.logprobs) == (
            stream.result.text, stream.result.tokens, stream.result.usage, stream.result.logprobs,
        )  # fmt: skip
    assert read[-1] == (len(stream.prompt),) * 2


def test_many_at_once_each_get_their_own(engine):
    expected = [engine.generate("Hello", raw=True, seed=i, max_tokens=12).tokens for i in range(12)]

    async def main() -> list[tuple[int, ...]]:
        results = await asyncio.gather(*(engine.agenerate("Hello", raw=True, seed=i, max_tokens=12) for i in range(12)))
        return [result.tokens for result in results]

    assert run(main()) == expected


def test_several_loops_in_several_threads(either):
    expected = [either.generate("Hello", raw=True, seed=i, max_tokens=12).tokens for i in range(6)]
    found: dict[int, tuple[int, ...]] = {}

    async def ask(i: int) -> None:
        stream = either.astream("Hello", raw=True, seed=i, max_tokens=12)
        found[i] = tuple([event.token async for event in stream])
        assert stream.result.tokens == found[i]

    threads = [threading.Thread(target=lambda i=i: run(ask(i))) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert [found[i] for i in range(6)] == expected


def test_the_loop_goes_on_meanwhile(engine):
    async def main() -> int:
        ticks = 0
        task = asyncio.ensure_future(engine.agenerate("Hello", raw=True, max_tokens=200, seed=1))
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
        assert (await task).usage.completion_tokens == 200
        return ticks

    assert run(main()) > 50


def test_a_stream_has_no_thread_of_its_own(engine):
    async def main() -> int:
        before = names()
        streams = [engine.astream("Hello", raw=True, seed=i, max_tokens=20) for i in range(20)]
        for stream in streams:
            await anext(stream)
        more = names() - before
        for stream in streams:
            await stream.aclose()
        return len(more)

    def names() -> Counter[str]:
        return Counter(thread.name for thread in threading.enumerate() if thread.name != "selar-local spin")

    assert run(main()) == 0


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prompt": "x", "bogus": 1}, OptionError),
        ({"prompt": "x" * 9000, "raw": True}, PromptTooLong),
        ({"prompt": "x", "method": sl.SwiReasoning(think_end="nope")}, OptionError),
        ({}, OptionError),
    ],
)
def test_a_refused_request(either, arguments, error):
    async def main() -> None:
        stream = either.astream(**arguments)
        with pytest.raises(error):
            await anext(stream)
        assert [event async for event in stream] == []  # the error is raised once
        with pytest.raises(RuntimeError, match="not finished"):
            _ = stream.result
        await stream.aclose()
        with pytest.raises(error):
            async with either.astream(**arguments):
                raise AssertionError("it has begun")
        with pytest.raises(error):
            await either.agenerate(**arguments)

    run(main())


@dataclass(frozen=True)
class Failing(CoTGreedy):
    """An error at its third step."""

    def start(self, setting: Setting) -> Stepper:
        return _Third()


class _Third(Stepper):
    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, view: StepView) -> Decision:
        self.steps += 1
        if self.steps == 3:
            raise ValueError("the third")
        return Decision(Token(view.token))


def test_an_error_comes_after_the_events_before_it(engine):
    async def main() -> None:
        events, stream = [], engine.astream("Hello", raw=True, method=Failing())
        with pytest.raises(DecodeError, match="the third"):
            async for event in stream:
                events.append(event)
        assert len(events) == 2 and stream.result.finish_reason == "error"
        assert stream.result.tokens == tuple(event.token for event in events)

    run(main())


def test_a_closed_engine(tiny):
    async def main() -> None:
        engine = sl.load(tiny(), threads=1)
        stream = engine.astream("Hello", raw=True)
        await anext(stream)
        await asyncio.to_thread(engine.close)
        with pytest.raises(EngineClosed):
            async for _ in stream:
                pass
        with pytest.raises(EngineClosed):
            await engine.agenerate("Hello", raw=True)

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_process_that_dies(model):
    async def main() -> None:
        with sl.load(model, threads=1, isolated=True) as engine:
            stream = engine.astream("Hello", raw=True, max_tokens=4000)
            await anext(stream)
            engine._child.process.kill()
            with pytest.raises(EngineCrashed):
                async for _ in stream:
                    pass
            assert (await engine.agenerate("Hello", max_tokens=2)).usage.completion_tokens == 2

    run(main())


# -- stopping ---------------------------------------------------------------------------------


class Gate:
    """Lets a method take one step at a time."""

    def __init__(self) -> None:
        self.permits, self.steps = threading.Semaphore(0), 0


@dataclass(frozen=True)
class Gated(CoTGreedy):
    """Greedy, each step with a permit."""

    gate: Gate

    def start(self, setting: Setting) -> Stepper:
        return _Held(self.gate)


class _Held(Stepper):
    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __call__(self, view: StepView) -> Decision:
        self.gate.steps += 1
        assert self.gate.permits.acquire(timeout=SOON)
        return Decision(Token(view.token))


async def leave_early(engine: sl.Engine, gate: Gate) -> None:
    async for event in engine.astream("Hello", raw=True, method=Gated(gate=gate)):
        if event.index == 2:
            break


async def leave_the_block(engine: sl.Engine, gate: Gate) -> None:
    async with engine.astream("Hello", raw=True, method=Gated(gate=gate)) as stream:
        for _ in range(3):
            await anext(stream)
        threading.Timer(0.05, gate.permits.release, [1000]).start()
    assert stream.result.finish_reason == "cancelled"


async def cancel_the_task(engine: sl.Engine, gate: Gate) -> None:
    events = []

    async def read() -> None:
        events.extend([event async for event in engine.astream("Hello", raw=True, method=Gated(gate=gate))])

    task = asyncio.ensure_future(read())
    while gate.steps < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def run_into_a_timeout(engine: sl.Engine, gate: Gate) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("asyncio.timeout is new in Python 3.11")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            async for _ in engine.astream("Hello", raw=True, method=Gated(gate=gate)):
                pass


async def cancel_while_it_is_awaited(engine: sl.Engine, gate: Gate) -> None:
    task = asyncio.ensure_future(engine.agenerate("Hello", raw=True, method=Gated(gate=gate)))
    while gate.steps < 4:
        await asyncio.sleep(0.001)
    task.cancel()
    threading.Timer(0.05, gate.permits.release, [1000]).start()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancel_from_a_thread(engine: sl.Engine, gate: Gate) -> None:
    async with engine.astream("Hello", raw=True, method=Gated(gate=gate)) as stream:
        for _ in range(3):
            await anext(stream)
        await asyncio.to_thread(stream.cancel)
        threading.Timer(0.05, gate.permits.release, [1000]).start()
        rest = [event async for event in stream]
    assert len(rest) <= 1 and stream.result.finish_reason == "cancelled"


async def fail_in_the_loop(engine: sl.Engine, gate: Gate) -> None:
    with pytest.raises(ZeroDivisionError):
        async for event in engine.astream("Hello", raw=True, method=Gated(gate=gate)):
            if event.index == 2:
                raise ZeroDivisionError


async def forget_it(engine: sl.Engine, gate: Gate) -> None:
    stream = engine.astream("Hello", raw=True, method=Gated(gate=gate))
    for _ in range(3):
        await anext(stream)


async def leave_a_generator_around_it(engine: sl.Engine, gate: Gate) -> None:
    async def texts() -> AsyncIterator[str]:
        async with engine.astream("Hello", raw=True, method=Gated(gate=gate)) as stream:
            async for event in stream:
                yield event.text

    @asynccontextmanager
    async def closing(generator: Any) -> AsyncIterator[Any]:
        try:
            yield generator
        finally:
            threading.Timer(0.05, gate.permits.release, [1000]).start()
            await generator.aclose()

    async with closing(texts()) as pieces:
        for _ in range(3):
            await anext(pieces)


WAYS = [
    leave_early, leave_the_block, cancel_the_task, run_into_a_timeout, cancel_while_it_is_awaited, cancel_from_a_thread,
    fail_in_the_loop, forget_it, leave_a_generator_around_it,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_it_stops_within_one_step(engine, way):
    gate = Gate()
    gate.permits.release(3)
    run(way(engine, gate))
    gc.collect()
    gate.permits.release(1000)
    after = engine.generate("next", raw=True, max_tokens=2, method="cot-greedy")  # waits for its place
    assert after.usage.completion_tokens == 2
    assert gate.steps <= 4


@pytest.mark.parametrize("how", ["leave", "cancel", "forget"])
def test_it_stops_in_another_process_too(long_isolated, how):
    async def read(stream: sl.AsyncStream) -> None:
        async for event in stream:
            if how == "leave" and event.index == 2:
                break

    async def main() -> None:
        stream = long_isolated.astream("Hello", raw=True)
        if how == "leave":
            await read(stream)
        elif how == "cancel":
            await anext(stream)
            task = asyncio.ensure_future(read(stream))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            await anext(stream)

    run(main())
    gc.collect()
    for _ in range(1000):
        try:  # the only place is free once that one has ended
            assert long_isolated.generate("Hello", raw=True, max_tokens=1).usage.completion_tokens == 1
            return
        except EngineBusy:
            threading.Event().wait(0.01)
    raise AssertionError("it still runs")


@pytest.fixture(scope="module")
def long_isolated(long_model: Path) -> Iterator[sl.IsolatedEngine]:
    """One place, no queue, and texts of 30,000 tokens."""
    with sl.load(long_model, threads=1, ctx_size=32768, queue_size=0, isolated=True) as opened:
        yield opened


def test_a_loop_that_is_closed_before_the_end(engine):
    """Without cancelling its tasks, as a program does that manages its loops itself."""
    gate, loop = Gate(), asyncio.new_event_loop()
    gate.permits.release(3)
    stream = engine.astream("Hello", raw=True, method=Gated(gate=gate))

    async def three() -> None:
        for _ in range(3):
            await anext(stream)

    loop.run_until_complete(three())
    loop.close()
    gate.permits.release(1000)  # the step after these three says so to a closed loop
    after = engine.generate("next", raw=True, max_tokens=2, method="cot-greedy")
    assert after.usage.completion_tokens == 2 and gate.steps <= 4


def test_what_is_stopped_before_the_engine_has_taken_it(either, monkeypatch):
    """As while another process loads after a crash."""
    go, messages, begin = threading.Event(), SimpleQueue(), either.begin

    def late(emit: Any, *arguments: Any, **more: Any) -> Any:
        def note(message: Any) -> None:
            messages.put(message)
            emit(message)

        assert go.wait(SOON)
        return begin(note, *arguments, **more)

    async def main() -> None:
        task = asyncio.ensure_future(either.agenerate("Hello", raw=True, max_tokens=4000))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with monkeypatch.context() as patch:
        patch.setattr(either, "begin", late)
        run(main())
        go.set()
        while not isinstance(message := messages.get(timeout=SOON), sl.Result):
            pass
    assert message.finish_reason == "cancelled"
    assert either.generate("Hello", raw=True, max_tokens=2).usage.completion_tokens == 2


def test_one_that_has_not_begun_never_does(engine):
    async def main() -> None:
        stream = engine.astream("Hello")
        assert "not begun" in repr(stream)
        with pytest.raises(RuntimeError, match="has not begun"):
            _ = stream.prompt
        await stream.aclose()
        assert [event async for event in stream] == []
        cancelled = engine.astream("Hello", raw=True)
        cancelled.cancel()
        assert [event async for event in cancelled] == []
        assert cancelled.result.finish_reason == "cancelled"

    run(main())
    engine.astream("nobody awaits it")


def test_another_loop_is_refused(engine):
    stream = engine.astream("Hello", raw=True, max_tokens=3)
    run(anext_of(stream))
    with pytest.raises(RuntimeError, match="another event loop"):
        run(anext_of(stream))


async def anext_of(stream: sl.AsyncStream) -> sl.TokenEvent:
    return await anext(stream)


def test_two_tasks_may_share_a_stream(engine):
    async def main() -> tuple[list[int], tuple[int, ...]]:
        stream, indices = engine.astream("Hello", raw=True, seed=1, max_tokens=40), []

        async def read() -> None:
            async for event in stream:
                indices.append(event.index)
                await asyncio.sleep(0)

        await asyncio.gather(read(), read())
        return indices, stream.result.tokens

    indices, tokens = run(main())
    assert sorted(indices) == list(range(len(tokens)))


def test_random_stops_never_harm_the_others(tiny):
    draw = random.Random(1)

    async def doomed(engine: sl.Engine) -> None:
        stream = engine.astream("the end", raw=True)
        for _ in range(draw.randrange(3)):
            await anext(stream)
        if draw.random() < 0.5:
            await stream.aclose()

    async def main(engine: sl.Engine) -> None:
        for i in range(40):
            others = [asyncio.ensure_future(doomed(engine)) for _ in range(draw.randrange(1, 3))]
            kept = engine.astream("Hello", raw=True, seed=i % 4, max_tokens=16)
            if draw.random() < 0.5:
                await asyncio.sleep(draw.random() / 100)
                others[0].cancel()
            assert [event.token async for event in kept] == alone[i % 4]
            await asyncio.gather(*others, return_exceptions=True)

    with sl.load(tiny(weight_type="Q8_0"), threads=1, parallel=3) as engine:
        alone = [list(engine.generate("Hello", raw=True, seed=i, max_tokens=16).tokens) for i in range(4)]
        asyncio.run(asyncio.wait_for(main(engine), 60))
