"""Mixture of Inputs: the printed token's row, blended with the rows of its rivals (arXiv 2505.14827)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from selar_local.config import opt
from selar_local.methods.base import Decision, Method, Mixture, NamedTokens, Setting, Stepper, StepView, Token
from selar_local.methods.entropy import renormalise, softmax, truncated_entropy
from selar_local.methods.gate import AUTO, Scope, Tau, guard_option, kept_by, require_number, scope_notes, scope_option
from selar_local.methods.selar import anchored
from selar_local.methods.symbols import symbol_ids

_PAPER = "the paper's text"
_OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class MoI(Method):
    """Mixture of Inputs. With `y` the drawn token, ``pi`` the probabilities of the most probable candidates and ``H``
    their normalised entropy, the next input is ``a * sum pi_i E[v_i] + (1 - a) E[y]`` with ``a = H / (beta + 1)``.

    At a `beta` of 1 or more the printed token weighs most. With a tau only the steps explore at which SeLaR's gate
    opens; its symbol guard is a part of that gate.
    """

    name: ClassVar[str] = "moi"
    summary: ClassVar[str] = "the printed token, blended with its rivals where unsure"
    source: ClassVar[str] = "arXiv 2505.14827"
    feeds_vectors: ClassVar[bool] = True

    beta: float = opt(
        1.0,
        "weight of the printed token against its rivals (1 or more: it weighs most)",
        "--beta",
        low=0,
        high=10**6,
    )
    candidates: int = opt(20, "most probable tokens in the blend", "--candidates", low=2, high=1000)
    mix_on: Literal["raw", "filtered"] = opt(
        "raw",
        "distribution to blend: at temperature 1 before the filters, or after them",
        "--mix-on",
        source=_OURS,
    )
    normaliser: Literal["candidates", "vocabulary"] = opt(
        "candidates",
        "entropy that sets the blend: of the candidates, or of the whole vocabulary, over its logarithm",
        "--normaliser",
        source=_PAPER,
    )
    direct_mixture: bool = opt(False, "ablation: feed the candidates without the printed token", "--direct-mixture")
    scope: Scope = scope_option()
    tau: Tau | None = opt(
        None,
        "SeLaR's gate, symbol guard included: explore where its entropy reaches this (default: no gate)",
        "--tau",
        low=0,
        source=_OURS,
    )
    k: int = opt(3, "candidates of the gate's entropy", "--k", low=2, high=1000, source=_OURS)
    symbol_guard: bool = guard_option(_OURS)

    @property
    def n_candidates(self) -> int:
        return self.candidates if self.tau is None else max(self.candidates, self.k)

    @property
    def threshold(self) -> tuple[float, str] | None:
        return None if self.tau is None or isinstance(self.tau, str) else (self.tau, f"tau {self.tau:g}")

    def fitted(self, calibrated: Callable[[int, str], float]) -> MoI:
        return replace(self, tau=calibrated(self.k, "filtered")) if self.tau == AUTO else self

    def notes(self, vocabulary: NamedTokens, *, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
        return scope_notes(self.scope, has_thinking, thinking_over)

    def start(self, setting: Setting) -> Stepper:
        require_number(self.tau)
        return _Blend(self, setting)


class _Blend(Stepper):
    """Mixture of Inputs at work on one sequence."""

    def __init__(self, method: MoI, setting: Setting) -> None:
        self._method = method
        self._tau = None if method.tau is None else float(method.tau)
        guards = self._tau is not None and method.symbol_guard
        self._guarded = symbol_ids(setting.vocabulary) if guards else frozenset()

    def __call__(self, view: StepView) -> Decision:
        method, gate = self._method, None
        if self._tau is not None:
            gate = truncated_entropy(renormalise(view.distribution.probs, method.k), method.k)
            if gate < self._tau:
                return Decision(Token(view.token), gate)
        rivals = self._rivals(view)
        entropy = self._entropy(view, rivals)
        shown_entropy = entropy if gate is None else gate
        share = 1.0 if method.direct_mixture else entropy / (method.beta + 1.0)
        if share == 0.0 or rivals.ids.tolist() == [view.token]:
            return Decision(Token(view.token), shown_entropy)
        kept = kept_by(view, self._guarded, method.scope)
        if kept:
            return Decision(Token(view.token), shown_entropy, kept=kept)
        return Decision(anchored(rivals, view.token, share), shown_entropy)

    def _rivals(self, view: StepView) -> Mixture:
        """The candidates with their probabilities among themselves."""
        n = self._method.candidates
        ids, probs = view.distribution.ids[:n], view.distribution.probs[:n]
        if self._method.mix_on == "raw":  # the filters keep the order, so these are the largest logits as well
            values = view.logits[ids].astype(np.float64)
            probs = np.exp(values - values[0])
        kept = probs > 0
        return Mixture(ids[kept], probs[kept] / probs[kept].sum())

    def _entropy(self, view: StepView, rivals: Mixture) -> float:
        """The entropy that sets the blend, 0 to 1."""
        if self._method.normaliser == "candidates":
            return truncated_entropy(rivals.weights.tolist(), self._method.candidates)
        if self._method.mix_on == "raw":
            return softmax(view.logits).entropy / math.log(len(view.logits))
        return truncated_entropy(view.distribution.probs.tolist(), len(view.logits))
