"""The plots of a report, as SVG that stands in the page: no file, no script, readable in light and in dark."""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from selar_local.evaluation.estimates import Figure, MethodSummary
from selar_local.evaluation.records import Study
from selar_local.evaluation.summary import Summary
from selar_local.evaluation.sweep import Sweep, sweeps_of
from selar_local.evaluation.wording import percent, rounded, with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Plot", "plots_of"]

# Text and axes are drawn in this colour, which becomes the page's own.
_INK = "#010203"
#: Okabe and Ito's colours that have enough contrast on white and on dark grey; told apart by the colour-blind too.
_COLOURS = ("#0084c7", "#d55e00", "#009e73", "#c06a9b", "#a08000", "#7a7a7a")
_MARKS = "osD^vP"
_HISTOGRAMS = 4  # methods in one plot
_STYLE = {
    "svg.fonttype": "none", "text.parse_math": False, "font.family": ["sans-serif"], "font.sans-serif": ["DejaVu Sans"],
    "font.size": 11, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8,
    "legend.frameon": False, "axes.titlesize": 11,
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor"), _INK
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Plot:
    """title: also the caption. alt: what it shows, in words. svg: the element, for an HTML page."""

    title: str
    alt: str
    svg: str


def plots_of(study: Study, summary: Summary) -> Iterator[Plot]:
    """Accuracy by method, accuracy against tokens, each sweep, the entropies: those that the study has figures for.

    Needs matplotlib.
    """
    known = [one for one in summary.methods if one.accuracy.value is not None]
    if known:
        yield _accuracies(summary, known)
        yield _against_tokens(summary, known)
    by_label = {one.label: one for one in known}
    for sweep in sweeps_of(study):
        points = [(_number(value), by_label.get(run.label)) for value, run in sweep.runs.items()]
        numbers = [(x, one) for x, one in points if x is not None and one is not None]
        if len(numbers) > 1:
            yield _sweep(summary, sweep, numbers)
    with_entropies = [one for one in summary.methods if sum(one.entropies)]
    if with_entropies:
        yield _entropies(summary, with_entropies)


def _accuracies(summary: Summary, methods: Sequence[MethodSummary]) -> Plot:
    def draw(axes: Axes) -> None:
        places = range(len(methods))
        for place, one in zip(places, methods, strict=True):
            value, below, above = _bar(one.accuracy, 100)
            axes.errorbar(value, place, xerr=[[below], [above]], fmt="o", color=_colour(place), capsize=4, markersize=7)
        axes.set_yticks(list(places), [one.label for one in methods])
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_xlabel("accuracy in percent, 95 % interval")
        axes.grid(axis="x", color=_INK, alpha=0.15, linewidth=0.6)

    told = "; ".join(f"{one.label} {with_interval(one.accuracy)}" for one in methods)
    return _plot(
        f"Accuracy by method: {_where(summary)}", f"Accuracy in percent: {told}.", [draw], 1.1 + 0.42 * len(methods)
    )


def _against_tokens(summary: Summary, methods: Sequence[MethodSummary]) -> Plot:
    def draw(axes: Axes) -> None:
        for place, one in enumerate(methods):
            x, left, right = _bar(one.tokens)
            y, below, above = _bar(one.accuracy, 100)
            axes.errorbar(
                x, y, xerr=[[left], [right]], yerr=[[below], [above]], fmt=_mark(place),
                color=_colour(place), capsize=3, markersize=7, label=one.label,
            )  # fmt: skip
        axes.set_xlabel("tokens per answer, 95 % interval")
        axes.set_ylabel("accuracy in percent")
        axes.grid(color=_INK, alpha=0.15, linewidth=0.6)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)

    told = "; ".join(
        f"{one.label} {rounded(one.tokens.value)} tokens, {percent(one.accuracy.value)} %" for one in methods
    )
    rows = (len(methods) + 1) // 2
    return _plot(f"Accuracy against tokens: {_where(summary)}", f"By method: {told}.", [draw], 3.4 + 0.25 * rows)


def _sweep(summary: Summary, sweep: Sweep, points: Sequence[tuple[float, MethodSummary]]) -> Plot:
    reference = next((one.accuracy for one in summary.methods if one.label == summary.baseline), None)
    chosen = next((_number(one.value) for one in summary.chosen if one.label in {m.label for _, m in points}), None)
    x = [value for value, _ in points]

    def accuracy(axes: Axes) -> None:
        bars = np.array([_bar(one.accuracy, 100) for _, one in points]).T
        axes.errorbar(x, bars[0], yerr=bars[1:], fmt="o-", color=_colour(0), capsize=4, label=sweep.base)
        if reference is not None and reference.value is not None:
            axes.axhline(100 * reference.value, color=_colour(1), linestyle="--", label=summary.baseline)
            if reference.low is not None and reference.high is not None:
                axes.axhspan(100 * reference.low, 100 * reference.high, color=_colour(1), alpha=0.15, linewidth=0)
        if chosen is not None:
            axes.axvline(chosen, color=_INK, alpha=0.4, linestyle=":", label="chosen")
        axes.set_ylabel("accuracy %")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    def explored(axes: Axes) -> None:
        bars = np.array([_bar(one.explored, 100) for _, one in points]).T
        axes.errorbar(x, bars[0], yerr=bars[1:], fmt="s-", color=_colour(2), capsize=4)
        axes.set_ylabel("exploration %")
        axes.set_xlabel(sweep.option)

    told = "; ".join(
        f"{value:g}: accuracy {with_interval(one.accuracy)}, exploration {percent(one.explored.value)}"
        for value, one in points
    )
    return _plot(
        f"Sweep of {sweep.option}, {sweep.base}: {_where(summary)}",
        f"Percent by {sweep.option}: {told}.",
        [accuracy, explored],
        4.4,
    )


def _entropies(summary: Summary, methods: Sequence[MethodSummary]) -> Plot:
    shown = methods[:_HISTOGRAMS]

    def draw(axes: Axes) -> None:
        for place, one in enumerate(shown):
            counts = np.array(one.entropies, dtype=float)
            share = np.where(counts > 0, 100 * counts / counts.sum(), np.nan)
            edges = np.linspace(0, 1, len(counts) + 1)
            axes.stairs(share, edges, color=_colour(place), linewidth=1.6, label=one.label, baseline=None)
            tau = _tau(one)
            if tau is not None:
                axes.axvline(
                    tau, color=_colour(place), linestyle="--", linewidth=1, label=f"tau {tau:g} of {one.label}"
                )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlim(0, 1)
        axes.set_xlabel("normalised entropy of the step")
        axes.set_ylabel("steps in percent")
        axes.grid(color=_INK, alpha=0.15, linewidth=0.6)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=1)

    told = "; ".join(f"{one.label} {_upper_share(one):.1f} % of steps at 0.5 or above" for one in shown)
    rest = f" Shown are {len(shown)} of {len(methods)} methods." if len(methods) > len(shown) else ""
    lines = len(shown) + sum(_tau(one) is not None for one in shown)
    return _plot(f"Entropy of the steps: {_where(summary)}", f"Histogram: {told}.{rest}", [draw], 3.4 + 0.25 * lines)


def _upper_share(one: MethodSummary) -> float:
    return 100 * sum(one.entropies[len(one.entropies) // 2 :]) / sum(one.entropies)


def _tau(one: MethodSummary) -> float | None:
    """The threshold of a method that has one, where it can be drawn."""
    tau = one.options.get("tau")
    drawable = isinstance(tau, (int, float)) and not isinstance(tau, bool) and 0 < tau <= 1
    return float(tau) if drawable and tau is not None else None


def _bar(figure: Figure, scale: float = 1) -> tuple[float, float, float]:
    """The value and how far the interval reaches below and above it; no reach where there is none."""
    value = np.nan if figure.value is None else scale * figure.value
    low = value if figure.low is None else min(scale * figure.low, value)
    high = value if figure.high is None else max(scale * figure.high, value)
    return value, value - low, high - value


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _where(summary: Summary) -> str:
    return f"{summary.task}, {summary.model}"


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _mark(place: int) -> str:
    """Colours come round after six methods: the marks then start one further."""
    return _MARKS[(place + place // len(_COLOURS)) % len(_MARKS)]


def _plot(title: str, alt: str, draw: Sequence[Callable[[Axes], None]], height: float) -> Plot:
    """Draw into one axes for each function, below each other with a common x axis."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    key = "p" + hashlib.sha256(f"{title}{alt}".encode()).hexdigest()[:10]
    settings: Any = {**_STYLE, "svg.hashsalt": key}
    with rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # of letters that matplotlib's own font lacks: the browser has them
        figure = Canvas(figsize=(5.6, height), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, function in zip(np.ravel(figure.subplots(len(draw), sharex=True)), draw, strict=True):
            function(axes)
        target = io.StringIO()
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Plot(title, alt, _for_a_page(target.getvalue(), key, title, alt))


def _for_a_page(svg: str, key: str, title: str, alt: str) -> str:
    """The bare element: in the page's colour, as wide as there is room, with a title and ids of its own."""
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    head, _, body = element.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", body).replace(_INK, "currentColor")
    names = f'<title id="{key}-t">{html.escape(title)}</title><desc id="{key}-d">{html.escape(alt)}</desc>'
    shape = box[0] if box else ""
    return f'<svg {shape} role="img" aria-labelledby="{key}-t {key}-d">{names}{body}'
