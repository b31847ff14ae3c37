"""SeLaR: where the model is torn, the next input is a soft embedding (arXiv 2604.08299)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from selar_local.config import number, opt, require, switch, whole
from selar_local.methods.base import Decision, Method, Mixture, Stepper, StepView, Token, Vocabulary
from selar_local.methods.distribution import Distribution, top_k
from selar_local.methods.entropy import renormalise, truncated_entropy
from selar_local.methods.symbols import symbol_ids

__all__ = ["Selar", "contrastive_weights"]

GATES = ("filtered", "full")
SCOPES = ("all", "thinking")


@dataclass(frozen=True)
class Selar(Method):
    """Selective latent reasoning. At an exploration step (normalised truncated entropy ``h >= tau``) the
    next input is ``e + w h (e - E[v*])`` with ``e = sum q_i E[v_i]``; else it is the drawn token.
    """

    name: ClassVar[str] = "selar"
    summary: ClassVar[str] = "soft embeddings where the model is torn, tokens elsewhere"
    source: ClassVar[str] = "arXiv 2604.08299"
    feeds_vectors: ClassVar[bool] = True

    k: int = opt(3, "candidates of the truncated entropy and the mixture", "--k")
    tau: float = opt(0.5, "explore where the normalised entropy reaches this (0: always; above 1: never)", "--tau")
    contrast: float = opt(1.0, "strength w of the push away from the dominant token", "--contrast")
    symbol_guard: bool = opt(
        True, "never explore on digits, letters and mathematical symbols", "--symbol-guard/--no-symbol-guard"
    )
    gate_on: str = opt(
        "filtered", "distribution the gate looks at: after or before the filters", "--gate-on", choices=GATES
    )
    scope: str = opt("all", "explore everywhere, or only while the model thinks", "--scope", choices=SCOPES)
    strict_gate: bool = opt(False, "explore where h > tau (the paper's text) instead of h >= tau", "--strict-gate")

    def __post_init__(self) -> None:
        whole("k", self.k, 2, 1000)
        number("tau", self.tau, 0)
        number("contrast", self.contrast, 0)
        switch("symbol_guard", self.symbol_guard)
        switch("strict_gate", self.strict_gate)
        require(self.gate_on in GATES, f"gate_on must be one of {', '.join(GATES)}, not {self.gate_on!r}")
        require(self.scope in SCOPES, f"scope must be one of {', '.join(SCOPES)}, not {self.scope!r}")

    @property
    def n_candidates(self) -> int:
        return self.k

    def start(self, vocabulary: Vocabulary) -> Stepper:
        guarded = symbol_ids(vocabulary) if self.symbol_guard else frozenset()
        return lambda view: self._step(view, guarded)

    def _step(self, view: StepView, guarded: frozenset[int]) -> Decision:
        q = renormalise(view.distribution.probs, self.k)
        h = truncated_entropy(q if self.gate_on == "filtered" else self._unfiltered(view), self.k)
        open_gate = h > self.tau if self.strict_gate else h >= self.tau
        out_of_scope = self.scope == "thinking" and not view.thinking
        if not open_gate or out_of_scope or view.token in guarded:
            return Decision(Token(view.token), h)
        return Decision(contrastive_weights(view.distribution, q, self.contrast * h), h)

    def _unfiltered(self, view: StepView) -> list[float]:
        """The k most probable of ``softmax(logits / temperature)`` without the filters, renormalised."""
        _, values = top_k(view.logits, self.k)
        relative = values.astype(np.float64) - float(values[0])
        return renormalise(np.exp(relative / view.temperature), self.k)


def contrastive_weights(distribution: Distribution, q: Sequence[float], strength: float) -> Mixture:
    """``(1 + s) q_i``, less ``s`` on the most probable token: the row weights of ``e + s (e - E[v*])``."""
    weights = [(1.0 + strength) * share for share in q]
    weights[0] -= strength
    return Mixture(distribution.ids[: len(weights)], np.array(weights))
