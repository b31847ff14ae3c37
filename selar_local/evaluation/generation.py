"""One generation of an engine, awaited, with what the Inspect provider counts of it; the engines of this process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selar_local
from selar_local.config import EngineConfig
from selar_local.engine.events import Result
from selar_local.evaluation.records import BINS
from selar_local.llama.present import require_llama_cpp
from selar_local.methods import Method

if TYPE_CHECKING:  # llama.cpp is loaded with the first engine
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine

    AnyEngine = Engine | IsolatedEngine


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
                require_llama_cpp()
                kind = selar_local.IsolatedEngine if isolated else selar_local.Engine
                engine = self._open[key] = kind(path, config)
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


_ENGINES = Engines()


def shared_engines() -> Engines:
    """Those that all models of this process share."""
    return _ENGINES


async def generate(engine: AnyEngine, arguments: Mapping[str, Any]) -> Generated:
    """What the engine makes of the arguments of `Engine.stream`, `method` being an instance among them.

    Where the task is cancelled the generation is too. Raises the engine's errors.
    """
    bins = [0] * BINS
    normalised = arguments["method"].entropy_unit == "normalised"
    async with engine.astream(**arguments) as stream:
        async for event in stream:
            METER.tokens += 1
            if event.entropy is not None and normalised:
                bins[min(int(event.entropy * BINS), BINS - 1)] += 1
    METER.answers += 1
    timings = stream.result.timings
    started = time.time() - timings.prefill_seconds - timings.decode_seconds
    return Generated(stream.result, stream.method, tuple(bins) if any(bins) else (), started)
