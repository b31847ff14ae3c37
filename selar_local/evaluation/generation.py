"""One generation of an engine, awaited: what the Inspect provider needs of it, without a wake-up a token.

The messages of a generation are counted in the engine's thread; the event loop hears of its end alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig
from selar_local.engine.events import Logprobs, Result, TokenEvent
from selar_local.engine.sequence import Message
from selar_local.errors import SelarError
from selar_local.evaluation.records import BINS
from selar_local.llama.present import require_llama_cpp
from selar_local.methods import Method

if TYPE_CHECKING:  # llama.cpp is loaded with the first engine
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine
    from selar_local.engine.stream import Stream

    AnyEngine = Engine | IsolatedEngine

__all__ = ["METER", "Engines", "Generated", "Meter", "generate", "shared_engines"]


class Meter:
    """What all generations of this process have done so far, for a progress bar: it only ever grows."""

    def __init__(self) -> None:
        self.tokens = 0
        self.answers = 0


METER = Meter()


@dataclass(frozen=True)
class Generated:
    """A finished generation.

    entropies: counts of its entropies in `BINS` equal bins over [0, 1], none where the method reports none.
    logprobs: (token, its log-probabilities) a step, where wanted.
    started: Unix time of its admission. method: the one at work, with what depends on the model filled in.
    """

    result: Result
    method: Method
    entropies: tuple[int, ...]
    logprobs: tuple[tuple[int, Logprobs], ...]
    started: float


class Engines:
    """The open engines of this process, one for each model file and set of options. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[tuple[str, EngineConfig, bool], AnyEngine] = {}

    def get(self, path: Path, config: EngineConfig, *, isolated: bool = False) -> AnyEngine:
        """The engine on this file with these options, opened if it is not; the others wait meanwhile.

        It stays open until the process ends. Raises what opening an engine raises.
        """
        key = (str(path.resolve()), config, isolated)
        with self._lock:
            engine = self._open.get(key)
            if engine is None or engine.closed:
                engine = self._open[key] = _opened(path, config, isolated)
            return engine

    @contextlib.contextmanager
    def lend(self, engine: AnyEngine, path: Path) -> Iterator[None]:
        """Use this engine, which stays the caller's to close, for its file and options."""
        key = (str(path.resolve()), engine.config, hasattr(engine, "process_id"))
        with self._lock:
            self._open[key] = engine
        try:
            yield
        finally:
            with self._lock:
                self._open.pop(key, None)


def _opened(path: Path, config: EngineConfig, isolated: bool) -> AnyEngine:
    require_llama_cpp()
    if isolated:
        from selar_local.engine.isolated import IsolatedEngine

        return IsolatedEngine(path, config)
    from selar_local.engine.engine import Engine

    return Engine(path, config)


_ENGINES = Engines()


def shared_engines() -> Engines:
    """Those that all models of this process share."""
    return _ENGINES


class _Tally:
    """Counts the messages of one generation."""

    def __init__(self, method: Method) -> None:
        self.method = method
        self._bins = [0] * BINS
        self._normalised = method.entropy_unit == "normalised"
        self._logprobs: list[tuple[int, Logprobs]] = []
        self.error: SelarError | None = None

    def step(self, event: TokenEvent) -> None:
        """Count a step."""
        METER.tokens += 1
        if event.entropy is not None and self._normalised:
            self._bins[min(int(event.entropy * BINS), BINS - 1)] += 1
        if event.logprobs is not None:
            self._logprobs.append((event.token, event.logprobs))

    def generated(self, result: Result) -> Generated:
        """The whole of it."""
        seconds = result.timings.prefill_seconds + result.timings.decode_seconds
        entropies = tuple(self._bins) if any(self._bins) else ()
        return Generated(result, self.method, entropies, tuple(self._logprobs), time.time() - seconds)


class _Job:
    """A generation at work. Its thread submits it, and in an isolated engine follows it too."""

    def __init__(self, engine: AnyEngine, arguments: Mapping[str, Any], loop: asyncio.AbstractEventLoop) -> None:
        self._engine = engine
        self._arguments = dict(arguments)
        self._loop = loop
        self.future: asyncio.Future[Generated] = loop.create_future()
        self._tally = _Tally(self._arguments["method"])
        self._lock = threading.Lock()
        self._cancel = False
        self._cancelled: Any = None  # of the sequence or stream: has a method that asks for the end

    def start(self) -> None:
        """Begin. Rendering and tokenising the prompt is not for the event loop's thread."""
        threading.Thread(target=self._run, name="selar-local evaluation", daemon=True).start()

    def cancel(self) -> None:
        """Ask it to stop, also before it has begun. Returns at once."""
        with self._lock:
            self._cancel = True
            if self._cancelled is not None:
                self._cancelled()

    def _run(self) -> None:
        try:
            engine: Any = self._engine
            if hasattr(engine, "process_id"):
                self._follow(engine.stream(**self._arguments))
            else:
                request = engine.request(**self._arguments)
                self._tally.method = request.method
                sequence = engine.sequence(request, self._take)
                self._begun(sequence.cancelled.set)
                engine.enqueue(sequence)
        except SelarError as error:
            self._end(error)
        except Exception as error:  # nothing may leave the event loop waiting
            self._end(SelarError(f"internal error: {error!r}"))

    def _follow(self, stream: Stream) -> None:
        self._begun(stream.cancel)
        self._tally.method = stream.method
        with stream:
            for event in stream:
                self._tally.step(event)
        self._take(stream.result)

    def _begun(self, cancelled: Any) -> None:
        with self._lock:
            self._cancelled = cancelled
            if self._cancel:
                cancelled()

    def _take(self, message: Message) -> None:
        """One message, in the engine's thread."""
        if isinstance(message, TokenEvent):
            self._tally.step(message)
        elif isinstance(message, SelarError):
            self._tally.error = message
        elif isinstance(message, Result):
            self._end(self._tally.error or self._tally.generated(message))

    def _end(self, outcome: Generated | SelarError) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._deliver, outcome)

    def _deliver(self, outcome: Generated | SelarError) -> None:
        if self.future.done():
            return
        if isinstance(outcome, SelarError):
            self.future.set_exception(outcome)
        else:
            METER.answers += 1
            self.future.set_result(outcome)


async def generate(engine: AnyEngine, arguments: Mapping[str, Any]) -> Generated:
    """What the engine makes of the arguments of `Engine.stream`, `method` being an instance among them.

    Where the task is cancelled the generation is too. Raises the engine's errors.
    """
    job = _Job(engine, arguments, asyncio.get_running_loop())
    job.start()
    try:
        return await job.future
    except asyncio.CancelledError:
        job.cancel()
        raise
