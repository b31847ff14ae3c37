"""Sweeps of one option: the value is chosen on one part of the problems and reported on the other.

The best of several values looks better than it is on the problems it was chosen by. Where chance explains the
differences between them, none is chosen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from selar_local.evaluation import statistics
from selar_local.evaluation.estimates import (
    Comparison,
    Figure,
    accuracy_of,
    answers_of,
    compare,
    corrected,
    means_of,
    only,
)
from selar_local.evaluation.records import MethodRun, Study
from selar_local.evaluation.wording import compared, p_words, percent

_LABEL = re.compile(r"(?P<base>.+) (?P<option>[a-z_]+)=(?P<value>\S+)")


@dataclass(frozen=True)
class Sweep:
    """Runs that differ in one option. runs: by its value as the labels have it, ascending where those are numbers."""

    base: str
    option: str
    runs: Mapping[str, MethodRun]


@dataclass(frozen=True)
class Choice:
    """The value of an option that did best on the choosing part, where it did better than chance explains.

    base: the label without the option. value, label: chosen; None where nothing separates the values. p: of the best
    and the worst value being alike on the choosing part (`statistics.separation`). chosen_by: the accuracy of each
    value there. accuracy, comparison: of the chosen value on the reporting part alone, None where none is chosen; the
    comparison is None too where the study has no baseline, or where the baseline was chosen, and its p is corrected
    where there are several sweeps. seed: of the split.
    """

    base: str
    option: str
    value: str | None
    label: str | None
    p: float
    seed: int
    choosing_problems: int
    reporting_problems: int
    chosen_by: Mapping[str, float]
    accuracy: Figure | None = None
    comparison: Comparison | None = None

    @property
    def sentence(self) -> str:
        """What was chosen and how it did, or why nothing was chosen."""
        values = ", ".join(f"{value}: {percent(share)} %" for value, share in self.chosen_by.items())
        there = f"on {self.choosing_problems} problems ({values} right; {p_words(self.p)})"
        if self.value is None or self.accuracy is None:
            return f"{self.base}: nothing separates the values of {self.option} {there}, so none is chosen"
        own = self.accuracy
        against = "" if self.comparison is None else f"; {compared(self.comparison)}"
        return (
            f"{self.base}: {self.option} {self.value} is chosen {there}; on the other {self.reporting_problems} it has "
            f"accuracy {percent(own.value)} %, 95 % interval {percent(own.low)} to {percent(own.high)}{against}"
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


def chosen_of(study: Study, seed: int = 0, baseline: str = "cot") -> tuple[Choice, ...]:
    """The best value of each sweep (ties: fewer tokens), chosen and reported on different problems.

    A value is chosen only where the best and the worst differ by more than chance (p < 0.05). Only answers (problem and
    sample) that all values and the baseline have count. A sweep without a problem in a part is left out.
    """
    reference = next((run for run in study.runs if run.label == baseline), None)
    choices = [one for sweep in sweeps_of(study) if (one := _chosen(sweep, reference, seed)) is not None]
    comparisons = iter(corrected([one.comparison for one in choices if one.comparison is not None]))
    return tuple(one if one.comparison is None else replace(one, comparison=next(comparisons)) for one in choices)


def _chosen(sweep: Sweep, baseline: MethodRun | None, seed: int) -> Choice | None:
    common = set.intersection(*(answers_of(run) for run in [*sweep.runs.values(), *([baseline] if baseline else [])]))
    parts = {part: {one for one, _ in common if split(one, seed) == part} for part in ("choose", "report")}
    if not all(parts.values()):
        return None
    runs = {value: only(run, common) for value, run in sweep.runs.items()}
    right = {value: means_of(run, parts["choose"], "correct") for value, run in runs.items()}
    tokens = {value: means_of(run, parts["choose"], "tokens") for value, run in runs.items()}
    scores = {value: round(float(means.mean()), 12) for value, means in right.items()}
    p = statistics.separation(list(right.values()))
    found = Choice(
        sweep.base, sweep.option, None, None, p, seed, len(parts["choose"]), len(parts["report"]), scores
    )  # fmt: skip
    if p >= statistics.ALPHA:
        return found
    best = max(scores, key=lambda value: (scores[value], -float(tokens[value].mean())))
    run = sweep.runs[best]
    accuracy = accuracy_of(runs[best], parts["report"])
    comparison = None
    if baseline is not None and baseline is not run:
        comparison = compare(runs[best], only(baseline, common), parts["report"])
    return replace(found, value=best, label=run.label, accuracy=accuracy, comparison=comparison)


def _order(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value
