"""The plots of a report, as SVG inside the page: no file, no script, readable in light and in dark."""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from selar_local.evaluation.estimates import Figure, MethodSummary
from selar_local.evaluation.records import Study
from selar_local.evaluation.summary import Summary
from selar_local.evaluation.sweep import Sweep, sweeps_of
from selar_local.evaluation.wording import percent, rounded, with_interval
from selar_local.plotting import INK, Draw, colours_of, figure_of, legend_below, percent_on_log_scale, plot_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKS = "osD^vPX*<>hd"
_DASHES = ("-", "--", "-.", ":")
_HISTOGRAMS = 4  # methods in one plot


@dataclass(frozen=True)
class Plot:
    """title: also the caption. alt: what it shows, in words. svg: the element, for an HTML page."""

    title: str
    alt: str
    svg: str


class _Look(NamedTuple):
    """How a row of the study is drawn: the colour of its method, and what tells rows of one method apart."""

    colour: str
    mark: str
    dashes: str


def _looks(methods: Sequence[MethodSummary]) -> dict[str, _Look]:
    """By label. A method's first row has a solid line, its next ones have others."""
    colours = colours_of([one.method for one in methods])
    rows: Counter[str] = Counter()
    looks = {}
    for place, one in enumerate(methods):
        dashes = _DASHES[rows[one.method] % len(_DASHES)]
        looks[one.label] = _Look(colours[one.method], _MARKS[place % len(_MARKS)], dashes)
        rows[one.method] += 1
    return looks


def plots_of(study: Study, summary: Summary) -> Iterator[Plot]:
    """Accuracy against tokens, each sweep, the entropies: those that the study has figures for.

    Needs matplotlib.
    """
    known = [one for one in summary.methods if one.accuracy.value is not None]
    looks = _looks(summary.methods)
    if known:
        yield _against_tokens(summary, known, looks)
    by_label = {one.label: one for one in known}
    for sweep in sweeps_of(study):
        points = [(_number(value), by_label.get(run.label)) for value, run in sweep.runs.items()]
        numbers = [(x, one) for x, one in points if x is not None and one is not None]
        if len(numbers) > 1:
            yield _sweep(summary, sweep, numbers, looks)
    with_entropies = [one for one in summary.methods if sum(one.entropies)]
    if with_entropies:
        yield _entropies(summary, with_entropies, looks)


def _against_tokens(summary: Summary, methods: Sequence[MethodSummary], looks: Mapping[str, _Look]) -> Plot:
    def draw(axes: Axes) -> None:
        for one in methods:
            x, left, right = _bar(one.tokens)
            y, below, above = _bar(one.accuracy, 100)
            look = looks[one.label]
            axes.errorbar(
                x, y, xerr=[[left], [right]], yerr=[[below], [above]], fmt=look.mark,
                color=look.colour, capsize=3, elinewidth=1, markersize=9, label=one.label,
            )  # fmt: skip
        axes.set_xlabel("tokens per answer, 95 % interval")
        axes.set_ylabel("accuracy in percent")
        legend_below(axes, columns=2)

    values = "; ".join(
        f"{one.label} {rounded(one.tokens.value)} tokens, {with_interval(one.accuracy)} %" for one in methods
    )
    rows = (len(methods) + 1) // 2
    return _plot("Accuracy against tokens", summary, f"By method: {values}.", [draw], 3.4 + 0.25 * rows)


def _sweep(
    summary: Summary, sweep: Sweep, points: Sequence[tuple[float, MethodSummary]], looks: Mapping[str, _Look]
) -> Plot:
    reference = next((one for one in summary.methods if one.label == summary.baseline), None)
    choice = next((one for one in summary.chosen if (one.base, one.option) == (sweep.base, sweep.option)), None)
    chosen = None if choice is None or choice.value is None else _number(choice.value)
    x = [value for value, _ in points]
    colour = looks[points[0][1].label].colour

    def accuracy(axes: Axes) -> None:
        bars = np.array([_bar(one.accuracy, 100) for _, one in points]).T
        axes.errorbar(x, bars[0], yerr=bars[1:], fmt="o-", color=colour, capsize=4, label=sweep.base)
        if reference is not None and reference.accuracy.value is not None:
            value, below, above = _bar(reference.accuracy, 100)
            own = looks[reference.label].colour
            axes.axhline(value, color=own, linestyle="--", label=summary.baseline)
            axes.axhspan(value - below, value + above, color=own, alpha=0.15, linewidth=0)
        if chosen is not None:
            axes.axvline(chosen, color=INK, alpha=0.6, linestyle=":", label="chosen")
        axes.set_ylabel("accuracy %")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)

    def explored(axes: Axes) -> None:
        bars = np.array([_bar(one.explored, 100) for _, one in points]).T
        axes.errorbar(x, bars[0], yerr=bars[1:], fmt="s-", color=colour, capsize=4)
        axes.set_ylabel("exploration %")
        axes.set_xlabel(sweep.option)

    values = "; ".join(
        f"{value:g}: accuracy {with_interval(one.accuracy)}, exploration {percent(one.explored.value)}"
        for value, one in points
    )
    title, alt = f"Sweep of {sweep.option}, {sweep.base}", f"Percent by {sweep.option}: {values}."
    return _plot(title, summary, alt, [accuracy, explored], 4.4)


def _entropies(summary: Summary, methods: Sequence[MethodSummary], looks: Mapping[str, _Look]) -> Plot:
    shown = methods[:_HISTOGRAMS]
    thresholds = {(one.method, tau): looks[one.label].colour for one in shown if (tau := _tau(one)) is not None}

    def draw(axes: Axes) -> None:
        for one in shown:
            counts = np.array(one.entropies, dtype=float)
            share = np.where(counts > 0, 100 * counts / counts.sum(), np.nan)
            edges = np.linspace(0, 1, len(counts) + 1)
            look = looks[one.label]
            axes.stairs(
                share, edges, color=look.colour, linestyle=look.dashes, linewidth=1.6, label=one.label, baseline=None
            )
        for (method, tau), colour in thresholds.items():
            axes.axvline(tau, color=colour, linestyle=":", linewidth=1.4, label=f"tau {tau:g} of {method}")
        percent_on_log_scale(axes)
        axes.set_xlim(0, 1)
        axes.set_xlabel("normalised entropy of the step")
        axes.set_ylabel("steps in percent")
        legend_below(axes)

    values = "; ".join(f"{one.label} {_upper_share(one):.1f} % of steps at 0.5 or above" for one in shown)
    rest = f" The plot shows {len(shown)} of {len(methods)} methods." if len(methods) > len(shown) else ""
    lines = len(shown) + len(thresholds)
    return _plot("Entropy of the steps", summary, f"Histogram: {values}.{rest}", [draw], 3.4 + 0.25 * lines)


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


def _plot(title: str, summary: Summary, alt: str, draw: Sequence[Draw], height: float) -> Plot:
    """Draw into one axes for each function, below each other with a common x axis."""
    title = f"{title}: {summary.task}, {summary.model}"
    key = "p" + hashlib.sha256(f"{title}{alt}".encode()).hexdigest()[:10]
    target = io.StringIO()
    with plot_style(key):
        figure = figure_of(draw, width=5.6, height=height, rows=len(draw))
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Plot(title, alt, _for_a_page(target.getvalue(), key, title, alt))


def _for_a_page(svg: str, key: str, title: str, alt: str) -> str:
    """The bare element: in the page's colour, as wide as there is room, with a title and ids of its own."""
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    head, _, body = element.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", body).replace(INK, "currentColor")
    names = f'<title id="{key}-t">{html.escape(title)}</title><desc id="{key}-d">{html.escape(alt)}</desc>'
    shape = box[0] if box else ""
    return f'<svg {shape} role="img" aria-labelledby="{key}-t {key}-d">{names}{body}'
