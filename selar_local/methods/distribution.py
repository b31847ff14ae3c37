"""Logits -> the filtered distribution every method starts from. Pure functions on NumPy arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from selar_local.config import SamplingConfig
from selar_local.errors import DecodeError

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]

_FEW = 64
_ROWS = 64  # rows of the view that bounds the k-th largest logit


@dataclass(frozen=True, slots=True)
class Distribution:
    """Candidates by falling logit (ties: the lower id first) and their probabilities after the filters.

    ids: (m,) int64. probs: (m,) float64, sums to 1; candidates a filter removed come last, with probability 0.
    """

    ids: Ids
    probs: Floats


def top_k(logits: npt.NDArray[np.float32], k: int) -> tuple[Ids, npt.NDArray[np.float32]]:
    """The `k` largest logits with their ids, by falling logit, ties by rising id, without sorting the rest.

    The k-th largest of the column maxima of a (64, n // 64) view is a lower bound of the k-th largest
    logit, so only the columns that reach it are looked at again. k = 0 means all.
    Raises DecodeError when a logit is NaN or +inf, or when none is finite.
    """
    n = logits.shape[0]
    width = n // _ROWS
    k = min(k, n) if k > 0 else n
    if width < 4 * k:  # a small vocabulary, or much of it asked for
        _check(logits)
        ids = (logits >= np.partition(logits, n - k)[n - k]).nonzero()[0]
        order = ids[np.argsort(-logits[ids], kind="stable")[:k]]
        return order, logits[order]
    body = logits[: _ROWS * width].reshape(_ROWS, width)
    # Between two decodes every call is a cold one: methods and plain reductions have the shortest ways.
    maxima = np.maximum.reduce(body)
    ranked = maxima.copy()
    ranked.partition((width - k, width - 1))
    bound = ranked[width - k]
    tail = logits[_ROWS * width :]
    if not math.isfinite(ranked[-1]) or (tail.size and not np.isfinite(tail).all()):  # NaN sorts last
        _check(logits)
    columns = (maxima >= bound).nonzero()[0]
    rows, within = (body.take(columns, axis=1) >= bound).nonzero()
    ids = rows * width + columns[within]  # rising, so that a stable sort breaks ties by id
    if tail.size:
        ids = np.concatenate((ids, _ROWS * width + (tail >= bound).nonzero()[0]))
    values = logits[ids]
    order = (-values).argsort(kind="stable")[:k]
    return ids[order], values[order]


def _check(logits: npt.NDArray[np.float32]) -> None:
    """Raise DecodeError unless there is a largest logit and it is finite."""
    if not np.isfinite(logits.max()):
        raise DecodeError(
            "the model produced logits that are not numbers: its weights are damaged, or a cache type or "
            "GPU kernel overflows (try -ctk f32 -ctv f32 -fa off)"
        )


def filtered_distribution(
    logits: npt.NDArray[np.float32], sampling: SamplingConfig, at_least: int = 1, *, xtc: bool = False
) -> Distribution:
    """Temperature, top-k, typical, top-p, min-p, XTC in that order, then softmax over what is left.

    logits: (n_vocab,) float32. `at_least` candidates are listed even when a filter removed them
    (probability 0). Nucleus: up to and including the first token whose cumulative probability exceeds
    top_p. min_p: relative to the largest probability. Temperature 0 keeps the most probable one of what the
    filters leave at temperature 1, which is the largest logit but for typical and XTC.
    xtc: whether XTC acts in this step.
    """
    chosen = xtc or sampling.typical_p < 1
    keep = sampling.top_k if sampling.top_k > 0 else logits.shape[0]
    if sampling.temperature == 0 and not chosen:
        keep = 1
    ids, values = top_k(logits, max(keep, at_least))
    keep = min(keep, ids.shape[0])
    if chosen:
        probs = np.zeros(ids.shape[0])
        kept, shares = _chosen(values[:keep], sampling, xtc=xtc)
        if sampling.temperature == 0:
            kept, shares = kept[:1], np.ones(1)
        probs[: len(shares)] = shares
        return Distribution(np.concatenate((ids[kept], np.delete(ids, kept))), probs)
    if keep <= _FEW:
        few = _few(values[:keep].tolist(), sampling)
        return Distribution(ids, np.array(few + [0.0] * (ids.shape[0] - len(few))))
    many = _many(values[:keep], sampling)
    probs = np.zeros(ids.shape[0])
    probs[: len(many)] = many
    return Distribution(ids, probs)


def _few(values: list[float], sampling: SamplingConfig) -> list[float]:
    """Probabilities of what the filters leave of a few sorted logits.

    The same as `_many` in plain floats: between two decodes every NumPy call is a cold one, and ten of
    them cost more than twenty exponentials.
    """
    largest, temperature = values[0], sampling.temperature or 1.0
    weights = [math.exp((value - largest) / temperature) for value in values]
    if sampling.top_p < 1:
        limit, cumulative = sampling.top_p * sum(weights), 0.0
        for index, weight in enumerate(weights):
            cumulative += weight
            if cumulative > limit:
                del weights[index + 1 :]
                break
    if sampling.min_p > 0:
        weights = [weight for weight in weights if weight >= sampling.min_p]
    total = sum(weights)
    return [weight / total for weight in weights]


def _many(values: npt.NDArray[np.float32], sampling: SamplingConfig) -> Floats:
    """Probabilities of what the filters leave of sorted logits, up to the whole vocabulary."""
    weights = _nucleus(_weights(values, sampling.temperature), sampling)
    shares: Floats = weights / weights.sum()
    return shares


def _weights(values: npt.NDArray[np.float32], temperature: float) -> Floats:
    """The probabilities of sorted logits as shares of the largest."""
    relative = values.astype(np.float64) - float(values[0])
    weights: Floats = np.exp(relative / (temperature or 1.0))
    return weights


def _nucleus(weights: Floats, sampling: SamplingConfig) -> Floats:
    """The falling weights that top-p and min-p leave."""
    if sampling.top_p < 1:
        cumulative = np.cumsum(weights)
        cut = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1], side="right"))
        weights = weights[: cut + 1]
    if sampling.min_p > 0:
        weights = weights[weights >= sampling.min_p * weights[0]]
    return weights


def _chosen(values: npt.NDArray[np.float32], sampling: SamplingConfig, *, xtc: bool) -> tuple[Ids, Floats]:
    """The places of what all filters leave of sorted logits, and their probabilities."""
    weights = _weights(values, sampling.temperature)
    kept = np.arange(len(weights))
    if sampling.typical_p < 1:
        kept = _typical(weights / weights.sum(), sampling.typical_p)
    weights = _nucleus(weights[kept], sampling)
    shares: Floats = weights / weights.sum()
    if xtc:
        first = max(int((shares >= sampling.xtc_threshold).sum()) - 1, 0)
        kept, shares = kept[first : len(shares)], shares[first:] / shares[first:].sum()
    return kept[: len(shares)], shares


def _typical(probs: Floats, share: float) -> Ids:
    """The places of the most typical candidates up to the first with which their probabilities exceed `share`.

    Most typical is whose surprise, -log p, is nearest to the mean surprise, the entropy (arXiv 2202.00666).
    """
    surprise = -np.log(np.maximum(probs, 1e-300))
    order = np.argsort(np.abs(surprise - float(probs @ surprise)), kind="stable")
    cut = int(np.searchsorted(np.cumsum(probs[order]), share, side="right"))
    places: Ids = np.sort(order[: cut + 1])
    return places


def draw(distribution: Distribution, u: float) -> int:
    """The id of the first candidate whose cumulative probability exceeds `u` in [0, 1)."""
    cumulative, last = 0.0, 0
    for index, p in enumerate(distribution.probs.tolist()):
        if p > 0.0:
            cumulative, last = cumulative + p, index
            if cumulative > u:
                break
    return int(distribution.ids[last])  # rounding may leave the sum just below 1: then the last one that has any
