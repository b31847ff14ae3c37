"""Chain of thought: the next input is the token itself. The baselines of every table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selar_local.methods.base import Decision, Method, Setting, Stepper, StepView, Token


@dataclass(frozen=True, kw_only=True)
class CoT(Method):
    """Ordinary sampling: the drawn token is shown and fed."""

    name: ClassVar[str] = "cot"
    summary: ClassVar[str] = "ordinary sampling"
    source: ClassVar[str] = "arXiv 2201.11903"

    def start(self, setting: Setting) -> Stepper:
        return _PlainStep()


@dataclass(frozen=True, kw_only=True)
class CoTGreedy(CoT):
    """Ordinary decoding with the most probable token at every step."""

    name: ClassVar[str] = "cot-greedy"
    summary: ClassVar[str] = "the most probable token at every step"
    greedy: ClassVar[bool] = True


class _PlainStep(Stepper):
    def __call__(self, view: StepView) -> Decision:
        return Decision(Token(view.token))
