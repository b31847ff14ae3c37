"""Sweeps of one option: the setting is chosen on one part of the problems and reported on the other.

The best of several settings looks better on the problems it was chosen by than it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from selar_local.evaluation import statistics
from selar_local.evaluation.estimates import Comparison, Figure, accuracy_of, answers_of, compare, corrected, only
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.wording import compared, percent

__all__ = ["Choice", "Sweep", "chosen_of", "split", "sweeps_of"]

_LABEL = re.compile(r"(?P<base>.+) (?P<option>[a-z_]+)=(?P<value>\S+)")


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in one option. runs: by its value as the labels have it, ascending where those are numbers."""

    base: str
    option: str
    runs: Mapping[str, MethodRun]


@dataclass(frozen=True)
class Choice:
    """The setting that did best on the choosing part, and what it does on the reporting part.

    chosen_by: accuracy of each setting on the choosing part. accuracy, comparison: on the reporting part alone; the
    comparison is None where the study has no baseline, or has chosen it, and its p is corrected where there are
    several sweeps. seed: of the split.
    """

    option: str
    value: str
    label: str
    seed: int
    choosing_problems: int
    reporting_problems: int
    chosen_by: Mapping[str, float]
    accuracy: Figure
    comparison: Comparison | None

    @property
    def sentence(self) -> str:
        """What was chosen, of what, and how it did."""
        own, base = self.accuracy, self.label.rpartition(f" {self.option}=")[0]
        told = f"accuracy {percent(own.value)} %, 95 % interval {percent(own.low)} to {percent(own.high)}"
        against = "" if self.comparison is None else f"; {compared(self.comparison)}"
        return (
            f"{base}: {self.option} {self.value} was chosen of {', '.join(self.chosen_by)} on {self.choosing_problems} "
            f"problems ({percent(self.chosen_by[self.value])} % right there); on the other {self.reporting_problems}: "
            f"{told}{against}"
        )


def split(problem: str, seed: int = 0) -> str:
    """The part of a problem, "choose" or "report": by a hash of its id, half of the problems each."""
    digest = hashlib.sha256(f"{seed}\n{problem}".encode()).digest()
    return "choose" if digest[0] < 128 else "report"


def sweeps_of(study: Study) -> tuple[Sweep, ...]:
    """The sweeps in a study: runs with labels such as `selar tau=0.3`, at least two that differ in the value alone."""
    found: dict[tuple[str, str], dict[str, MethodRun]] = {}
    for run in study.runs:
        parts = _LABEL.fullmatch(run.label)
        if parts is not None:
            found.setdefault((parts["base"], parts["option"]), {})[parts["value"]] = run
    return tuple(
        Sweep(base, option, dict(sorted(runs.items(), key=lambda item: _order(item[0]))))
        for (base, option), runs in found.items()
        if len(runs) > 1
    )


def chosen_of(
    study: Study, seed: int = 0, baseline: str = "cot", *, resamples: int = statistics.RESAMPLES
) -> tuple[Choice, ...]:
    """The best setting of each sweep (ties: fewer tokens), chosen and reported on different problems.

    Only answers (problem and sample) that all settings and the baseline have count. A sweep without a problem in a part
    is left out.
    """
    reference = next((run for run in study.runs if run.label == baseline), None)
    choices = [one for sweep in sweeps_of(study) if (one := _chosen(sweep, reference, seed, resamples)) is not None]
    told = iter(corrected([one.comparison for one in choices if one.comparison is not None]))
    return tuple(one if one.comparison is None else replace(one, comparison=next(told)) for one in choices)


def _chosen(sweep: Sweep, baseline: MethodRun | None, seed: int, resamples: int) -> Choice | None:
    common = set.intersection(*(answers_of(run) for run in [*sweep.runs.values(), *([baseline] if baseline else [])]))
    parts = {part: {one for one, _ in common if split(one, seed) == part} for part in ("choose", "report")}
    if not all(parts.values()):
        return None
    scores = {value: _score(only(run, common), parts["choose"]) for value, run in sweep.runs.items()}
    best = max(scores, key=scores.__getitem__)
    run = sweep.runs[best]
    accuracy = accuracy_of(only(run, common), parts["report"], resamples=resamples)
    if baseline is None or baseline is run:
        comparison = None
    else:
        comparison = compare(only(run, common), only(baseline, common), parts["report"], resamples=resamples)
    return Choice(
        sweep.option,
        best,
        run.label,
        seed,
        len(parts["choose"]),
        len(parts["report"]),
        {value: score[0] for value, score in scores.items()},
        accuracy,
        comparison,
    )


def _score(run: MethodRun, problems: set[str]) -> tuple[float, float]:
    """Accuracy on these problems, then fewer tokens: means of the problems' means."""
    right: dict[str, list[float]] = {}
    tokens: dict[str, list[float]] = {}
    for answer in run.answers:
        if answer.problem in problems:
            right.setdefault(answer.problem, []).append(float(answer.correct))
            tokens.setdefault(answer.problem, []).append(float(answer.tokens))
    accuracy, spent = (
        sum(sum(values) / len(values) for values in table.values()) / len(table) for table in (right, tokens)
    )
    return round(accuracy, 12), -spent


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
