"""What exploration steps fed to the model, computed again from what a trace holds - or why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from selar_local.analysis.traces import Step
from selar_local.errors import OptionError
from selar_local.methods import METHODS, Method, Selar, SoftThinking, SwiReasoning
from selar_local.methods.base import Mixture
from selar_local.methods.entropy import renormalise, truncated_entropy
from selar_local.methods.selar import anchored, contrastive_weights

__all__ = ["candidate_entropy", "method_of", "mixer"]

#: The mixture of an exploration step, or a sentence that says why it is not known.
Mixer = Callable[[Step], Mixture | str]

_NO_CANDIDATES = "The weights are not known: the step lists no candidates."


def method_of(name: str, options: Mapping[str, Any]) -> Method | None:
    """The method with these options; None where this version does not know it, or one of its options' values."""
    cls = METHODS.get(name)
    if cls is None:
        return None
    known = {field.name for field in fields(cls)}
    try:
        return cls(**{key: value for key, value in options.items() if key in known})
    except (OptionError, TypeError):
        return None


def mixer(method: Method | None) -> Mixer:
    """What tells the mixtures of a trace's exploration steps."""
    if isinstance(method, Selar):
        return _selar(method)
    if isinstance(method, SoftThinking):
        return _soft_thinking(method)
    reason = "The weights are not known: a trace does not hold what this method mixes."
    if isinstance(method, SwiReasoning):
        reason = (
            "The weights are not known: SwiReasoning mixes the whole vocabulary at temperature 1, "
            "and a trace holds the candidates after the filters."
        )
    return lambda step: reason


def _selar(method: Selar) -> Mixer:
    if method.anchor != 1 and method.show == "heaviest":
        return lambda step: "The weights are not known: the drawn token is mixed in, and the trace has the heaviest."

    def mix(step: Step) -> Mixture | str:
        ids, probs = _candidates(step, method.k)
        if not probs.sum() or step.entropy is None:
            return _NO_CANDIDATES
        q = renormalise(probs, method.k)
        weights = contrastive_weights(ids, q, method.contrast * step.entropy, method.repel)
        return anchored(weights, step.token, method.anchor)

    return mix


def _soft_thinking(method: SoftThinking) -> Mixer:
    if method.noise != "none":
        return lambda step: f"The weights are not known: their {method.noise} noise is not in the trace."

    def mix(step: Step) -> Mixture | str:
        ids, probs = _candidates(step, method.max_topk)
        if not probs.sum():
            return _NO_CANDIDATES
        kept = probs > 0
        return Mixture(ids[kept], probs[kept] / probs[kept].sum())

    return mix


def _candidates(step: Step, count: int) -> tuple[Any, Any]:
    """Ids and probabilities of the first candidates."""
    listed = step.top[:count]
    return np.array([token for token, _ in listed], np.int64), np.array([p for _, p in listed], np.float64)


def candidate_entropy(step: Step) -> float | None:
    """The normalised entropy of the listed candidates, which is SeLaR's of as many; None of less than two."""
    probs = np.array([p for _, p in step.top])
    if len(probs) < 2 or not probs.sum():
        return None
    return truncated_entropy(renormalise(probs, len(probs)), len(probs))
