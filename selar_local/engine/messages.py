"""What an engine says of one generation: `Started`, then progress and steps, an error if there is one, the `Result`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import SelarError

__all__ = ["Emit", "Message", "Prefilled", "Source", "Started"]


class Source(Protocol):
    """A generation at work: a `Sequence`, in this process or in another one."""

    seed: int

    @property
    def cancelled(self) -> Any:
        """Has a method `set`, which asks for the end. It returns at once; any thread may call it."""

    @property
    def request(self) -> Any:
        """Has `prompt`, its token ids, `method`, and `notes`."""

    def finish(self, reason: str, error: SelarError | None = None) -> None:
        """End it from this side."""


@dataclass(frozen=True)
class Started:
    """The engine has taken the request."""

    source: Source


@dataclass(frozen=True)
class Prefilled:
    """Progress of the prompt: `done` of `total` tokens are in the KV cache."""

    done: int
    total: int


Message = Started | Prefilled | TokenEvent | SelarError | Result
#: Takes the messages of one generation. The engine's thread calls it, so it must not wait.
Emit = Callable[[Message], None]
