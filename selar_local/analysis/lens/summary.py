"""Averages of the overlaps over steps and prompts, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.analysis.lens.measure import LensSamples
from selar_local.analysis.lens.overlap import MEASURES, PAIRS

Floats = npt.NDArray[np.float64]

_DRAWS = 2000
_LEVEL = 0.95
#: What is made of each step's overlaps, with an interval of its own: how far top-1 is ahead of top-2, what the push
#: gives top-2, and the smaller of the two overlaps. Where that is large, both trajectories are there in one step.
DERIVED: dict[str, tuple[Callable[[Floats, Floats], Floats], str, str]] = {
    "lead_with": (np.subtract, "with_top1", "with_top2"),
    "lead_without": (np.subtract, "without_top1", "without_top2"),
    "gain_top2": (np.subtract, "with_top2", "without_top2"),
    "both_with": (np.minimum, "with_top1", "with_top2"),
    "both_without": (np.minimum, "without_top1", "without_top2"),
}


@dataclass(frozen=True)
class Means:
    """Means over the steps and between which 95 % of bootstrap samples have them. Arrays of one shape.

    Without an interval (a single step) low and high are NaN.
    """

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class LensSummary:
    """layers: of the overlaps, (layers, pairs, measures). deep: of their means over the last third of the layers,
    (pairs, measures). derived: from each step's means there, (derived, measures), in the order of `DERIVED`.

    deep_from: the first layer of that third, counted from 1. resampled: "prompts", or "steps" where a single prompt has
    any. weights_with, weights_without: mean weights of the first and the second candidate in what was fed.
    """

    layers: Means
    deep: Means
    derived: Means
    deep_from: int
    steps: int
    prompts: int
    resampled: str
    weights_with: tuple[float, float]
    weights_without: tuple[float, float]


def summarise(samples: LensSamples) -> LensSummary:
    """Every step counts once. The intervals are of a bootstrap over prompts, whose steps are no independent ones.

    samples: one step at least.
    """
    prompts = np.array([step.prompt for step in samples.steps])
    n_prompts = len(np.unique(prompts))
    groups = prompts if n_prompts > 1 else np.arange(len(prompts))
    n_layer = samples.overlaps.shape[1]
    first = n_layer - max(n_layer // 3, 1)
    deep = samples.overlaps[:, first:].mean(axis=1)
    names = list(PAIRS)
    derived = np.stack(
        [make(deep[:, names.index(one)], deep[:, names.index(other)]) for make, one, other in DERIVED.values()], axis=1
    )
    return LensSummary(
        layers=_means(samples.overlaps, groups),
        deep=_means(deep, groups),
        derived=_means(derived, groups),
        deep_from=first + 1,
        steps=len(prompts),
        prompts=n_prompts,
        resampled="prompts" if n_prompts > 1 else "steps",
        weights_with=_mean_of(samples, "first_weight", "second_weight"),
        weights_without=_mean_of(samples, "first_share", "second_share"),
    )


def _mean_of(samples: LensSamples, one: str, other: str) -> tuple[float, float]:
    first, second = (float(np.mean([getattr(step, name) for step in samples.steps])) for name in (one, other))
    return first, second


def _means(values: Floats, groups: npt.NDArray[np.int64]) -> Means:
    """values: (steps, ...); groups: (steps,) what is drawn together. The same for the same arguments."""
    mean = values.mean(axis=0)
    _, members = np.unique(groups, return_inverse=True)
    n_groups = int(members.max()) + 1
    if n_groups == 1:
        return Means(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    sums = np.zeros((n_groups, values[0].size))
    np.add.at(sums, members, values.reshape(len(values), -1))
    random = np.random.Generator(np.random.PCG64(0))
    drawn = random.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), _DRAWS).astype(np.float64)
    means = (drawn @ sums) / (drawn @ np.bincount(members))[:, None]
    low, high = np.quantile(means, ((1.0 - _LEVEL) / 2, (1.0 + _LEVEL) / 2), axis=0)
    return Means(mean, low.reshape(mean.shape), high.reshape(mean.shape))


def as_dict(summary: LensSummary) -> dict[str, Any]:
    """The summary as JSON types; layers counted from 1."""
    layers = [{"layer": layer + 1, **_overlaps(summary.layers, layer)} for layer in range(summary.layers.mean.shape[0])]
    return {
        "layers": layers,
        "deep": {"from_layer": summary.deep_from, **_overlaps(summary.deep)},
        "derived": {
            measure: {name: _figure(summary.derived, (i, j)) for i, name in enumerate(DERIVED)}
            for j, measure in enumerate(MEASURES)
        },
        "mean_weights": {"with": list(summary.weights_with), "without": list(summary.weights_without)},
        "resampled": summary.resampled,
    }


def _overlaps(means: Means, *at: int) -> dict[str, Any]:
    return {
        measure: {name: _figure(means, (*at, i, j)) for i, name in enumerate(PAIRS)}
        for j, measure in enumerate(MEASURES)
    }


def _figure(means: Means, at: tuple[int, ...]) -> dict[str, float | None]:
    figures = {"mean": means.mean[at], "low": means.low[at], "high": means.high[at]}
    return {name: None if np.isnan(value) else float(value) for name, value in figures.items()}
