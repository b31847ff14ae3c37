"""The lens in lines of text: a table for each measure, and what they come to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from selar_local.analysis.lens.overlap import MEASURES, PAIRS
from selar_local.analysis.lens.summary import DERIVED
from selar_local.cli.wording import counted

if TYPE_CHECKING:
    from selar_local.analysis.lens.session import SelfCheck
    from selar_local.analysis.lens.summary import LensSummary, Means

_COLUMN = 12
_HEADINGS = ("top-1", "top-2", "top-1", "top-2", "top-1,top-2")


def tables(summary: LensSummary, overlap_k: int) -> list[str]:
    """One line a layer, for each measure."""
    titles = ("mass in common, sum of min(p, q)", f"share of the {overlap_k} most probable tokens in common")
    lines: list[str] = []
    for measure, title in enumerate(titles):
        above = f"{'':5}  {'with the push':<{2 * _COLUMN + 2}}{'without it':<{2 * _COLUMN + 2}}themselves"
        heads = "".join(f"{heading:<{_COLUMN + 1}}" for heading in _HEADINGS)
        lines += [title, above, f"layer  {heads}".rstrip()]
        for layer in range(summary.layers.mean.shape[0]):
            cells = (f"{_cell(summary.layers, layer, pair, measure):<{_COLUMN + 1}}" for pair in range(len(PAIRS)))
            lines.append(f"{layer + 1:>5}  {''.join(cells)}".rstrip())
        lines.append("")
    return lines


def sentences(summary: LensSummary) -> list[str]:
    """The sample, and the last third of the layers in words."""
    intervals = f"95 % intervals by a bootstrap over the {summary.resampled}"
    sample = f"{summary.steps:,} exploration step{'s' * (summary.steps != 1)} of {counted(summary.prompts, 'prompt')}"
    (with1, with2), (without1, without2) = summary.weights_with, summary.weights_without
    lines = [
        sample + (f"; {intervals}" if summary.steps > 1 else ""),
        f"weights of top-1 and top-2: {with1:.2f} and {with2:.2f} with the push, "
        f"{without1:.2f} and {without2:.2f} without",
    ]
    for measure, name in enumerate(MEASURES):
        lines += _deep(summary, measure, name)
    return lines


def _deep(summary: LensSummary, measure: int, name: str) -> list[str]:
    """One measure over the last third of the layers."""
    with1, with2, without1, without2, themselves = summary.deep.mean[:, measure]
    derived = {name: _figure(summary.derived, i, measure) for i, name in enumerate(DERIVED)}
    last = summary.layers.mean.shape[0]
    return [
        f"layers {summary.deep_from} to {last}, {name}: top-1 and top-2 themselves {themselves:.2f}",
        f"  with the push  top-1 {with1:.2f}, top-2 {with2:.2f}: top-1 leads by {derived['lead_with']}",
        f"                 the smaller of a step's two {derived['both_with']}",
        f"  without it     top-1 {without1:.2f}, top-2 {without2:.2f}: top-1 leads by {derived['lead_without']}",
        f"                 the smaller of a step's two {derived['both_without']}",
        f"  the push gives top-2 {derived['gain_top2']}",
    ]


def self_check(check: SelfCheck) -> str:
    """What the self-check found."""
    return (
        f"self-check: lens of the last layer against the model's own logits: at most {check.max_abs_diff:.3g} apart, "
        f"{check.relative:.1e} of the largest; {check.mass:.4f} of the mass in common"
    )


def _cell(means: Means, *at: int) -> str:
    half = (means.high[at] - means.low[at]) / 2
    return f"{means.mean[at]:.2f}" if np.isnan(half) else f"{means.mean[at]:.2f} {_plus_minus()}{half:.2f}"


def _figure(means: Means, *at: int) -> str:
    if np.isnan(means.low[at]):
        return f"{means.mean[at]:.2f}"
    return f"{means.mean[at]:.2f} ({means.low[at]:.2f} to {means.high[at]:.2f})"


def _plus_minus() -> str:
    try:
        "±".encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return "+-"
    return "±"
