"""SeLaR: where the model is torn, the next input is a soft embedding (arXiv 2604.08299)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from selar_local.config import opt, require
from selar_local.methods.base import Decision, Method, Mixture, NamedTokens, Setting, Stepper, StepView, Token
from selar_local.methods.budget import Budget
from selar_local.methods.distribution import top_k
from selar_local.methods.entropy import renormalise, softmax, truncated_entropy
from selar_local.methods.gate import (
    AUTO,
    Scope,
    Shown,
    Tau,
    guard_option,
    kept_by,
    require_number,
    scope_notes,
    scope_option,
    show_option,
)
from selar_local.methods.symbols import symbol_ids

_OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class Selar(Method):
    """Selective latent reasoning. At an exploration step (normalised truncated entropy ``h >= tau``) the
    next input is ``e + w h (e - E[v*])`` with ``e = sum q_i E[v_i]``; else it is the drawn token.

    tau "auto" is the valley of the model's own entropy histogram, found by ``selar-local calibrate``.
    """

    name: ClassVar[str] = "selar"
    summary: ClassVar[str] = "soft embeddings where the model is torn, tokens elsewhere"
    source: ClassVar[str] = "arXiv 2604.08299"
    feeds_vectors: ClassVar[bool] = True
    always_shown: ClassVar[tuple[str, ...]] = ("tau", "k")
    removed_options: ClassVar[Mapping[str, Any]] = {"batch_gate": False}
    ablations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "SeLaR": {},
        "without selective activation (tau 0, no guard)": {"tau": 0, "symbol_guard": False},
        "without contrastive regularisation (contrast 0)": {"contrast": 0},
        "the opposite gate (soft where sure)": {"invert_gate": True},
    }

    k: int = opt(3, "candidates of the truncated entropy and the mixture", "--k", low=2, high=1000)
    tau: Tau = opt(
        0.5,
        "explore where the normalised entropy reaches this (0: always; above 1: never; auto: as calibrated)",
        "--tau",
        low=0,
    )
    contrast: float = opt(1.0, "strength w of the push away from the dominant token", "--contrast", low=0, high=10**6)
    symbol_guard: bool = guard_option("the authors' program")
    gate_on: Literal["filtered", "full"] = opt(
        "filtered",
        "distribution the gate looks at: after or before the filters",
        "--gate-on",
    )
    scope: Scope = scope_option()
    strict_gate: bool = opt(False, "explore where h > tau (the paper's text) instead of h >= tau", "--strict-gate")
    invert_gate: bool = opt(
        False, "ablation, the opposite gate: explore where the model is sure", "--invert-gate", source=_OURS
    )
    gate_by: Literal["h", "p-max"] = opt(
        "h",
        "what the opposite gate looks at: the entropy h (below tau), or the largest probability (tau and above)",
        "--gate-by",
        source="arXiv 2602.11683",
    )
    repel: int = opt(
        1, "push away from the m most probable candidates instead of the first", "--repel", low=1, source=_OURS
    )
    anchor: float = opt(
        1.0,
        "share of the mixture in what is fed, the rest is the drawn token (0: that token alone)",
        "--anchor",
        low=0,
        high=1,
        source=_OURS,
    )
    show: Shown = show_option()
    max_share: float = opt(
        1.0,
        "largest share of the steps that may explore; the highest entropies so far do (1: no limit)",
        "--max-share",
        low=0,
        high=1,
        source=_OURS,
    )

    def check_together(self) -> None:
        if self.gate_by == "p-max":
            require(self.invert_gate, "gate_by p-max is for the opposite gate: set invert_gate as well")
            require(self.tau != AUTO, "tau auto is an entropy: gate_by p-max needs a number")
        require(self.repel < self.k, f"repel must be below k ({self.k}): pushed away from all, nothing moves")

    @property
    def n_candidates(self) -> int:
        return self.k

    @property
    def threshold(self) -> tuple[float, str] | None:
        by_entropy = self.gate_by == "h" and not isinstance(self.tau, str)
        return (float(self.tau), f"tau {self.tau:g}") if by_entropy else None

    def fitted(self, calibrated: Callable[[int, str], float]) -> Selar:
        return replace(self, tau=calibrated(self.k, self.gate_on)) if self.tau == AUTO else self

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        return scope_notes(self.scope, has_thinking, thinking_over)

    def start(self, setting: Setting) -> Stepper:
        require_number(self.tau)
        return _Gate(self, setting)


class _Gate(Stepper):
    """SeLaR at work on one sequence."""

    def __init__(self, method: Selar, setting: Setting) -> None:
        self._method = method
        self._tau = float(method.tau)
        self._is_end = setting.vocabulary.is_end
        self._guarded = symbol_ids(setting.vocabulary) if method.symbol_guard else frozenset()
        self._budget = Budget(method.max_share)

    def __call__(self, view: StepView) -> Decision:
        method = self._method
        q = renormalise(view.distribution.probs, method.k)
        h = truncated_entropy(q if method.gate_on == "filtered" else _unfiltered(view, method.k), method.k)
        sure = self._largest(view) if method.gate_by == "p-max" else -h
        opens = self._opens(h, sure)
        kept = kept_by(view, self._guarded, method.scope) if opens else None
        soft = self._budget.allows(sure if method.invert_gate else h, opens and kept is None)
        if not soft:
            return Decision(Token(view.token), h, kept=kept or ("budget" if opens else None))
        mixture = anchored(
            contrastive_weights(view.distribution.ids, q, method.contrast * h, method.repel), view.token, method.anchor
        )
        shown = None
        if method.show == "heaviest" and not self._is_end(view.token):
            shown = int(mixture.ids[mixture.weights.argmax()])
        return Decision(mixture, h, shown)

    def _opens(self, h: float, sure: float) -> bool:
        by_probability = self._method.gate_by == "p-max"
        value = sure if by_probability else h
        reached = value > self._tau if self._method.strict_gate else value >= self._tau
        return reached != (self._method.invert_gate and not by_probability)

    def _largest(self, view: StepView) -> float:
        """The largest probability of the distribution that the gate looks at."""
        if self._method.gate_on == "full":
            return 1.0 / softmax(view.logits, view.temperature).total
        return float(view.distribution.probs[0])


def _unfiltered(view: StepView, k: int) -> list[float]:
    """The k most probable of ``softmax(logits / temperature)`` without the filters, renormalised."""
    _, values = top_k(view.logits, k)
    relative = values.astype(np.float64) - float(values[0])
    return renormalise(np.exp(relative / view.temperature), k)


def contrastive_weights(ids: npt.NDArray[np.int64], q: Sequence[float], strength: float, repel: int = 1) -> Mixture:
    """Row weights of ``e + s (e - C)``: e the mixture of `q`, C the mixture of its `repel` largest alone, renormalised.

    ids: (>= k,) of the candidates by falling probability. With repel 1 C is the dominant token's row and the push
    is the paper's.
    """
    weights = [(1.0 + strength) * share for share in q]
    mass = sum(q[:repel])
    for i in range(min(repel, len(q))):
        weights[i] -= strength * (q[i] / mass)
    return Mixture(ids[: len(weights)], np.array(weights))


def anchored(mixture: Mixture, token: int, share: float) -> Mixture:
    """``share`` of the mixture and ``1 - share`` of `token`, so that what is heard agrees with what is shown."""
    if share == 1.0:
        return mixture
    ids, weights = mixture.ids, share * mixture.weights
    at = (ids == token).nonzero()[0]
    if at.size:
        weights[at[0]] += 1.0 - share
        return Mixture(ids, weights)
    return Mixture(np.append(ids, token), np.append(weights, 1.0 - share))
