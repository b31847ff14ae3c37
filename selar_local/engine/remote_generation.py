"""A generation in the engine's process, seen from the app."""

from __future__ import annotations

from collections.abc import Callable

from selar_local.engine.events import (
    Emit,
    Message,
    Prefilled,
    Result,
    Started,
    Timings,
    TokenEvent,
    Usage,
    is_mismatched,
)
from selar_local.errors import SelarError
from selar_local.methods.base import Method


class RemoteGeneration:
    """The messages of one generation on their way to `emit`, and a result for it where the process dies."""

    def __init__(self, emit: Emit, cancel: Callable[[], None]) -> None:
        self._emit = emit
        self._cancel = cancel
        self._started: Started | None = None
        self._events: list[TokenEvent] = []
        self._prompt_read = 0
        self._finished = False

    def start(self, seed: int, prompt: tuple[int, ...], method: Method, notes: tuple[str, ...]) -> Started:
        """The engine there has taken it."""
        self._started = Started(seed, prompt, method, notes, self._cancel, self.fail)
        self._emit(self._started)
        return self._started

    def take(self, message: Message) -> None:
        """Pass one message on."""
        if isinstance(message, TokenEvent):
            self._events.append(message)
        elif isinstance(message, Prefilled):
            self._prompt_read = message.done
        self._finished = self._finished or isinstance(message, Result)
        self._emit(message)

    def fail(self, error: SelarError) -> None:
        """End it from this side, with the text so far. Before `start` nothing was emitted, and nothing is."""
        started, events = self._started, self._events
        if started is None or self._finished:
            return
        self.take(error)
        self.take(
            Result(
                text="".join(event.text for event in events),
                thinking="".join(event.thinking for event in events),
                finish_reason="error",
                usage=Usage(
                    prompt_tokens=len(started.prompt),
                    completion_tokens=len(events),
                    explored_steps=sum(event.explored for event in events),
                    prompt_read=self._prompt_read,
                    mismatched_steps=sum(is_mismatched(event.token, event.fed) for event in events),
                ),
                timings=Timings(0.0, 0.0, len(events)),
                seed=started.seed,
                tokens=tuple(event.token for event in events),
                logprobs=tuple(event.logprobs for event in events if event.logprobs is not None),
                notes=started.notes,
            )
        )
