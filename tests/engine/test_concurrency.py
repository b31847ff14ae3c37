"""Many callers of one engine: company changes nothing, and everyone can stop at any time, from any thread."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import selar_local as sl
from selar_local.engine.events import Result
from selar_local.engine.sequence import Sequence as Running
from selar_local.errors import DecodeError, EngineClosed
from selar_local.methods import CoTGreedy
from selar_local.methods.base import Decision, Setting, Stepper, StepView, Token

SOON = 5.0  # seconds; what is tested takes milliseconds, whole generations of the long model more than ten
LONG = "ab cd " * 4000

PROMPTS = ["Hello", "abc def", "the answer is 42", "x", "so we", "number number", "system", "é 你"]


def trail(engine: sl.Engine, i: int, method: str | sl.Method, max_tokens: int = 24) -> list[sl.TokenEvent]:
    stream = engine.stream(PROMPTS[i], raw=True, seed=i, method=method, max_tokens=max_tokens)
    return list(stream)


def in_threads(work: Callable[[int], Any], n: int) -> list[Any]:
    """The results of `work(i)` in `n` threads that start at once."""
    results: list[Any] = [None] * n
    barrier = threading.Barrier(n)

    def run(i: int) -> None:
        barrier.wait()
        results[i] = work(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.mark.parametrize("n", [2, 8])
def test_threads_in_a_queue_get_what_each_gets_alone(engine, n):
    alone = [trail(engine, i, "selar") for i in range(n)]
    assert any(event.explored for events in alone for event in events)
    for _ in range(3):
        assert in_threads(lambda i: trail(engine, i, "selar"), n) == alone


def test_eight_threads_in_batches_of_four_get_their_own_tokens(engine, model):
    alone = [[e.token for e in trail(engine, i, "cot-greedy")] for i in range(8)]
    with sl.load(model, threads=1, parallel=4) as four:
        together = in_threads(lambda i: trail(four, i, "cot-greedy"), 8)
    assert [[e.token for e in events] for events in together] == alone


@pytest.fixture(params=["llama", "qwen2", "gemma3", "qwen2vl"])
def three_at_once(request, tiny) -> Iterator[sl.Engine]:
    path = tiny(architecture=request.param, weight_type="Q8_0")  # F32 and F16 are rounded otherwise from two rows on
    with sl.load(path, threads=1, parallel=4) as opened:
        yield opened


def held_back(engine: sl.Engine, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, list[int]]:
    """An event that lets the worker begin, and the sizes of the batches it then decodes."""
    go, sizes = threading.Event(), []
    runtime = engine._runtime
    prefill, step = runtime.prefill, runtime.step

    def waiting(*arguments: Any) -> Any:
        assert go.wait(SOON)
        return prefill(*arguments)

    def counting(feeds: Sequence[Any], *how: bool) -> Any:
        sizes.append(len(feeds))
        return step(feeds, *how)

    monkeypatch.setattr(runtime, "prefill", waiting)
    monkeypatch.setattr(runtime, "step", counting)
    return go, sizes


@pytest.mark.parametrize("rows_are_exact", [True, False])
def test_up_to_three_in_a_batch_are_the_same_to_the_bit(three_at_once, monkeypatch, rows_are_exact):
    """Also where a row is not its token to the bit: then tokens and mixtures are decoded in two batches."""
    engine, methods = three_at_once, ("selar", "cot", "selar")
    assert engine._runtime.rows_are_exact
    alone = [trail(engine, i, method) for i, method in enumerate(methods)]
    monkeypatch.setattr(engine._runtime, "rows_are_exact", rows_are_exact)
    go, sizes = held_back(engine, monkeypatch)
    streams = [
        engine.stream(PROMPTS[i], raw=True, seed=i, method=method, max_tokens=24) for i, method in enumerate(methods)
    ]
    go.set()
    assert [list(stream) for stream in streams] == alone
    assert max(sizes) == 3
    explored = [[event.explored for event in events] for events in alone]
    assert any(explored[0])
    assert not all(explored[0])


@dataclass(frozen=True)
class OutOfVocabulary(CoTGreedy):
    """Feeds, at its fourth step, a token that the model does not have."""

    def start(self, setting: Setting) -> Stepper:
        return Lost()


class Lost(Stepper):
    """See `OutOfVocabulary`."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, view: StepView) -> Decision:
        self.steps += 1
        return Decision(Token(10**6 if self.steps == 4 else view.token), token=view.token)


def test_a_token_that_is_none_fails_alone_where_tokens_and_rows_go_apart(three_at_once, monkeypatch):
    """The rows of a step must not be decoded before its tokens were looked at: they would be decoded twice."""
    engine = three_at_once
    torn = sl.Selar(tau=0.0, symbol_guard=False)
    alone = trail(engine, 0, torn)
    monkeypatch.setattr(engine._runtime, "rows_are_exact", False)
    go, _ = held_back(engine, monkeypatch)
    good = engine.stream(PROMPTS[0], raw=True, seed=0, method=torn, max_tokens=24)
    bad = engine.stream(PROMPTS[1], raw=True, seed=1, method=OutOfVocabulary(), max_tokens=24)
    go.set()
    assert list(good) == alone
    with pytest.raises(DecodeError, match="outside the vocabulary"):
        list(bad)


def test_rows_go_back_where_the_tokens_of_their_step_fail(three_at_once, monkeypatch):
    engine, failures = three_at_once, []
    alone = trail(engine, 0, "selar")
    runtime = engine._runtime
    monkeypatch.setattr(runtime, "rows_are_exact", False)
    decode = runtime.context.decode

    def failing(batch: Any) -> None:
        if batch is runtime.batch._token_batch and batch.n_tokens == 1 and not failures:
            failures.append(batch)
            raise DecodeError("for once")
        decode(batch)

    go, _ = held_back(engine, monkeypatch)
    streams = [
        engine.stream(PROMPTS[i], raw=True, seed=i, method=m, max_tokens=24) for i, m in ((0, "selar"), (1, "cot"))
    ]
    step_in_two = runtime._step_in_two

    def watched(*arguments: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(runtime.context, "decode", failing)
            return step_in_two(*arguments)

    monkeypatch.setattr(runtime, "_step_in_two", watched)
    go.set()
    assert list(streams[0]) == alone
    assert len(list(streams[1])) == 24 or streams[1].result.finish_reason == "stop"
    assert failures


def test_rows_or_ids_for_certain_steps_make_no_difference(engine, monkeypatch):
    as_rows = trail(engine, 0, "selar")
    kinds: list[bool] = []
    runtime = engine._runtime
    of_tokens = runtime.batch.of_tokens
    monkeypatch.setattr(runtime.batch, "of_tokens", lambda ids, *rest: (kinds.append(True), of_tokens(ids, *rest))[1])
    assert trail(engine, 0, "selar") == as_rows
    assert len(kinds) == 1  # the prompt; every step went in as a row
    monkeypatch.setattr(runtime, "rows_are_exact", False)
    assert trail(engine, 0, "selar") == as_rows
    assert len(kinds) == 2 + sum(not event.explored for event in as_rows[:-1])


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
        return Held(self.gate)


class Held(Stepper):
    """Every step waits for a permit."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def __call__(self, view: StepView) -> Decision:
        self.gate.steps += 1
        assert self.gate.permits.acquire(timeout=SOON)
        return Decision(Token(view.token))


@pytest.mark.parametrize("stop", ["cancel", "close", "drop"])
def test_a_stream_stops_within_one_step(engine, stop):
    gate = Gate()
    stream = engine.stream("Hello", raw=True, method=Gated(gate=gate))
    for _ in range(3):
        gate.permits.release()
    for _ in range(3):
        next(stream)
    (sequence,) = engine._worker.scheduler.running
    if stop == "cancel":
        stream.cancel()
    elif stop == "close":
        threading.Timer(0.05, gate.permits.release, [1000]).start()
        stream.close()
        assert stream.result.finish_reason == "cancelled"
    else:
        del stream
        gc.collect()
    gate.permits.release(1000)
    after = engine.generate("next", raw=True, max_tokens=2, method="cot-greedy")
    assert after.usage.completion_tokens == 2
    assert gate.steps <= 4
    assert sequence.finished


def running_sequence(engine: sl.Engine) -> Running:
    """The sequence that runs, as soon as there is one."""
    while not engine._worker.scheduler.running:
        time.sleep(0.001)
    (sequence,) = engine._worker.scheduler.running
    return sequence


def close_in_thread(stream: sl.Stream) -> None:
    thread = threading.Thread(target=stream.close)
    thread.start()
    thread.join(SOON)
    assert not thread.is_alive()


def test_closed_from_another_thread_while_it_is_read(long_engine):
    stream = long_engine.stream("Hello", raw=True, method="cot-greedy")
    seen: list[sl.TokenEvent] = []
    reader = threading.Thread(target=lambda: seen.extend(stream))
    reader.start()
    while not seen:
        time.sleep(0.001)
    close_in_thread(stream)
    reader.join(SOON)
    assert not reader.is_alive()
    assert stream.result.finish_reason == "cancelled"
    assert len(seen) <= stream.result.usage.completion_tokens < 30_000


def test_stopping_within_a_long_prompt_is_prompt_and_frees_it(long_model):
    with sl.load(long_model, threads=1, ctx_size=32768, batch_size=8192) as engine:
        first = engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens
        for wait in (0.0, 0.1):
            progress: list[tuple[int, int]] = []
            stream = engine.stream(LONG, raw=True, on_prefill=lambda *at, to=progress: to.append(at))
            assert len(stream.prompt) > 15_000
            sequence = running_sequence(engine)
            time.sleep(wait)
            close_in_thread(stream)
            result: Result = stream.result
            assert (result.finish_reason, result.tokens) == ("cancelled", ())
            assert sequence.position < len(stream.prompt)
            assert (result.usage.prompt_read, result.usage.prompt_tokens) == (
                sequence.position, len(stream.prompt),
            )  # fmt: skip
            assert engine.generate("Hello", raw=True, max_tokens=5, method="cot-greedy").tokens == first


def test_a_stream_can_be_stopped_again_and_again(engine):
    stream = engine.stream("Hello", raw=True)
    with pytest.raises(RuntimeError):
        _ = stream.result
    next(stream)
    for _ in range(3):
        stream.cancel()
        stream.close()
    assert list(stream) == []
    with stream:
        pass
    assert stream.result.finish_reason == "cancelled"
    finished = engine.stream("Hello", raw=True, max_tokens=2)
    assert len(list(finished)) == 2
    finished.cancel()
    finished.close()
    assert finished.result.finish_reason == "length"


def test_an_error_in_the_callers_loop_stops_the_stream(engine):
    with pytest.raises(ZeroDivisionError), engine.stream("Hello", raw=True) as stream:
        for _ in stream:
            raise ZeroDivisionError
    assert stream.result.finish_reason == "cancelled"


def test_random_stops_never_harm_the_others(tiny):
    draw = np.random.default_rng(1)
    with sl.load(tiny(weight_type="Q8_0"), threads=1, parallel=3) as engine:
        alone = [trail(engine, i, "selar") for i in range(8)]
        for _ in range(12):
            doomed = [engine.stream("the end", raw=True) for _ in range(int(draw.integers(1, 3)))]
            kept = int(draw.integers(0, 8))
            stream = engine.stream(PROMPTS[kept], raw=True, seed=kept, max_tokens=24)
            for other in doomed:
                if draw.random() < 0.7:
                    next(other)
                other.cancel() if draw.random() < 0.5 else other.close()
            assert list(stream) == alone[kept]


# -- closing the engine -----------------------------------------------------------------------


def test_closed_while_threads_stream(long_model):
    engine = sl.load(long_model, threads=1, ctx_size=32768, parallel=2)
    running = threading.Event()

    def read(i: int) -> str:
        try:
            stream = engine.stream("Hello" if i else LONG, raw=True, method="cot-greedy")
            running.set()
            for _ in stream:
                pass
        except EngineClosed:
            return "closed"
        return "finished"

    def close(_i: int) -> str:
        assert running.wait(SOON)
        time.sleep(0.05)
        engine.close()
        return "done"

    begun = time.perf_counter()
    results = in_threads(lambda i: close(i) if i >= 6 else read(i), 8)
    assert results == ["closed"] * 6 + ["done"] * 2
    assert time.perf_counter() - begun < SOON


def test_closed_by_the_consumer(model):
    engine = sl.load(model, threads=1)
    stream = engine.stream("Hello", raw=True)
    with pytest.raises(EngineClosed):
        for _ in stream:
            engine.close()
    assert stream.result.finish_reason == "error"
    assert list(stream) == []
    stream.close()


def test_a_stream_outlives_its_engine(model):
    with sl.load(model, threads=1) as engine:
        stream = engine.stream("Hello", raw=True, max_tokens=3)
        list(stream)
        unread = engine.stream("Hello", raw=True)
    assert stream.result.usage.completion_tokens == 3
    with pytest.raises(EngineClosed):
        list(unread)
    unread.close()


def test_two_engines_at_once(engine, tiny):
    alone = trail(engine, 0, "selar")
    with sl.load(tiny(architecture="gemma3"), threads=1) as other:
        theirs = trail(other, 0, "selar")
        results = in_threads(lambda i: trail(other if i % 2 else engine, 0, "selar"), 4)
    assert results == [alone, theirs] * 2


def test_engines_open_and_close_again_and_again(model: Path):
    threads = threading.active_count()
    for _ in range(10):
        with sl.load(model, threads=1) as engine:
            engine.stream("Hello", raw=True)
    assert threading.active_count() == threads
