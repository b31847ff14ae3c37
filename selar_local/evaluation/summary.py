"""The summary of a study: figures, comparisons, sentences, a table for the terminal, and one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from selar_local.evaluation.estimates import (
    Comparison,
    Figure,
    MethodSummary,
    compare,
    corrected,
    describe,
    problems_of,
)
from selar_local.evaluation.pooling import seeds_of
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.several import Several, several_of
from selar_local.evaluation.sweep import Choice, chosen_of
from selar_local.evaluation.wording import compared, p_text, per_thousand, percent, points, rounded, with_interval

_WIDTH = 100
_GAP = 2
_COMMON = "a comparison uses only those that both methods have"
_SHORTEST = 8  # characters of a label that are kept, whatever else is in the row


@dataclass(frozen=True)
class Summary:
    """A study in figures.

    problems: that any method has an answer to. comparisons: of every method with the baseline, p corrected over all of
    them; empty where the study has no such method. chosen: of sweeps. several: methods with several answers. notes:
    what a reader should know besides.
    """

    task: str
    model: str
    baseline: str
    problems: int
    methods: tuple[MethodSummary, ...]
    comparisons: tuple[Comparison, ...]
    chosen: tuple[Choice, ...] = ()
    several: tuple[Several, ...] = ()
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def summarise(study: Study, baseline: str = "cot") -> Summary:
    """The figures of a study, its methods compared with the one labelled `baseline`.

    A sweep's split is made with the study's seed, the first of several. The bootstrap has a fixed seed: the same
    answers give the same summary.
    """
    reference = next((run for run in study.runs if run.label == baseline), None)
    compared_with = [run for run in study.runs if reference is not None and run is not reference]
    comparisons = [compare(run, reference) for run in compared_with if reference is not None]
    every = set().union(*(problems_of(run) for run in study.runs))
    methods = tuple(describe(run) for run in study.runs)
    seed = next(iter(seeds_of(study.facts)), None)
    return Summary(
        task=study.task,
        model=study.model,
        baseline=baseline,
        problems=len(every),
        methods=methods,
        comparisons=corrected(comparisons),
        chosen=chosen_of(study, seed if isinstance(seed, int) else 0, baseline),
        several=several_of(study.runs, baseline),
        notes=(
            *_missing(study, methods, len(every), None if reference else baseline),
            *_too_long(study.runs),
            *_too_hard_or_easy(methods),
        ),
        facts=dict(study.facts),
    )


def _missing(study: Study, methods: Sequence[MethodSummary], problems: int, absent: str | None) -> list[str]:
    notes = []
    if absent is not None and len(methods) > 1:
        notes.append(f"there is no {absent} in this study: nothing is compared")
    # Samples are numbered alike for all methods, so this also counts samples of seeds that a method was not run with.
    most = len({answer.sample for run in study.runs for answer in run.answers})
    for one in methods:
        if not one.answers:
            notes.append(f"{one.label} has no answers")
        elif one.problems < problems:
            notes.append(f"{one.label} has {one.problems} of {problems} problems: {_COMMON}")
        elif one.answers < problems * most:
            notes.append(f"{one.label} has {one.answers} of {problems * most} answers: {_COMMON}")
    return notes


def _too_long(runs: Sequence[MethodRun]) -> list[str]:
    """Problems longer than the context."""
    lost = {answer.problem for run in runs for answer in run.answers if answer.truncated and not answer.tokens}
    if not lost:
        return []
    do, count = ("1 problem does", "counts") if len(lost) == 1 else (f"{len(lost)} problems do", "count")
    return [f"{do} not fit into the context and {count} as wrong; a larger -c makes room, if the model allows it"]


def _too_hard_or_easy(methods: Sequence[MethodSummary]) -> list[str]:
    """Where all methods get nearly nothing, or nearly everything right, there is little to compare."""
    known = [one.accuracy.value for one in methods if one.accuracy.value is not None]
    if known and max(known) <= 0.05:
        if all((one.truncated.value or 0) >= 0.5 for one in methods):
            return ["most answers were cut off before their end: raise the budget (-n)"]
        return ["no method gets more than 5 % right: the problems are too hard for this model to compare methods"]
    if known and min(known) >= 0.95:
        return ["every method gets 95 % right or more: the problems are too easy to compare methods"]
    return []


def sentences(summary: Summary) -> list[str]:
    """What the study shows, one line for each comparison and each choice; then what is missing."""
    most = max((one.answers for one in summary.methods), default=0)
    found = [compared(one, summary.problems, most) for one in summary.comparisons]
    return [*found, *(choice.sentence for choice in summary.chosen), *(f"note: {note}" for note in summary.notes)]


def table(summary: Summary) -> list[str]:
    """A table of at most 100 columns: accuracy and difference in percent with 95 % intervals.

    "tokens" is the mean of an answer, "explored" and "truncated" are percent.
    """
    head = ["method", "accuracy %", f"points vs {_cut(summary.baseline, 8)}", _p_name(summary), "tokens", "TPCA"]
    head += ["explored", "truncated"]
    by_label = {one.method: one for one in summary.comparisons}
    rows = [_row(one, by_label.get(one.label)) for one in summary.methods]
    if not summary.comparisons:
        head, rows = head[:2] + head[4:], [row[:2] + row[4:] for row in rows]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    widths[0] = min(widths[0], max(_WIDTH - sum(widths[1:]) - _GAP * (len(head) - 1), _SHORTEST))
    lines = []
    for row in [head, *rows]:
        cells = [_cut(row[0], widths[0]).ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append((" " * _GAP).join(cells).rstrip())
    return lines


def legend(summary: Summary) -> list[str]:
    """What the words of the table mean, in lines of at most 80 columns."""
    several = len(summary.comparisons)
    correction = f", corrected for {several} comparisons" if several > 1 else ""
    return [
        *([f"points: difference in accuracy; {_p_name(summary)}: two-sided{correction}"] if several else []),
        "TPCA: generated tokens per correct answer; [..]: 95 % interval",
        "explored: % of all steps; truncated: % of the answers, by -n or the context",
    ]


def _p_name(summary: Summary) -> str:
    return "p (Holm)" if len(summary.comparisons) > 1 else "p"


def slips(summary: Summary) -> list[str]:
    """A sentence with every method's slips per 1,000 words; none where they were not counted."""
    counted = [one for one in summary.methods if one.words is not None]
    found = ", ".join(f"{one.label} {with_interval(one.slips['slips'], per_thousand)}" for one in counted)
    return [f"doubled, merged and missing words per 1,000: {found}"] if found else []


def _row(one: MethodSummary, comparison: Comparison | None) -> list[str]:
    difference, p = ("", "") if comparison is None else (
        with_interval(comparison.difference, points), p_text(comparison.p_corrected)
    )  # fmt: skip
    return [
        one.label, with_interval(one.accuracy), difference, p, rounded(one.tokens.value), rounded(one.tpca.value),
        percent(one.explored.value), percent(one.truncated.value),
    ]  # fmt: skip


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 2] + ".."


def as_dict(summary: Summary) -> dict[str, Any]:
    """The JSON object of ``eval --json``: shares 0 to 1, None where there is no figure."""
    return {
        "task": summary.task,
        "model": summary.model,
        "methods": {one.label: _method_dict(one) for one in summary.methods},
        "comparisons": [_comparison_dict(one) for one in summary.comparisons],
        "baseline": summary.baseline,
        "problems": summary.problems,
        **({"several": {one.label: _several_dict(one) for one in summary.several}} if summary.several else {}),
        "chosen": [_choice_dict(one) for one in summary.chosen],
        "notes": list(summary.notes),
        "facts": dict(summary.facts),
    }


def _method_dict(one: MethodSummary) -> dict[str, Any]:
    return {
        "n": one.problems,
        "accuracy": one.accuracy.value,
        "interval": _ends(one.accuracy),
        "tokens_per_answer": one.tokens.value,
        "tpca": one.tpca.value,
        "explored_share": one.explored.value,
        "truncated": one.truncated.value,
        "repetitive": one.repetitive.value,
        **{f"{name}_interval": _ends(getattr(one, name)) for name in ("tokens", "tpca", "explored")},
        **({} if one.words is None else {"words_per_answer": one.words.value, "slips_per_1000_words": _slips(one)}),
        **({} if one.mismatched is None else {"mismatched_share": one.mismatched.value}),
        **_fields(one, "answers", "samples", "wall_seconds", "method"),
        "options": dict(one.options),
        "entropies": list(one.entropies),
    }


def _slips(one: MethodSummary) -> dict[str, Any]:
    """By kind and together, each with the ends of its interval."""
    return {name: _thousandths(figure) for name, figure in one.slips.items()}


def _thousandths(figure: Figure) -> list[float | None]:
    """The value and the ends of its interval."""
    return [None if value is None else 1000 * value for value in (figure.value, figure.low, figure.high)]


def _several_dict(one: Several) -> dict[str, Any]:
    """At the tokens that all methods have; `k` answers."""
    return {
        "k": one.k,
        **{name: figure.value for name, figure in one.shares.items()},
        **{f"{name}_interval": _ends(figure) for name, figure in one.shares.items()},
        **{f"{name}_difference": [figure.value, *_ends(figure)] for name, figure in one.differences.items()},
    }


def _comparison_dict(one: Comparison) -> dict[str, Any]:
    return {
        **_fields(one, "method", "baseline"),
        "difference": one.difference.value,
        "interval": _ends(one.difference),
        **_fields(one, "p", "p_corrected"),
        "n": one.problems,
        **_fields(one, "answers", "minimum_detectable", "verdict"),
        "tokens_difference": one.tokens.value,
        "tokens_interval": _ends(one.tokens),
        **({} if one.slips is None else {"slips_per_1000_words_difference": _thousandths(one.slips)}),
    }


def _choice_dict(one: Choice) -> dict[str, Any]:
    """`value` and `method` are None where nothing separates the values."""
    return {
        "method": one.label,
        **_fields(one, "base", "option", "value", "p", "seed", "choosing_problems", "reporting_problems"),
        "chosen_by": dict(one.chosen_by),
        "accuracy": None if one.accuracy is None else one.accuracy.value,
        "interval": [None, None] if one.accuracy is None else _ends(one.accuracy),
        "comparison": None if one.comparison is None else _comparison_dict(one.comparison),
    }


def _fields(one: MethodSummary | Comparison | Choice, *names: str) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}


def _ends(figure: Figure) -> list[float | None]:
    return [figure.low, figure.high]
