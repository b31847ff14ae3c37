"""A generation that runs in the process of an `IsolatedEngine`, as the app's side sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from selar_local.engine.events import Result, Timings, TokenEvent, Usage
from selar_local.engine.messages import Emit, Message, Prefilled, Started
from selar_local.errors import SelarError
from selar_local.methods import Method

__all__ = ["AskedRequest", "RemoteSequence"]


class AskedRequest(NamedTuple):
    """The part of a request that the app's side keeps."""

    prompt: tuple[int, ...]
    method: Method
    notes: tuple[str, ...] = ()


class RemoteSequence:
    """A sequence that runs in the other process: a `Source`."""

    def __init__(self, emit: Emit, cancel: Callable[[], None]) -> None:
        self.cancelled = _Flag(cancel)
        self.seed = 0
        self.request = AskedRequest((), Method)  # type: ignore[arg-type]
        self.finished = False
        self._emit = emit
        self._events: list[TokenEvent] = []
        self._prompt_read = 0

    def begin(self, seed: int, asked: AskedRequest) -> None:
        """The other process has taken it."""
        self.seed, self.request = seed, asked
        self._emit(Started(self))

    def take(self, message: Message) -> None:
        """A message from the other process."""
        if isinstance(message, TokenEvent):
            self._events.append(message)
        elif isinstance(message, Prefilled):
            self._prompt_read = message.done
        self.finished = self.finished or isinstance(message, Result)
        self._emit(message)

    def finish(self, reason: str, error: SelarError | None = None) -> None:
        """End it from this side, with what has come so far."""
        if self.finished:
            return
        self.finished = True
        if error is not None:
            self._emit(error)
        events = self._events
        explored = sum(event.explored for event in events)
        self._emit(
            Result(
                text="".join(event.text for event in events),
                thinking="".join(event.thinking for event in events),
                finish_reason=reason,
                usage=Usage(len(self.request.prompt), len(events), explored, prompt_read=self._prompt_read),
                timings=Timings(0.0, 0.0, len(events)),
                seed=self.seed,
                tokens=tuple(event.token for event in events),
                logprobs=tuple(event.logprobs for event in events if event.logprobs is not None),
                notes=self.request.notes,
            )
        )


class _Flag:
    """A `threading.Event` that can only be set, once, and then tells the other process."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._set = False

    def set(self) -> None:
        if not self._set:
            self._set = True
            self._tell()
