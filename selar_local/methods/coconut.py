"""Coconut: some latent positions between question and answer, fed with hidden states (arXiv 2412.06769)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from selar_local.config import opt
from selar_local.errors import DecodeError
from selar_local.methods.base import Decision, Method, NamedTokens, Setting, Stepper, StepView, Token, Vector
from selar_local.methods.think_tokens import named_token

_START, _END = "<|start-latent|>", "<|end-latent|>"


@dataclass(frozen=True, kw_only=True)
class Coconut(Method):
    """Prompt, start marker, `latent_steps` positions each fed the hidden state of the one before it, end
    marker, then greedy text. For checkpoints trained for it; others run, but nothing is promised.
    """

    name: ClassVar[str] = "coconut"
    summary: ClassVar[str] = "hidden states fed back, then greedy text (trained models)"
    source: ClassVar[str] = "arXiv 2412.06769"
    greedy: ClassVar[bool] = True
    feeds_vectors: ClassVar[bool] = True

    latent_steps: int = opt(
        6, "latent positions, stages times thoughts a stage (0: none)", "--latent-steps", low=0, high=10_000
    )
    latent_start: int | str | None = opt(
        None, f"token before them, text or id (default: {_START} where the model has it)", "--latent-start", low=0
    )
    latent_end: int | str | None = opt(
        None, f"token after them, text or id (default: {_END} where the model has it)", "--latent-end", low=0
    )

    @property
    def needs_hidden(self) -> bool:
        return self.latent_steps > 0

    def prompt_text(self, text: str) -> str:
        """The question ends with a newline, as in training."""
        return text if text.endswith("\n") else text + "\n"

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        if self.latent_steps == 0 or self.latent_start is not None or vocabulary.token_of(_START) is not None:
            return ()
        return (f"this model has no token {_START}: it was probably not trained for {self.name}, expect broken text",)

    def start(self, setting: Setting) -> Stepper:
        return _Latent(self, setting)


class _Latent(Stepper):
    """Feeds the markers and the hidden states, then steps aside."""

    def __init__(self, method: Coconut, setting: Setting) -> None:
        names = (("latent_start", method.latent_start, _START), ("latent_end", method.latent_end, _END))
        before, after = (
            setting.vocabulary.token_of(default) if token is None else named_token(setting.vocabulary, option, token)
            for option, token, default in names
        )
        self._plan: list[Token | None] = [None] * method.latent_steps  # None: a hidden state
        if before is not None:
            self._plan.insert(0, Token(before))
        if after is not None:
            self._plan.append(Token(after))
        self._done = 0

    def __call__(self, view: StepView) -> Decision:
        if self._done == len(self._plan):
            return Decision(Token(view.token), mode="normal")
        planned = self._plan[self._done]
        self._done += 1
        more = self._done < len(self._plan) and self._plan[self._done] is None
        if planned is not None:
            return Decision(planned, mode="latent", silent=True, needs_hidden=more)
        if view.hidden is None:
            raise DecodeError("the model gives no hidden state to go on from")
        return Decision(Vector(view.hidden.copy()), mode="latent", silent=True, needs_hidden=more)
