"""The plot of `analyze entropy`: the histogram with its thresholds, and where the method explored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selar_local.analysis.entropy_statistics import PARTS, EntropyStatistics
from selar_local.analysis.plotting import COLOURS, INK, Draw, draw_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_entropies"]

_BINS = 40


def draw_entropies(path: Path, found: EntropyStatistics) -> None:
    """Into a .png or .svg file. Raises MissingExtra, and SelarError where it cannot be written."""
    n = len(found.traces)
    title = f"{found.all.steps:,} steps of {n} trace{'s' * (n > 1)}"
    panels: list[Draw] = [lambda axes: _by_part(axes, found), lambda axes: _by_class(axes, found)]
    if len(found.entropies):
        panels.insert(0, lambda axes: _histogram(axes, found))
    draw_plot(path, title, panels, width=4.2 * len(panels), height=3.8)


def _histogram(axes: Axes, found: EntropyStatistics) -> None:
    counts, edges = np.histogram(found.entropies, _BINS, (0.0, 1.0))
    share = 100.0 * counts / counts.sum()
    axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=COLOURS[0], alpha=0.75, linewidth=0)
    for number, tau in enumerate(found.taus):
        label = None if number else "tau " + ", ".join(f"{one:g}" for one in found.taus)
        axes.axvline(tau, color=COLOURS[1], linestyle="--", linewidth=1.5, label=label)
    if found.valley.at is not None:
        axes.axvline(found.valley.at, color=INK, linestyle=":", linewidth=1.5, label=f"valley {found.valley.at:.2f}")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlim(0, 1)
    axes.set_title("How sure the model is")
    axes.set_xlabel("normalised entropy of a step")
    axes.set_ylabel("share of the steps, %")
    if found.taus or found.valley.at is not None:
        axes.legend(loc="upper right")


def _by_part(axes: Axes, found: EntropyStatistics) -> None:
    shares = [100.0 * (count.share or 0.0) for count in found.by_part]
    width = 100.0 / PARTS
    axes.bar(np.arange(PARTS) * width, shares, width * 0.9, align="edge", color=COLOURS[2], linewidth=0)
    axes.axhline(100.0 * (found.all.share or 0.0), color=INK, linestyle=":", linewidth=1.2, label="all steps")
    axes.set_xlim(0, 100)
    axes.set_title("Where in the text it explored")
    axes.set_xlabel("place in the text, %")
    axes.set_ylabel("exploration steps, % of the steps there")
    axes.legend(loc="best")


def _by_class(axes: Axes, found: EntropyStatistics) -> None:
    there = {name: count for name, count in found.by_class.items() if count.steps}
    shares = [100.0 * (count.share or 0.0) for count in there.values()]
    places = np.arange(len(there))
    axes.barh(places, shares, 0.7, color=COLOURS[3], linewidth=0)
    axes.set_yticks(places, [f"{name} ({count.steps:,})" for name, count in there.items()])
    axes.invert_yaxis()
    axes.set_title("On what kind of token")
    axes.set_xlabel("exploration steps, % of these tokens")
