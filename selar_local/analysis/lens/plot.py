"""The plot of `analyze lens`, after the paper's: layers along, four lines with their intervals, one panel a measure."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selar_local.analysis.lens.overlap import PAIRS
from selar_local.analysis.lens.summary import LensSummary
from selar_local.methods import Selar
from selar_local.plotting import INK, colour_of, draw_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SELAR = colour_of(Selar.name)
#: SeLaR itself has its colour; what it is compared with has none. Solid lines are top-1, dashed ones top-2.
_LINES = {
    "with_top1": ("with the push, top-1", _SELAR, "-"),
    "with_top2": ("with the push, top-2", _SELAR, "--"),
    "without_top1": ("without it, top-1", INK, "-"),
    "without_top2": ("without it, top-2", INK, "--"),
    "top1_top2": ("top-1 and top-2 themselves", INK, ":"),
}


def draw_lens(path: Path, summary: LensSummary, model: str, overlap_k: int) -> None:
    """Into a .png or .svg file. Raises MissingExtra, and SelarError where it cannot be written."""
    titles = ("mass in common: sum of min(p, q)", f"share of the {overlap_k} most probable in common")
    draw_plot(
        path,
        f"{model}: {summary.steps} exploration steps of {summary.prompts} prompts",
        [partial(_panel, summary=summary, measure=j, title=title) for j, title in enumerate(titles)],
        width=10.5,
        height=4.5,
        legend=3,
    )


def _panel(axes: Axes, summary: LensSummary, measure: int, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    layers = np.arange(1, summary.layers.mean.shape[0] + 1)
    for pair, name in enumerate(PAIRS):
        label, colour, style = _LINES[name]
        mean, low, high = (
            figures[:, pair, measure] for figures in (summary.layers.mean, summary.layers.low, summary.layers.high)
        )
        axes.plot(layers, mean, style, color=colour, linewidth=1.6, label=label)
        axes.fill_between(layers, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(layers[0], max(layers[-1], 2))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(title)
    axes.set_xlabel("layer")
    axes.set_ylabel("overlap")
