"""Soft Thinking: every step is soft while the model thinks, plain sampling after it (arXiv 2505.15778)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from selar_local.config import SamplingConfig, opt
from selar_local.methods.base import Decision, Method, Mixture, NamedTokens, Setting, Stepper, StepView, Token
from selar_local.methods.distribution import Distribution
from selar_local.methods.entropy import softmax
from selar_local.methods.think_tokens import own_think_tokens

_NOISE_TEMPERATURES = {"none": 1.0, "gumbel": 0.5, "dirichlet": 1.0}
_NOISE_SOURCE = "arXiv 2508.03440"
_PROGRAM = "the authors' program"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SoftThinking(Method):
    """While the model thinks, the next input is the mix of the `max_topk` most probable rows and the most
    probable token is shown; from the token that closes the thinking on, ordinary sampling.

    A model without such a token never leaves the thinking: its whole text is soft, but for a cold stop.
    """

    name: ClassVar[str] = "soft-thinking"
    summary: ClassVar[str] = "every step soft while the model thinks"
    source: ClassVar[str] = "arXiv 2505.15778"
    feeds_vectors: ClassVar[bool] = True
    entropy_unit: ClassVar[str] = "nats"
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"top_k": 30, "min_p": 0.001}

    max_topk: int = opt(10, "most candidates of a mixture", "--max-topk", low=1, high=1000)
    cold_stop_entropy: float = opt(
        0.0, "end the thinking after steps below this entropy, in nats (0: never)", "--cold-stop-entropy", low=0
    )
    cold_stop_steps: int = opt(256, "consecutive steps of such entropy that end it", "--cold-stop-steps", low=1)
    noise: Literal["none", "gumbel", "dirichlet"] = opt(
        "none", "noise on a mixture's weights", "--noise", source=_NOISE_SOURCE
    )
    noise_temperature: float | None = opt(
        None,
        "its temperature (default: 0.5 for gumbel, 1 for dirichlet)",
        "--noise-temperature",
        low=1e-9,
        high=1000,
        source=_NOISE_SOURCE,
    )
    after_temperature: float | None = opt(
        None,
        "temperature after the thinking (default: as before)",
        "--after-temperature",
        low=0,
        high=100,
        source=_PROGRAM,
    )
    after_top_k: int | None = opt(
        None, "top-k after the thinking (default: as before)", "--after-top-k", low=0, minus_one=0, source=_PROGRAM
    )
    after_top_p: float | None = opt(
        None, "top-p after the thinking (default: as before)", "--after-top-p", low=0, high=1, source=_PROGRAM
    )
    after_min_p: float = opt(
        0.0, "min-p after the thinking, whatever it was before", "--after-min-p", low=0, high=1, source=_PROGRAM
    )

    @property
    def n_candidates(self) -> int:
        return self.max_topk

    @property
    def threshold(self) -> tuple[float, str] | None:
        entropy = self.cold_stop_entropy
        return (entropy, f"cold stop {entropy:g}") if entropy > 0 else None

    def after_sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """The sampling after the thinking, `sampling` that before."""
        own = {name: getattr(self, f"after_{name}") for name in ("temperature", "top_k", "top_p", "min_p")}
        return replace(sampling, **{name: value for name, value in own.items() if value is not None})

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        if thinking_over:
            return ("no step is soft: the prompt has ended the thinking",)
        return () if has_thinking else ("every step is soft: this model has no thinking tags",)

    def start(self, setting: Setting) -> Stepper:
        return _Thinking(self, setting)


class _Thinking(Stepper):
    """Soft until the thinking is over; then a plain sampler."""

    def __init__(self, method: SoftThinking, setting: Setting) -> None:
        self._method = method
        self._after = method.after_sampling(setting.sampling)
        self._is_end = setting.vocabulary.is_end
        own = own_think_tokens(setting.vocabulary, setting.thinking)
        #: The tokens that a cold stop prints and feeds.
        self._end = setting.closing if own is None else (own[1],)
        self._closing = None if own is None else own[1]
        self._waiting: tuple[int, ...] = ()
        self._noise = setting.noise()
        self._low_steps = 0
        self._was_thinking = False
        self.soft = True
        if setting.thinking_over:
            self._go_on_plainly()

    def __call__(self, view: StepView) -> Decision:
        if self.soft and self._was_thinking and not view.thinking:  # closed by tags of several tokens
            self._go_on_plainly()
        self._was_thinking = view.thinking
        if self._waiting:
            forced, *rest = self._waiting
            self._waiting = tuple(rest)
            return Decision(Token(forced), None, forced, "normal")
        if not self.soft:
            return Decision(Token(view.token), mode="normal")
        entropy = softmax(view.logits, view.temperature).entropy
        mixture = self._mixture(view.distribution)
        shown = int(mixture.ids[0])
        if self._is_end(shown):
            return Decision(Token(shown), entropy, shown, "soft", kept="end")
        if shown == self._closing or self._is_cold(entropy):
            self._go_on_plainly()
            last, *rest = self._end or (view.token,)
            self._waiting = tuple(rest)
            return Decision(Token(last), entropy, last, "normal")
        return Decision(mixture, entropy, shown, "soft")

    def _go_on_plainly(self) -> None:
        self.soft = False
        self.sampling = self._after

    def _mixture(self, distribution: Distribution) -> Mixture:
        """The largest shares, renormalised, by falling weight."""
        q = distribution.probs[: self._method.max_topk]
        q = q[q > 0]
        ids, weights = distribution.ids[: len(q)], q / q.sum()
        if self._method.noise != "none":
            temperature = self._method.noise_temperature or _NOISE_TEMPERATURES[self._method.noise]
            weights = noisy(weights, self._method.noise, temperature, self._noise)
            order = np.argsort(-weights, kind="stable")
            ids, weights = ids[order], weights[order]
        return Mixture(ids, weights)

    def _is_cold(self, entropy: float) -> bool:
        """Whether the entropy has now been low for long enough."""
        self._low_steps = self._low_steps + 1 if entropy < self._method.cold_stop_entropy else 0
        return self._low_steps >= self._method.cold_stop_steps


def noisy(q: Floats, noise: str, temperature: float, random: np.random.Generator) -> Floats:
    """`q` with noise: the Gumbel-softmax ``softmax((log q + G) / t)``, or a draw from ``Dirichlet(q / t)``.

    q: (m,) all above 0. Source: arXiv 2508.03440.
    """
    if noise == "dirichlet":
        drawn: Floats = random.dirichlet(q / temperature)
        return drawn
    scores = (np.log(q) + random.gumbel(size=len(q))) / temperature
    powers = np.exp(scores - scores.max())
    weights: Floats = powers / powers.sum()
    return weights
