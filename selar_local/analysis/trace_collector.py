"""A trace that is kept in memory instead of a file."""

from __future__ import annotations

from typing import Any

from selar_local.config import SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.methods import Method
from selar_local.trace import Pieces, SeenTokens, end_record, run_record, step_record

__all__ = ["TraceCollector"]

Record = dict[str, Any]


class TraceCollector:
    """Keeps the trace of one generation in memory. The same calls as those of `TraceWriter`."""

    def __init__(self) -> None:
        self._run: Record | None = None
        self._events: list[TokenEvent] = []
        self._end: Record | None = None
        self._tokens = SeenTokens()

    def begin(
        self, model: Record, method: Method, sampling: SamplingConfig, seed: int, prompt_tokens: tuple[int, ...]
    ) -> None:
        """Keep what the run was asked for."""
        self._run = run_record(model, method, sampling, seed, prompt_tokens)
        self._tokens.of_prompt(prompt_tokens)

    def step(self, event: TokenEvent) -> None:
        """Keep one step."""
        self._events.append(event)

    def end(self, result: Result, piece: Pieces | None = None) -> None:
        """Keep how it ended. piece: what gives the bytes of a token."""
        for event in self._events:
            self._tokens.of_step(event)
        self._end = end_record(result, self._tokens.pieces(piece))

    @property
    def records(self) -> tuple[Record, list[Record], Record | None] | None:
        """As `read_trace` gives them; None before the beginning. The candidates are lists, as JSON has them."""
        if self._run is None:
            return None
        steps = [{**step_record(event), "top": [list(pair) for pair in event.top]} for event in self._events]
        return self._run, steps, self._end
