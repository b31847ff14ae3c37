"""The look of all plots, and plots as PNG and SVG files. Needs matplotlib, imported when the first one is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selar_local.errors import MissingExtra, SelarError
from selar_local.install_hint import install_hint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
#: Text and axes. A page that embeds an SVG replaces it with its own text colour.
INK = "#222222"
#: Colours with a contrast of 3 to 1 on white and on dark grey, which the colour-blind can tell apart. The first three
#: are close to Okabe and Ito's.
COLOURS = ("#0084c7", "#d55e00", "#009e73", "#8430fc", "#d8243c", "#8478fc", "#cc18a8", "#786078")
#: A method keeps its colour in every plot, whatever else the plot shows.
_OF_METHODS = dict(zip(("cot", "selar", "soft-thinking", "swir", "coconut", "cot-greedy"), COLOURS, strict=False))
_FREE = COLOURS[len(_OF_METHODS) :]
_STYLE: dict[str, Any] = {
    "text.parse_math": False, "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"], "font.size": 11,
    "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": INK, "grid.alpha": 0.15, "grid.linewidth": 0.6,
    "legend.frameon": False, "axes.titlesize": 11, "axes.titlelocation": "left", "figure.titlesize": 12,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor"), INK
    ),
}  # fmt: skip

Draw = Callable[["Axes"], None]


def require_plots() -> None:
    """Raises MissingExtra where there is no matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra(f"a plot needs matplotlib; {install_hint('plots')}") from None


def colours_of(methods: Sequence[str]) -> dict[str, str]:
    """The colour of each method by its name. Methods without a colour of their own get the free ones, in this order."""
    others = [name for name in dict.fromkeys(methods) if name not in _OF_METHODS]
    return _OF_METHODS | {name: _FREE[place % len(_FREE)] for place, name in enumerate(others)}


def colour_of(method: str) -> str:
    """The colour of a method in a plot that shows no other one."""
    return colours_of([method])[method]


@contextmanager
def plot_style(salt: str = "selar-local") -> Iterator[None]:
    """Draw and save plots within this block. salt: of the ids in an SVG; the same plot and salt give the same bytes."""
    from matplotlib import rc_context

    settings: Any = {**_STYLE, "svg.hashsalt": salt}
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of letters that matplotlib's font lacks
        yield


def figure_of(draw: Sequence[Draw], *, width: float, height: float, rows: int = 1) -> Figure:
    """A figure with one axes for each function, within `plot_style`. width, height: of the whole figure, in inches.

    rows: 1 puts the axes side by side; as many as functions puts them below each other, with one x axis.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, len(draw) // rows, sharex=rows > 1)
    for axes, function in zip(np.ravel(grid), draw, strict=True):
        function(axes)
    return figure


def draw_plot(path: Path, title: str, draw: Sequence[Draw], *, width: float, height: float, legend: int = 0) -> None:
    """One axes for each function, side by side, into a .png or .svg file; the same figures give the same bytes.

    legend: columns of one legend below all axes, made of the lines of the first one; 0: none. Raises MissingExtra, and
    SelarError where the file cannot be written.
    """
    require_plots()
    with plot_style():
        figure = figure_of(draw, width=width, height=height)
        figure.suptitle(title, x=0.01, ha="left")
        if legend:
            figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=legend)
        metadata = {"Date": None, "Creator": None} if path.suffix.lower() == ".svg" else {"Software": None}
        try:
            figure.savefig(path, dpi=160, facecolor="white", metadata=metadata)
        except OSError as error:
            raise SelarError(f"cannot write the plot {path}: {error.strerror}") from None


def legend_below(axes: Axes, columns: int = 1) -> None:
    """The legend of the axes below their x axis, where it covers no data."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)


def percent_on_log_scale(axes: Axes) -> None:
    """A logarithmic y axis for percentages, with plain numbers: 0.1, 1, 10."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    # Few decades need more marks than the powers of ten.
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 1000 * low else (1.0,)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
