"""The lens in lines of text: a table for each measure, and what they come to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from selar_local.analysis.lens.overlap import MEASURES, PAIRS
from selar_local.analysis.lens.summary import DIFFERENCES

if TYPE_CHECKING:
    from selar_local.analysis.lens.session import SelfCheck
    from selar_local.analysis.lens.summary import LensSummary, Means

__all__ = ["self_check", "sentences", "tables"]

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
    steps = f"{summary.steps:,} exploration step{'s' * (summary.steps != 1)}"
    prompts = f"{summary.prompts} prompt{'s' * (summary.prompts != 1)}"
    lines = [f"{steps} of {prompts}" + (f"; {intervals}" if summary.steps > 1 else "")]
    last = summary.layers.mean.shape[0]
    for measure, name in enumerate(MEASURES):
        with1, with2, without1, without2, _ = summary.deep.mean[:, measure]
        leads = [_signed(summary.differences, i, measure) for i in range(len(DIFFERENCES))]
        lines += [
            f"layers {summary.deep_from} to {last}, {name}:",
            f"  with the push  top-1 {with1:.2f}, top-2 {with2:.2f}: top-1 leads by {leads[0]}",
            f"  without it     top-1 {without1:.2f}, top-2 {without2:.2f}: top-1 leads by {leads[1]}",
            f"  the push gives top-2 {leads[2]}",
        ]
    return lines


def self_check(check: SelfCheck) -> str:
    """What the self-check found."""
    return (
        f"self-check: lens of the last layer against the model's own logits: at most {check.max_abs_diff:.3g} apart, "
        f"{check.relative:.1e} of the largest; {check.mass:.4f} of the mass in common"
    )


def _cell(means: Means, *at: int) -> str:
    half = (means.high[at] - means.low[at]) / 2
    return f"{means.mean[at]:.2f}" if np.isnan(half) else f"{means.mean[at]:.2f} {_plus_minus()}{half:.2f}"


def _signed(means: Means, *at: int) -> str:
    if np.isnan(means.low[at]):
        return f"{means.mean[at]:+.2f}"
    return f"{means.mean[at]:+.2f} ({means.low[at]:+.2f} to {means.high[at]:+.2f})"


def _plus_minus() -> str:
    try:
        "±".encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return "+-"
    return "±"
