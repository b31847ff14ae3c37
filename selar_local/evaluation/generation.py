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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig
from selar_local.engine.awaiting import Launch, Refused
from selar_local.engine.events import Message, Result, Started, TokenEvent
from selar_local.errors import SelarError
from selar_local.evaluation.records import BINS
from selar_local.llama.present import require_llama_cpp
from selar_local.methods import Method

if TYPE_CHECKING:  # llama.cpp is loaded with the first engine
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine

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
    started: Unix time of its admission. method: the one at work, with what depends on the model filled in.
    """

    result: Result
    method: Method
    entropies: tuple[int, ...]
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


class _Job:
    """A generation at work. Its steps are counted in the engine's thread; the event loop hears of its end alone."""

    def __init__(self, engine: AnyEngine, arguments: Mapping[str, Any]) -> None:
        self.future: asyncio.Future[Generated] = asyncio.get_running_loop().create_future()
        self._method: Method = arguments["method"]
        self._bins = [0] * BINS
        self._normalised = self._method.entropy_unit == "normalised"
        self._error: Exception | None = None
        self._launch = Launch(partial(engine.begin, **arguments), self._take, on_event=self._step)

    def cancel(self) -> None:
        """Ask it to stop, also before it has begun. Returns at once."""
        self._launch.cancel()

    def _take(self, message: Message | Refused) -> None:
        """One message, in the event loop."""
        if isinstance(message, Started):
            self._method = message.method
        elif isinstance(message, Result):
            self._deliver(self._error or self._generated(message))
        elif isinstance(message, Refused):
            known = isinstance(message.error, SelarError)
            self._deliver(message.error if known else SelarError(f"internal error: {message.error!r}"))
        elif isinstance(message, SelarError):
            self._error = message

    def _step(self, event: TokenEvent) -> None:
        """Count one step, in the engine's thread."""
        METER.tokens += 1
        if event.entropy is not None and self._normalised:
            self._bins[min(int(event.entropy * BINS), BINS - 1)] += 1

    def _generated(self, result: Result) -> Generated:
        seconds = result.timings.prefill_seconds + result.timings.decode_seconds
        entropies = tuple(self._bins) if any(self._bins) else ()
        return Generated(result, self._method, entropies, time.time() - seconds)

    def _deliver(self, outcome: Generated | Exception) -> None:
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            METER.answers += 1
            self.future.set_result(outcome)


async def generate(engine: AnyEngine, arguments: Mapping[str, Any]) -> Generated:
    """What the engine makes of the arguments of `Engine.stream`, `method` being an instance among them.

    Where the task is cancelled the generation is too. Raises the engine's errors.
    """
    job = _Job(engine, arguments)
    try:
        return await job.future
    except asyncio.CancelledError:
        job.cancel()
        raise
