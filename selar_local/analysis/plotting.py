"""Plots into PNG and SVG files, in one look. Needs matplotlib (extra `plots`), imported when the first is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selar_local.errors import MissingExtra, SelarError
from selar_local.install_hint import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["COLOURS", "INK", "SUFFIXES", "Draw", "draw_plot", "require_plots"]

SUFFIXES = (".png", ".svg")
#: Of Okabe and Ito's, with enough contrast on white; the colour-blind tell them apart, too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0568c")
INK = "#222222"
_STYLE: dict[str, Any] = {
    "text.parse_math": False, "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "font.size": 10,
    "svg.fonttype": "none", "svg.hashsalt": "selar-local", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": INK, "grid.alpha": 0.15, "grid.linewidth": 0.6,
    "legend.frameon": False, "axes.titlesize": 10, "axes.titlelocation": "left", "figure.titlesize": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}  # fmt: skip

Draw = Callable[["Axes"], None]


def require_plots() -> None:
    """Raises MissingExtra where there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra(f"a plot needs matplotlib; {install_hint('plots')}") from None


def draw_plot(path: Path, title: str, draw: list[Draw], *, width: float, height: float, legend: bool = False) -> None:
    """One axes for each function, side by side, into a .png or .svg file; the same figures give the same bytes.

    width, height: of all, in inches. legend: one of the first axes' lines, below all of them. Raises MissingExtra, and
    SelarError where the file cannot be written.
    """
    require_plots()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = _STYLE
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters in a file's name that the font lacks
        figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.01, ha="left")
        for axes, function in zip(np.ravel(figure.subplots(1, len(draw))), draw, strict=True):
            function(axes)
        if legend:
            lines, labels = figure.axes[0].get_legend_handles_labels()
            figure.legend(lines, labels, loc="outside lower center", ncols=len(labels))
        metadata = {"Date": None, "Creator": None} if path.suffix.lower() == ".svg" else {"Software": None}
        try:
            figure.savefig(path, dpi=160, metadata=metadata)
        except OSError as error:
            raise SelarError(f"cannot write the plot {path}: {error.strerror}") from None
