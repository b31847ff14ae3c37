"""The plot of `analyze entropy`: the histogram with its thresholds, and where the method explored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selar_local.analysis.entropy_statistics import PARTS, EntropyStatistics
from selar_local.plotting import INK, Draw, colour_of, draw_plot, legend_below, percent_on_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BINS = 40
#: Bars that show several methods together have the colour of none.
_MIXED = "#9a9a9a"


def draw_entropies(path: Path, found: EntropyStatistics) -> None:
    """Into a .png or .svg file. Raises MissingExtra, and SelarError where it cannot be written."""
    methods = list(dict.fromkeys(trace.method for trace in found.traces))
    n = len(found.traces)
    title = f"{', '.join(methods)}: {found.all.steps:,} steps of {n} trace{'s' * (n > 1)}"
    colour = _colour(methods)
    panels: list[Draw] = [lambda axes: _by_part(axes, found, colour), lambda axes: _by_class(axes, found, colour)]
    if len(found.entropies):
        # Traces with entropies in another unit are not in the histogram.
        in_histogram = _colour(list(dict.fromkeys(trace.method for trace in found.traces if trace.normalised)))
        panels.insert(0, lambda axes: _histogram(axes, found, in_histogram))
    draw_plot(path, title, panels, width=4.4 * len(panels), height=4.2)


def _colour(methods: list[str]) -> str:
    return colour_of(methods[0]) if len(methods) == 1 else _MIXED


def _histogram(axes: Axes, found: EntropyStatistics, colour: str) -> None:
    counts, edges = np.histogram(found.entropies, _BINS, (0.0, 1.0))
    share = 100.0 * counts / counts.sum()
    axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=colour, linewidth=0)
    for number, tau in enumerate(found.taus):
        label = None if number else "tau " + ", ".join(f"{one:g}" for one in found.taus)
        axes.axvline(tau, color=INK, linestyle="--", linewidth=1.5, label=label)
    if found.valley.at is not None:
        axes.axvline(found.valley.at, color=INK, linestyle=":", linewidth=1.5, label=f"valley {found.valley.at:.2f}")
    percent_on_log_scale(axes)
    axes.set_xlim(0, 1)
    axes.set_title("How sure the model is")
    axes.set_xlabel("normalised entropy of a step")
    axes.set_ylabel("share of the steps, %")
    if found.taus or found.valley.at is not None:
        legend_below(axes, columns=2)


def _by_part(axes: Axes, found: EntropyStatistics, colour: str) -> None:
    shares = [100.0 * (count.share or 0.0) for count in found.by_part]
    width = 100.0 / PARTS
    axes.bar(np.arange(PARTS) * width, shares, width * 0.9, align="edge", color=colour, linewidth=0)
    axes.axhline(100.0 * (found.all.share or 0.0), color=INK, linestyle=":", linewidth=1.5, label="all steps")
    axes.set_xlim(0, 100)
    axes.set_title("Where in the text it explored")
    axes.set_xlabel("place in the text, %")
    axes.set_ylabel("exploration steps, %")
    legend_below(axes)


def _by_class(axes: Axes, found: EntropyStatistics, colour: str) -> None:
    there = {name: count for name, count in found.by_class.items() if count.steps}
    shares = [100.0 * (count.share or 0.0) for count in there.values()]
    places = np.arange(len(there))
    axes.barh(places, shares, 0.7, color=colour, linewidth=0)
    axes.set_yticks(places, [f"{name} ({count.steps:,})" for name, count in there.items()])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_title("On what kind of token")
    axes.set_xlabel("exploration steps, % of these tokens")
