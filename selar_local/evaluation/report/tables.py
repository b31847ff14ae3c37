"""The paper's tables: accuracy by task, differences, ablation, efficiency, sweeps; and the facts of the runs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selar_local.evaluation import statistics
from selar_local.evaluation.config import GENERATED_TASK, defaults_of, grades_last_number
from selar_local.evaluation.estimates import Figure, MethodSummary, compare, corrected
from selar_local.evaluation.pooling import seeds_of
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.summary import Summary
from selar_local.evaluation.sweep import sweeps_of
from selar_local.evaluation.wording import (
    NOTHING,
    duration,
    p_text,
    percent,
    points,
    rounded,
    with_interval,
    with_signs,
)
from selar_local.methods import METHODS, Method
from selar_local.options import shown as written

_DIFFERENCES = (
    "p (Holm): p after Holm's correction for the comparisons in this table. detectable: the smallest true difference, "
    "in points, that a study of this size finds with 80 % probability (at the strictest step of the correction)."
)
_EFFICIENCY = (
    "TPCA (tokens per correct answer): all generated tokens divided by the number of correct answers. truncated: the "
    "token budget or the context ended the answer. repetitive: the answer ends in a loop."
)
_ENGINE = ("thinking", "ctx_size", "batch_size", "cache_type_k", "cache_type_v", "flash_attn", "gpu_layers")


@dataclass(frozen=True)
class Table:
    """Rows of texts under a head. note: a line below it."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def main(summaries: Sequence[Summary]) -> Iterator[Table]:
    """One table a model: methods against tasks, and the mean over tasks where a method has them all.

    Two studies of one task have the same problems in part: there is no mean over them.
    """
    for model in dict.fromkeys(one.model for one in summaries):
        of_model = [one for one in summaries if one.model == model]
        labels = list(dict.fromkeys(method.label for one in of_model for method in one.methods))
        several = len({one.task for one in of_model}) == len(of_model) > 1
        head = ("method", *(f"{one.task} (n = {one.problems})" for one in of_model), *(["mean"] if several else []))
        rows = []
        for label in labels:
            found = [next((one for one in summary.methods if one.label == label), None) for summary in of_model]
            row = [label, *(_accuracy_in(*pair) for pair in zip(of_model, found, strict=True))]
            rows.append((*row, *([_mean([None if one is None else one.accuracy for one in found])] if several else [])))
        yield Table(f"Accuracy in percent: {model}", head, tuple(rows))


def _accuracy_in(summary: Summary, method: MethodSummary | None) -> str:
    if method is None:
        return NOTHING
    few = method.answers < max(one.answers for one in summary.methods)
    return with_interval(method.accuracy) + (f" ({method.answers:,} answers)" if few else "")


def _mean(cells: Sequence[Figure | None]) -> str:
    known = [
        (cell.value, cell.low, cell.high)
        for cell in cells
        if cell is not None and cell.value is not None and cell.low is not None and cell.high is not None
    ]
    return with_interval(Figure.of(statistics.mover(known))) if len(known) == len(cells) else NOTHING


def differences(summary: Summary) -> Table | None:
    """Every method against the baseline; None where nothing is compared."""
    if not summary.comparisons:
        return None
    rows = tuple(
        (
            one.method, with_interval(one.difference, points), p_text(one.p), p_text(one.p_corrected),
            percent(one.minimum_detectable), str(one.problems), one.verdict,
        )
        for one in summary.comparisons
    )  # fmt: skip
    head = ("method", "points", "p", "p (Holm)", "detectable", "problems", "shown")
    return Table(f"Difference from {summary.baseline}", head, rows, _DIFFERENCES)


def efficiency(summary: Summary) -> Table:
    """Tokens, TPCA, exploration, truncation, repetition and wall time of every method."""
    against = {one.method: one.tokens for one in summary.comparisons}
    compares = bool(against)
    more = [f"tokens, less {summary.baseline}'s"] if compares else []
    unequal = len({one.answers for one in summary.methods}) > 1
    head = (
        "method", *(["answers"] if unequal else []), "tokens per answer", *more, "TPCA", "exploration %", "truncated %",
        "repetitive %", "wall time",
    )  # fmt: skip
    rows = []
    for one in summary.methods:
        tokens = with_signs(against[one.label]) if one.label in against else ""
        shares = (with_interval(figure) for figure in (one.explored, one.truncated, one.repetitive))
        rows.append(
            (
                one.label, *([f"{one.answers:,}"] if unequal else []), with_interval(one.tokens, rounded),
                *([tokens] if compares else []), _tpca(one), *shares, duration(one.wall_seconds),
            )
        )  # fmt: skip
    return Table("Efficiency", head, tuple(rows), _EFFICIENCY)


def _tpca(one: MethodSummary) -> str:
    if one.tpca.value is None:
        return f"{NOTHING} (nothing correct)" if one.answers else NOTHING
    return with_interval(one.tpca, rounded)


def ablation_of(method: type[Method], options: Mapping[str, Any]) -> str | None:
    """The one of the method's ablations whose options are set so; the full method where none is, None for several."""
    full, *parts = method.ablations
    found = [name for name in parts if _set_so(method, options, method.ablations[name])]
    return full if not found else found[0] if len(found) == 1 else None


def _set_so(method: type[Method], options: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    return all({**defaults_of(method.name), **options}[name] == value for name, value in wanted.items())


def ablations(study: Study, summary: Summary) -> Iterator[Table]:
    """One table for each method that the study has with and without one of its parts, as the options tell.

    Each ablation is compared with the full method of the same other options, p corrected over the rows.
    """
    for method in METHODS.values():
        runs = [run for run in study.runs if run.method == method.name and method.ablations]
        kinds = [(ablation_of(method, run.options), run) for run in runs]
        pairs = [
            (name, run, full)
            for name in list(method.ablations)[1:]
            for kind, run in kinds
            if kind == name and (full := _full_of(method, name, run, kinds)) is not None
        ]
        if pairs:
            yield _ablation(next(iter(method.ablations)), pairs, summary)


def _full_of(
    method: type[Method], name: str, run: MethodRun, kinds: Sequence[tuple[str | None, MethodRun]]
) -> MethodRun | None:
    """The full method with the run's other options."""
    default = defaults_of(method.name)
    others = default.keys() - method.ablations[name].keys()
    for kind, full in kinds:
        one, other = {**default, **run.options}, {**default, **full.options}
        if kind == next(iter(method.ablations)) and all(one[option] == other[option] for option in others):
            return full
    return None


def _ablation(title: str, pairs: Sequence[tuple[str, MethodRun, MethodRun]], summary: Summary) -> Table:
    found = corrected([compare(run, full) for _, run, full in pairs])
    by_label = {one.label: one for one in summary.methods}
    used = list({full.label: full for _, _, full in pairs}.values())

    def row(name: str, run: MethodRun, full: MethodRun, *difference: str) -> tuple[str, ...]:
        named = f"{name}, of {full.label}" if len(used) > 1 else name
        return named, *_figures(by_label[run.label]), *difference

    rows = [row(title, full, full, "", "") for full in used]
    for pair, comparison in zip(pairs, found, strict=True):
        rows.append(row(*pair, with_interval(comparison.difference, points), p_text(comparison.p_corrected)))
    head = ("variant", "accuracy %", "exploration %", "tokens per answer", f"points vs {title}", "p (Holm)")
    return Table("Ablation", head, tuple(rows))


def _figures(one: MethodSummary) -> tuple[str, str, str]:
    return with_interval(one.accuracy), with_interval(one.explored), with_interval(one.tokens, rounded)


def sweeps(study: Study, summary: Summary) -> Iterator[Table]:
    """One table a sweep: every value on all problems, the chosen one marked; the choice itself is a sentence."""
    by_label = {one.label: one for one in summary.methods}
    for sweep in sweeps_of(study):
        choice = next((one for one in summary.chosen if (one.base, one.option) == (sweep.base, sweep.option)), None)
        rows = []
        for value, run in sweep.runs.items():
            mark = " (chosen)" if choice is not None and choice.value == value else ""
            chosen_by = NOTHING if choice is None else percent(choice.chosen_by[value])
            rows.append((f"{value}{mark}", *_figures(by_label[run.label]), chosen_by))
        head = (sweep.option, "accuracy %", "exploration %", "tokens per answer", "accuracy % on the choosing part")
        note = "" if choice is None else choice.sentence
        yield Table(f"Sweep of {sweep.option}: {sweep.base}", head, tuple(rows), note)


def facts(title: str, summary: Summary) -> Table:
    """What is needed to repeat the study: the model file, versions, settings, options, and the command line."""
    rows = [("task", summary.task), ("model", summary.model), ("command", command_of(summary))]
    rows += [(name, shown(value)) for name, value in summary.facts.items() if name not in ("task", "model")]
    rows += [(f"options of {one.label}", shown(one.options)) for one in summary.methods if one.options]
    return Table(title, ("fact", "value"), tuple(rows))


def shown(value: Any) -> str:
    """A fact in words."""
    if isinstance(value, Mapping):
        inner = ((name, f"({shown(one)})" if isinstance(one, Mapping) else shown(one)) for name, one in value.items())
        return ", ".join(f"{name} {text}" for name, text in inner) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or "none"
    return "none" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)


def command_of(summary: Summary) -> str:
    """The command line that makes the study again, as far as its facts tell; options of methods by their values.

    Of a study that was put together of several seeds: that of the first, and the other seeds. With the methods of all.
    """
    known = summary.facts
    words = ["selar-local", "eval", summary.model]
    words += [] if summary.task == known.get("data") else ["--task", summary.task]  # a file of one's own has no task
    words += ["--methods", ",".join(map(_spec, summary.methods))]
    flags = {"data": known.get("data"), "limit": known.get("problems", summary.problems)}
    flags |= {name: known.get(name) for name in ("level", "samples", "parallel", "max_tokens", "seed")}
    first, *others = seeds_of(known) or [None]
    if others:
        samples = flags["samples"]
        flags |= {"samples": samples // (1 + len(others)) if isinstance(samples, int) else None, "seed": first}
    given = known.get("sampling_given")
    flags |= given if isinstance(given, Mapping) else {}
    flags |= {name: known.get(name) for name in _ENGINE}
    for name, value in flags.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif value is not None and not isinstance(value, Mapping):  # one that differs between the parts is in the facts
            words += [f"--{flag}", str(value)]
    for stop in known.get("stop") or ():
        words += ["--stop", str(stop)]
    words += _grading(summary)
    parts = "" if len({one.answers for one in summary.methods}) < 2 else " (not every method with every seed)"
    return shlex.join(words) + "".join(f"; again with --seed {seed}" for seed in others) + (parts if others else "")


def _grading(summary: Summary) -> list[str]:
    """The flag of the grading rule, unless it is the paper's with a task that has it by default."""
    by_last_number = summary.facts.get("last_number")
    if by_last_number:
        return ["--last-number"]
    own = GENERATED_TASK if summary.task == summary.facts.get("data") else summary.task
    return ["--no-last-number"] if by_last_number is False and grades_last_number(own) else []


def _spec(one: MethodSummary) -> str:
    """``selar:tau=0;symbol_guard=off``: the options that are not the defaults."""
    default = defaults_of(one.method)
    own = {name: value for name, value in one.options.items() if default.get(name) != value}
    return one.method + ("" if not own else ":" + ";".join(f"{name}={written(value)}" for name, value in own.items()))
