"""SwiReasoning: soft while the entropy falls short of confidence, tokens once it does (arXiv 2510.05069)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from selar_local.config import opt
from selar_local.methods.base import Decision, Method, Mixture, NextInput, Setting, Stepper, StepView, Token
from selar_local.methods.distribution import top_k
from selar_local.methods.entropy import Softmax, softmax
from selar_local.methods.symbols import symbol_ids
from selar_local.methods.think_tokens import named_token, own_think_tokens

_PROGRAM = "the authors' program"
_OURS = "ours"
_LINE_BREAK = "\\n"  # a backslash and an n: the token the authors' program looks up
_LINE_BREAK_SHARE = 0.1
_CLOSING = "</think>"
_ANSWER = "\n\nThe final answer is"
_ANSWER_BUDGET = 32


@dataclass(frozen=True, kw_only=True)
class SwiReasoning(Method):
    """Switches between soft and normal mode by the trend of the full-vocabulary entropy.

    A model without single tokens around its thinking has nothing mixed in at a switch.
    """

    name: ClassVar[str] = "swir"
    summary: ClassVar[str] = "soft and ordinary steps in turn, by the entropy's trend"
    source: ClassVar[str] = "arXiv 2510.05069"
    feeds_vectors: ClassVar[bool] = True
    entropy_unit: ClassVar[str] = "nats"

    alpha: float = opt(
        1.0, "share of the soft vector at a switch to soft, the rest is <think>; grows to 1", "--alpha", low=0, high=1
    )
    beta: float = opt(
        0.7, "share of the token at a switch to normal, the rest is </think>; grows to 1", "--beta", low=0, high=1
    )
    beta_on: Literal["token", "soft"] = opt(
        "token",
        "what beta is the share of: the token, or (the authors' program) the soft vector",
        "--beta-on",
    )
    window_size: int = opt(512, "fewest steps in normal mode before a switch to soft", "--window-size", low=0)
    max_switch_count: int | None = opt(
        None,
        "switches to normal after which the thinking is made to end (default: no limit)",
        "--max-switch-count",
        low=1,
    )
    think_start: int | str | None = opt(
        None, "token that opens the thinking, text or id (default: the model's own)", "--think-start", low=0
    )
    think_end: int | str | None = opt(
        None, "token that closes the thinking, text or id (default: the model's own)", "--think-end", low=0
    )
    symbol_guard: bool = opt(
        True,
        "never explore on digits, letters and mathematical symbols",
        "--symbol-guard/--no-symbol-guard",
        source=_PROGRAM,
    )
    soft_mass: float = opt(
        0.999,
        "probability that the soft vector covers, if its rows suffice",
        "--soft-mass",
        above=0,
        high=1,
        source=_OURS,
    )
    soft_rows: int = opt(
        512, "most embedding rows of the soft vector (0: any number, slow)", "--soft-rows", low=0, source=_OURS
    )

    def start(self, setting: Setting) -> Stepper:
        return _Switch(self, setting)


class _Switch(Stepper):
    """SwiReasoning at work on one sequence."""

    def __init__(self, method: SwiReasoning, setting: Setting) -> None:
        vocabulary = setting.vocabulary
        own = own_think_tokens(vocabulary, setting.thinking) or (None, None)
        self._method = method
        self._max_tokens = max(setting.max_tokens, 1)
        self._open = (
            own[0] if method.think_start is None else named_token(vocabulary, "think_start", method.think_start)
        )
        self._close = own[1] if method.think_end is None else named_token(vocabulary, "think_end", method.think_end)
        self._guarded = symbol_ids(vocabulary) if method.symbol_guard else frozenset()
        self._line_break = vocabulary.token_of(_LINE_BREAK)
        if self._close is None and setting.closing:
            self._convergence = list(setting.closing)
            self._termination = [*setting.closing, *vocabulary.encode(_ANSWER.lstrip())]
        elif self._close is None:
            self._convergence = vocabulary.encode(f"\n\n{_CLOSING}\n\n")
            self._termination = vocabulary.encode(_CLOSING + _ANSWER)
        else:
            self._convergence = [self._close]
            self._termination = [self._close, *vocabulary.encode(_ANSWER)]
        self._queue: deque[int] = deque()
        self._budget = -1
        self._step = -1
        self._stay = 0
        self._reference = 0.0
        self.mode = "normal" if setting.thinking_over else "soft"
        self.locked = setting.thinking_over
        self.switch_count = 0
        self._was_thinking = False
        self._injected = False  # whether the thinking was made to end: that does not lock the mode

    def __call__(self, view: StepView) -> Decision:
        self._step += 1
        now = softmax(view.logits)
        forced = self._queue.popleft() if self._queue else None
        token = view.token if forced is None else forced
        closed = self._close is None and self._was_thinking and not view.thinking and not self._injected
        if closed or (forced is None and token == self._close):
            self.mode, self.locked = "normal", True
        self._was_thinking = view.thinking
        switched = self._switch(now.entropy)
        kept = "symbol guard" if self.mode == "soft" and token in self._guarded else None
        chosen: NextInput = Token(token) if kept else self._next_input(view.logits, now, token, switched)
        if switched and self.mode == "normal":
            self._limit_switches()
        if self._budget > 0:
            self._budget -= 1
        return Decision(chosen, now.entropy, forced, self.mode, last=self._budget == 0, kept=kept)

    def _switch(self, entropy: float) -> bool:
        """Change the mode where the entropy says so; whether it did."""
        if self._step == 0:
            self._reference = entropy
            return False
        self._stay += 1
        if self.locked:
            return False
        if self.mode == "soft":
            change = entropy < self._reference
        else:
            change = entropy > self._reference and self._stay >= self._method.window_size
        if change:
            self.mode = "normal" if self.mode == "soft" else "soft"
            self.switch_count += self.mode == "normal"
            self._stay, self._reference = 0, entropy
        return change

    def _next_input(self, logits: npt.NDArray[np.float32], now: Softmax, token: int, switched: bool) -> NextInput:
        method = self._method
        if self.mode == "normal":
            if not switched or self._close is None:
                return Token(token)
            kept = Mixture(np.array([token]), np.ones(1))
            if method.beta_on == "soft":
                kept = self._soft(logits, now)
            return _blend(kept, self._close, self._ramp(method.beta))
        soft = self._soft(logits, now)
        if self._step == 0 and self._line_break is not None:
            return _blend(soft, self._line_break, 1.0 - _LINE_BREAK_SHARE)
        if switched and self._open is not None:
            return _blend(soft, self._open, self._ramp(method.alpha))
        return soft

    def _soft(self, logits: npt.NDArray[np.float32], now: Softmax) -> Mixture:
        return soft_mixture(logits, now.total, self._method.soft_mass, self._method.soft_rows)

    def _ramp(self, start: float) -> float:
        """From `start` at the first step linearly to 1 after max_tokens."""
        return start + (1.0 - start) * min(self._step / self._max_tokens, 1.0)

    def _limit_switches(self) -> None:
        """After so many switches to normal, have the next steps close the thinking, or the whole text."""
        limit = self._method.max_switch_count
        if limit is None or self.switch_count < limit:
            return
        self._injected = True
        if self.switch_count <= 2 * limit:
            self._queue = deque(self._convergence)
        else:
            self._queue = deque(self._termination)
            self._budget = _ANSWER_BUDGET


def soft_mixture(logits: npt.NDArray[np.float32], total: float, mass: float = 1.0, rows: int = 0) -> Mixture:
    """The most probable ids that cover `mass`, at most `rows` of them (0: any number), with their probabilities
    renormalised, by falling weight. total: of the softmax over the whole vocabulary.

    Beside ``sum p_i E[i]`` over the whole vocabulary the mixture is off by at most ``2 c max |E[i]|``, c the
    probability of the ids left out: their rows weigh c, and renormalising gives as much to the others.
    """
    ids, values = top_k(logits, rows)
    powers = np.exp(values.astype(np.float64) - float(values[0]))
    covered = np.cumsum(powers)
    n = min(int(np.searchsorted(covered, mass * total)) + 1, len(ids))
    return Mixture(ids[:n], powers[:n] / covered[n - 1])


def _blend(mixture: Mixture, token: int, share: float) -> Mixture:
    """``share`` of the mixture and ``1 - share`` of `token`."""
    return Mixture(np.append(mixture.ids, token), np.append(share * mixture.weights, 1.0 - share))
