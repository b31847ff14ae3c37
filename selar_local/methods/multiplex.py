"""Multiplex Thinking, inference only: while the model thinks, a step feeds several drawn tokens (arXiv 2601.08808)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from selar_local.config import opt
from selar_local.methods.base import Decision, Method, Mixture, NamedTokens, Setting, Stepper, StepView, Token
from selar_local.methods.distribution import Distribution
from selar_local.methods.gate import Shown, show_option
from selar_local.methods.think_tokens import own_think_tokens


@dataclass(frozen=True, kw_only=True)
class Multiplex(Method):
    """While the model thinks, `draws` tokens are drawn, each from the same distribution, and the next input is the mix
    of their rows. The first draw is printed. From the token that closes the thinking on, ordinary sampling.

    A model without thinking tags never leaves the thinking: its whole text is mixed.
    """

    name: ClassVar[str] = "multiplex"
    summary: ClassVar[str] = "several draws mixed at every step while the model thinks"
    source: ClassVar[str] = "arXiv 2601.08808"
    feeds_vectors: ClassVar[bool] = True

    draws: int = opt(3, "tokens drawn at a step (1: as cot)", "--draws", low=1, high=8)
    averaged: bool = opt(False, "weigh a token by its draws alone, not also by its probability", "--averaged")
    show: Shown = show_option()

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        if self.draws == 1:
            return ()
        if thinking_over:
            return ("no step mixes draws: the prompt has ended the thinking",)
        return () if has_thinking else ("draws are mixed in the whole text: this model has no thinking tags",)

    def start(self, setting: Setting) -> Stepper:
        return _Draws(self, setting)


class _Draws(Stepper):
    """Mixes draws until the thinking is over; then a plain sampler."""

    def __init__(self, method: Multiplex, setting: Setting) -> None:
        self._method = method
        self._is_end = setting.vocabulary.is_end
        own = own_think_tokens(setting.vocabulary, setting.thinking)
        self._closing = None if own is None else own[1]
        self._random = setting.noise()  # the first draw is the sequence's own, as with every method
        self._over = setting.thinking_over

    def __call__(self, view: StepView) -> Decision:
        if self._over:
            return Decision(Token(view.token))
        mixture = multiplexed(
            view.distribution, view.token, self._random.random(self._method.draws - 1), self._method.averaged
        )
        shown = view.token
        if self._method.show == "heaviest" and not self._stops(view, shown):
            shown = int(mixture.ids[mixture.weights.argmax()])
        if self._closes(view, shown):
            self._over = True
            return Decision(Token(shown), token=shown, kept="end of thinking" if len(mixture.ids) > 1 else None)
        if len(mixture.ids) == 1:
            return Decision(Token(shown))
        return Decision(mixture, token=shown)

    def _stops(self, view: StepView, token: int) -> bool:
        return self._is_end(token) or self._closes(view, token)

    def _closes(self, view: StepView, token: int) -> bool:
        """Whether the thinking ends with this token: the model's own, or the last of several that spell the tag."""
        if token == self._closing:
            return True
        return view.thinking and view.thinking_after is not None and not view.thinking_after(token)


def multiplexed(distribution: Distribution, first: int, numbers: npt.ArrayLike, averaged: bool = False) -> Mixture:
    """The mixture of `first` and of one more draw for each of `numbers` in [0, 1), by falling probability.

    Weights are ``n_v p_v``, normalised to 1; averaged: ``n_v / K``. n_v: times drawn.
    """
    probs = distribution.probs
    last = int(np.count_nonzero(probs)) - 1  # rounding may leave the sum just below a number
    more = np.minimum(np.searchsorted(np.cumsum(probs), numbers, side="right"), last)
    places, counts = np.unique([int((distribution.ids == first).argmax()), *more], return_counts=True)
    weights = counts * (1.0 if averaged else probs[places])
    return Mixture(distribution.ids[places], weights / weights.sum())
