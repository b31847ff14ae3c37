"""Counters and histograms for Prometheus. The event loop's thread alone uses them."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from selar_local.engine.events import Result

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class Metrics:
    """What the server has done."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        in_ours: dict[str, Any] = {"namespace": "selar_local", "registry": self._registry}
        self._requests = Counter(
            "requests", "HTTP requests answered (499: the client left)", ("endpoint", "status"), **in_ours
        )
        self._endings = Counter("generations", "Generations ended, by finish reason", ("finish_reason",), **in_ours)
        names = ("prompt_tokens", "cached_tokens", "completion_tokens", "exploration_steps", "latent_steps")
        self._totals = [
            Counter(name, f"{name.replace('_', ' ').capitalize()} of ended generations", **in_ours) for name in names
        ]
        self._running = Gauge("requests_running", "Generations running now", **in_ours)
        self._waiting = Gauge("requests_waiting", "Generations waiting now", **in_ours)
        self._first_token = Histogram(
            "time_to_first_token_seconds", "From the request to its first token, waiting included", buckets=_SECONDS,
            **in_ours,
        )  # fmt: skip
        self._token = Histogram(
            "time_per_token_seconds", "Mean time per token of a generation, the prompt left out",
            buckets=_TOKEN_SECONDS, **in_ours,
        )  # fmt: skip
        self._request = Histogram(
            "request_seconds", "From the request to the end of its generation", buckets=_SECONDS, **in_ours
        )

    def request(self, endpoint: str, status: int) -> None:
        """Count an HTTP request that was answered."""
        self._requests.labels(endpoint, str(status)).inc()

    def generation(self, result: Result | None, seconds: float, to_first_token: float | None) -> None:
        """Count a generation that has ended. result: None where it failed."""
        self._endings.labels("error" if result is None else result.finish_reason).inc()
        self._request.observe(seconds)
        if to_first_token is not None:
            self._first_token.observe(to_first_token)
        if result is None:
            return
        usage = result.usage
        counts = (usage.prompt_read, usage.cached_tokens, usage.completion_tokens, usage.explored_steps)
        for total, count in zip(self._totals, (*counts, usage.latent_steps), strict=True):
            total.inc(count)
        if usage.completion_tokens:
            self._token.observe(result.timings.decode_seconds / usage.completion_tokens)

    def text(self, running: int, waiting: int) -> str:
        """All of it in Prometheus' text format. running, waiting: generations now."""
        self._running.set(running)
        self._waiting.set(waiting)
        lines = generate_latest(self._registry).decode().splitlines(keepends=True)
        return "".join(line for line in lines if "_created" not in line)  # when each counter began: nobody asked
