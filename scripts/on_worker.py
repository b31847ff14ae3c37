"""Runs a function in the engine's worker thread, for benches that compare other loops with ours on one thread.

OpenMP keeps a pool of threads for every thread that computes. With more threads than cores they stop spinning, which
slows all of them down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from selar_local.engine.engine import Engine
from selar_local.methods.base import Decision, Method, Setting, Stepper, StepView, Token

__all__ = ["on_worker"]


@dataclass(frozen=True, kw_only=True)
class _Call(Method):
    """A method whose only step calls `work`."""

    name: ClassVar[str] = "call"
    summary: ClassVar[str] = "calls a function"
    source: ClassVar[str] = "benches"

    work: Callable[[], Any]

    def start(self, setting: Setting) -> Stepper:
        return _CallOnce(self.work)


class _CallOnce(Stepper):
    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work

    def __call__(self, view: StepView) -> Decision:
        self._work()
        return Decision(Token(view.token), last=True)


def on_worker(engine: Engine, work: Callable[[], float]) -> float:
    """The result of `work`, called in the engine's worker thread. Raises its errors."""
    outcomes: list[float | Exception] = []

    def call() -> None:
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    engine.generate("x", raw=True, method=_Call(work=call))
    (outcome,) = outcomes
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
