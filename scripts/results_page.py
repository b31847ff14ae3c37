"""The generated parts of docs/RESULTS.md, and its plots: the studies in docs/results/ as tables."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from selar_local.evaluation.estimates import Figure
from selar_local.evaluation.logs import read_studies
from selar_local.evaluation.report import Report, as_markdown, report_of
from selar_local.evaluation.summary import Summary, summarise
from selar_local.evaluation.sweep import sweeps_of
from selar_local.evaluation.wording import (
    more_per_thousand,
    per_thousand,
    percent,
    points,
    rounded,
    with_interval,
)
from selar_local.plotting import INK, colours_of, draw_plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parent.parent / "docs"
FIRST = DOCS / "results"
SECOND = FIRST / "second-study"
IMAGES = DOCS / "images"

#: The second study's parts (docs/results/PLAN.md): what their files' names have, and how many there are.
_FILES = {"stage 1": ("-gsm8k_a-", 16), "stage 2": ("-gsm8k_b-", 8), "stage 2, secondary": ("-math500_dev-", 4)}
#: Model, what is compared, its accuracy, its difference from cot (None for cot itself).
Row = tuple[str, str, Figure, Figure | None]


def first_study() -> list[Path]:
    """The files of the first study."""
    return sorted(FIRST.glob("*.json"))


def files_of(part: str) -> list[Path]:
    """The files of a part of the second study."""
    return sorted(SECOND.glob(f"*{_FILES[part][0]}*.json"))


@functools.cache
def studies_of(part: str) -> tuple[Summary, ...]:
    """The studies of a part; none before the part is whole, since nobody looks at a difference before."""
    files = files_of(part)
    return tuple(map(summarise, read_studies(files))) if len(files) == _FILES[part][1] else ()


def waiting(part: str) -> str:
    """How much of a part is there."""
    there, all_ = len(files_of(part)), _FILES[part][1]
    return f"{there} of {all_} pieces are there. Nobody looks at a difference before all are.\n"


def part_table(part: str) -> str:
    """The arms of a part: accuracy, and what else people ask, each with its difference from cot."""
    heads = (
        "model", "problems", "method", "right, in percent", "points more than `cot`", "slips per 1,000 words",
        "more than `cot`", "mismatched steps, in percent", "tokens per answer",
    )  # fmt: skip
    rows = []
    for found in studies_of(part):
        less = {one.method: one for one in found.comparisons}
        for one in found.methods:
            than = less.get(one.label)
            rows.append((
                short(found.model), found.task, one.label, with_interval(one.accuracy),
                with_interval(than.difference, points) if than else "",
                with_interval(one.slips["slips"], per_thousand),
                with_interval(than.slips, more_per_thousand) if than and than.slips else "",
                percent(one.mismatched.value) if one.mismatched else "", rounded(one.tokens.value),
            ))  # fmt: skip
    return table(heads, rows) if rows else waiting(part)


def rows_of(summary: Summary, words: str = "") -> list[Row]:
    """A study's methods; words: before their names."""
    less = {one.method: one.difference for one in summary.comparisons}
    return [(short(summary.model), words + one.label, one.accuracy, less.get(one.label)) for one in summary.methods]


@functools.cache
def first_differences() -> tuple[Row, ...]:
    """The first study's methods on GSM8K, without sweeps."""
    studies = [
        one for one in read_studies(first_study()) if one.task == "gsm8k" and not any(True for _ in sweeps_of(one))
    ]
    return tuple(row for study in studies for row in rows_of(summarise(study)))


def second_differences() -> list[Row]:
    """The second study's arms, stage 2 first."""
    parts = "stage 2", "stage 2, secondary", "stage 1"
    return [row for part in parts for one in studies_of(part) for row in rows_of(one, f"{part}, {one.task}, ")]


def in_short(rows: Iterable[Row]) -> str:
    """Every method's accuracy, and its difference from ordinary sampling."""
    return table(
        ("model", "method", "right, in percent", "points more than `cot`"),
        (
            (model, label, with_interval(accuracy), "" if found is None else with_interval(found, points))
            for model, label, accuracy, found in rows
        ),
    )


def short(model: str) -> str:
    """A model without what all of them have in common."""
    return model.partition("-instruct")[0]


def plot_results() -> None:
    """The differences with their intervals, by model, as pictures: one of each study."""
    plot(
        IMAGES / "first-study.svg",
        "First study: accuracy on GSM8K against ordinary sampling (cot)",
        first_differences(),
    )
    if found := second_differences():
        plot(IMAGES / "results.svg", "Accuracy against ordinary sampling (cot)", found)


def plot(path: Path, title: str, rows: Iterable[Row]) -> None:
    """Differences with their intervals; each method has its colour."""
    drawn = [(model, label, found) for model, label, _, found in rows if found is not None]
    colours = colours_of(sorted({name_of(label) for _, label, _ in drawn}))

    def draw(axes: Axes) -> None:
        for place, (_, label, found) in enumerate(drawn):
            value, low, high = (100 * (end or 0.0) for end in (found.value, found.low, found.high))
            axes.errorbar(
                value, place, xerr=[[value - low], [high - value]], fmt="o", color=colours[name_of(label)], capsize=3
            )
        axes.axvline(0, color=INK, linewidth=1)
        names = (f"{model}: {label}   {with_interval(found, points)}" for model, label, found in drawn)
        axes.set_yticks(range(len(drawn)), list(names))
        axes.invert_yaxis()
        axes.set_xlabel("points more than cot, 95 % interval")

    draw_plot(path, title, [draw], width=10, height=1 + 0.35 * len(drawn))


def name_of(label: str) -> str:
    """The method of a row."""
    return label.rpartition(", ")[2].partition(" ")[0]


@functools.cache
def report(*files: Path) -> str:
    """What a report of these studies says, without the section on how to read it; headings one level down."""
    made = report_of(read_studies(files), plots=False)
    page = as_markdown(Report(made.title, tuple(one for one in made.sections if one.title != "How to read this")))
    return re.sub(r"^#", "##", page[page.index("## ") :], flags=re.MULTILINE)


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


#: The generated parts of the page by their names.
PARTS: dict[str, Callable[[], str]] = {
    **{part: functools.partial(part_table, part) for part in _FILES},
    "stage 2 in full": lambda: report(*files_of("stage 2")) if studies_of("stage 2") else waiting("stage 2"),
    "first study in short": lambda: in_short(first_differences()),
    "first study in full": lambda: report(*first_study()),
}
