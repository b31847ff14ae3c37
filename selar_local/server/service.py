"""The engine as the endpoints see it: what may begin, what is going on, and the end of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local._version import __version__
from selar_local.catalog import file_stem
from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import EngineBusy, EngineClosed
from selar_local.server.bridge import Generation, Job
from selar_local.server.collecting import heaviest
from selar_local.server.config import Defaults, ServerConfig
from selar_local.server.errors import ApiError, bad_request
from selar_local.server.metrics import Metrics

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine


class Service:
    """One engine with what is asked of it. Used by the event loop's thread only."""

    def __init__(self, engine: Engine | IsolatedEngine, config: ServerConfig, defaults: Defaults) -> None:
        self.engine = engine
        self.config = config
        self.defaults = defaults
        self.metrics = Metrics()
        self.closing = False
        self.created = int(time.time())
        path = Path(engine.info.path)
        self.model = config.model_name or file_stem(path)
        self._names = {self.model, self.model.removeprefix("ollama:"), path.name, "default", *config.aliases}
        self.fingerprint = _fingerprint(engine)
        self._jobs: set[Job] = set()
        #: The bytes of a token, and whether it ends texts.
        self.token = lru_cache(maxsize=1 << 16)(self._token)

    def check_model(self, name: str | None) -> None:
        """Raises ApiError for the name of another model, where the server is strict about it."""
        if self.config.strict_model_name:
            self.require_model(name)

    def require_model(self, name: str | None) -> None:
        """Raises ApiError for the name of another model."""
        if name is not None and name not in self._names:
            raise ApiError(
                404, f"the model {name[:200]!r} is not served here; {self.model!r} is", param="model",
                code="model_not_found",
            )  # fmt: skip

    @property
    def open(self) -> bool:
        """Whether requests are taken."""
        return not self.closing and not self.engine.closed

    @property
    def load(self) -> tuple[int, int]:
        """Generations that run, and those that wait."""
        unfinished = [g for job in self._jobs for g in job.generations if not g.ended]
        running = sum(g.running for g in unfinished)
        return running, len(unfinished) - running

    def begin(self, requests: Sequence[Mapping[str, Any]], *, events: bool = True) -> Job:
        """Hand generations to the engine. Raises ApiError 503 while closing, EngineBusy.

        events: False where the results say all that the answer needs: a step then costs this process nothing.
        """
        if not self.open:
            raise ApiError(503, "the server is closing", code="closing")
        room = self.engine.config.parallel + self.engine.config.queue_size
        if len(requests) > room:
            raise bad_request(f"{len(requests)} generations at once: the server takes {room}", "n")
        unfinished = sum(self.load)
        if unfinished + len(requests) > room:
            raise EngineBusy(f"the server is busy: {unfinished} generations run or wait already")
        job = Job(self.engine, requests, self.config.max_prompt_tokens, self._ended, self._look_up, events)
        self._jobs.add(job)
        job.start()
        return job

    def cancel_all(self) -> None:
        """Stop whatever runs: its text ends where it is."""
        for job in self._jobs:
            job.cancel()

    def give_up(self) -> None:
        """End whatever still runs with an error: the engine does not come back from it in time."""
        for job in self._jobs:
            job.fail(EngineClosed("the server is closing"))

    def _ended(self, generation: Generation, result: Result | None) -> None:
        now, submitted, first = time.perf_counter(), generation.submitted, generation.first_token
        if generation.prompt:
            self.metrics.generation(result, now - submitted, None if first is None else first - submitted)
        self._jobs = {job for job in self._jobs if not all(g.ended for g in job.generations)}

    def _look_up(self, event: TokenEvent) -> None:
        """Fill the cache of tokens in the generation's thread: the vocabulary may be locked for long."""
        if event.logprobs is not None:
            for token in (event.token, *(token for token, _ in event.logprobs.top)):
                self.token(token)
        for token, _ in heaviest(event):
            self.token(token)

    def _token(self, token: int) -> tuple[bytes, bool]:
        return self.engine.token_bytes(token), self.engine.is_end(token)


def _fingerprint(engine: Engine | IsolatedEngine) -> str:
    """What the answer to a seed depends on besides the request: the programs, the model, how it was opened."""
    programs = [__version__, *(found.version for found in distributions(name="llama-cpp-python"))]
    facts = f"{programs} {engine.info.as_dict()} {engine.config!r}"
    return f"fp_{sha256(facts.encode()).hexdigest()[:10]}"
