"""Counters and histograms in Prometheus' text format. Touched by the event loop's thread only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from selar_local.engine.events import Result

__all__ = ["CONTENT_TYPE", "Histogram", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "selar_local_"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterator[str]:
        """The samples."""
        total = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """What the server has done."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, int], int] = {}
        self._endings: dict[str, int] = {}
        self._totals = dict.fromkeys(
            ("prompt_tokens", "cached_tokens", "completion_tokens", "exploration_steps", "latent_steps"), 0
        )
        self._first_token = Histogram(_SECONDS)
        self._token = Histogram(_TOKEN_SECONDS)
        self._request = Histogram(_SECONDS)

    def request(self, endpoint: str, status: int) -> None:
        """An HTTP request was answered."""
        key = (endpoint, status)
        self._requests[key] = self._requests.get(key, 0) + 1

    def generation(self, result: Result | None, seconds: float, to_first_token: float | None) -> None:
        """A generation has ended; None: with an error."""
        reason = "error" if result is None else result.finish_reason
        self._endings[reason] = self._endings.get(reason, 0) + 1
        self._request.observe(seconds)
        if to_first_token is not None:
            self._first_token.observe(to_first_token)
        if result is None:
            return
        usage = result.usage
        counts = (usage.prompt_read, usage.cached_tokens, usage.completion_tokens)
        for name, count in zip(self._totals, (*counts, usage.explored_steps, usage.latent_steps), strict=True):
            self._totals[name] += count
        if usage.completion_tokens:
            self._token.observe(result.timings.decode_seconds / usage.completion_tokens)

    def text(self, running: int, waiting: int) -> str:
        """All of it."""
        return "\n".join(self._lines(running, waiting)) + "\n"

    def _lines(self, running: int, waiting: int) -> Iterator[str]:
        yield from _head("requests_total", "counter", "HTTP requests answered (499: the client left)")
        for (endpoint, status), count in sorted(self._requests.items()):
            yield f'{_PREFIX}requests_total{{endpoint="{endpoint}",status="{status}"}} {count}'
        yield from _head("generations_total", "counter", "Generations ended, by finish reason")
        for reason, count in sorted(self._endings.items()):
            yield f'{_PREFIX}generations_total{{finish_reason="{reason}"}} {count}'
        for name, count in self._totals.items():
            yield from _head(f"{name}_total", "counter", f"{name.replace('_', ' ').capitalize()} of ended generations")
            yield f"{_PREFIX}{name}_total {count}"
        for name, count in (("running", running), ("waiting", waiting)):
            yield from _head(f"requests_{name}", "gauge", f"Generations {name} now")
            yield f"{_PREFIX}requests_{name} {count}"
        for name, histogram, what in (
            ("time_to_first_token_seconds", self._first_token, "From the request to its first token, waiting included"),
            ("time_per_token_seconds", self._token, "Mean time per token of a generation, the prompt left out"),
            ("request_seconds", self._request, "From the request to the end of its generation"),
        ):
            yield from _head(name, "histogram", what)
            yield from histogram.lines(_PREFIX + name)


def _head(name: str, kind: str, what: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {what}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
