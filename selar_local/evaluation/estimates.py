"""One method's figures, and one method against another: from graded answers to estimates with intervals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from selar_local.evaluation import statistics
from selar_local.evaluation.records import Answer, MethodRun
from selar_local.evaluation.slips import KINDS

_SHARES = {"accuracy": "correct", "truncated": "truncated", "repetitive": "repetitive"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with the ends of its 95 % interval; None where there is nothing to go by, or it is infinite."""

    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, estimate: Sequence[Any]) -> Figure:
        """From the first three entries of a `statistics.Estimate` or `statistics.Difference` of one study."""
        return cls(*(_finite(one) for one in estimate[:3]))


@dataclass(frozen=True)
class MethodSummary:
    """What one method did.

    problems: with at least one answer; samples: the most that a problem has. Shares are 0 to 1: accuracy, explored
    (exploration steps of all tokens), truncated, repetitive. tokens: of an answer. tpca: all tokens over the number of
    correct answers, None where nothing is correct. wall_seconds: of all generations together. words: plain ones of an
    answer; slips: of all words, by kind and together ("slips"); none where they were not counted. mismatched: of all
    tokens, those that are not the heaviest of what their step fed; None where they were not counted.
    """

    label: str
    method: str
    options: Mapping[str, Any]
    problems: int
    answers: int
    samples: int
    accuracy: Figure
    tokens: Figure
    tpca: Figure
    explored: Figure
    truncated: Figure
    repetitive: Figure
    wall_seconds: float
    words: Figure | None = None
    slips: Mapping[str, Figure] = field(default_factory=dict)
    mismatched: Figure | None = None
    entropies: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Comparison:
    """A method against a baseline on the answers that both have: of the same problems, and of each the same samples.

    answers: how many those are. difference: of the accuracies, in shares. p_corrected: after Holm, over `several`
    comparisons. minimum_detectable: the smallest true difference that a study like this finds with 80 % power after the
    correction; None where it is unknown. tokens: difference of the tokens of an answer. slips: difference of the
    shares of words that are slips; None where they were not counted in every answer of both.
    """

    method: str
    baseline: str
    problems: int
    answers: int
    difference: Figure
    p: float | None
    p_corrected: float | None
    several: int
    minimum_detectable: float | None
    tokens: Figure
    slips: Figure | None = None

    @property
    def verdict(self) -> str:
        """ "better" or "worse" where interval and corrected p say so; else "uncorrected" or "none shown"."""
        low, high = self.difference.low, self.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "none shown"
        if self.p_corrected is None or self.p_corrected >= statistics.ALPHA:
            return "uncorrected"
        return "better" if low > 0 else "worse"


def problems_of(run: MethodRun) -> set[str]:
    """The problems that the method has answers to."""
    return {answer.problem for answer in run.answers}


def answers_of(run: MethodRun) -> set[tuple[str, int]]:
    """The (problem, sample) of its answers."""
    return {(answer.problem, answer.sample) for answer in run.answers}


def only(run: MethodRun, answers: Collection[tuple[str, int]]) -> MethodRun:
    """The run with its answers of these (problem, sample) alone."""
    return replace(run, answers=tuple(one for one in run.answers if (one.problem, one.sample) in answers))


def describe(run: MethodRun) -> MethodSummary:
    """The method's figures over all problems it has answers to."""
    per_problem = _by_problem(run.answers)
    tokens, explored, correct = (_sums(per_problem, name) for name in ("tokens", "explored", "correct"))
    samples = np.array([len(row) for row in per_problem], dtype=np.float64)
    most = int(samples.max()) if samples.size else 0
    shares = {name: statistics.share(_means(per_problem, one), samples=most) for name, one in _SHARES.items()}
    estimates = {
        **shares,
        "tokens": statistics.mean(_means(per_problem, "tokens")),
        "tpca": statistics.per_correct(tokens, correct, samples),
        "explored": statistics.ratio(explored, tokens),
    }
    figures: dict[str, Any] = {name: Figure.of(estimate) for name, estimate in estimates.items()}
    figures |= _texts([one for one in run.answers if one.words is not None])
    if known := _by_problem([one for one in run.answers if one.mismatched is not None]):
        figures["mismatched"] = Figure.of(statistics.ratio(_sums(known, "mismatched"), _sums(known, "tokens")))
    return MethodSummary(
        run.label,
        run.method,
        run.options,
        problems=len(per_problem),
        answers=len(run.answers),
        samples=most,
        wall_seconds=run.wall_seconds,
        entropies=run.entropies,
        **figures,
    )


def _texts(answers: Sequence[Answer]) -> dict[str, Any]:
    """Words and slips of the answers in which they were counted."""
    if not answers:
        return {}
    per_problem = _by_problem(answers)
    words = _sums(per_problem, "words")
    counts = {name: _sums(per_problem, name) for name in KINDS}
    counts["slips"] = np.sum(list(counts.values()), axis=0)
    slips = {name: Figure.of(statistics.rate(count, words)) for name, count in counts.items()}
    return {"words": Figure.of(statistics.mean(_means(per_problem, "words"))), "slips": slips}


def accuracy_of(run: MethodRun, problems: Collection[str]) -> Figure:
    """The accuracy on these problems alone."""
    per_problem = _by_problem(run.answers, problems)
    most = max((len(answers) for answers in per_problem), default=0)
    return Figure.of(statistics.share(_means(per_problem, "correct"), samples=most))


def means_of(run: MethodRun, problems: Collection[str], name: str) -> statistics.Floats:
    """The mean of a field of `Answer` over the answers to each of these problems, in the order of their ids."""
    return _means(_by_problem(run.answers, problems), name)


def compare(run: MethodRun, baseline: MethodRun, problems: Collection[str] | None = None) -> Comparison:
    """The method against the baseline on the answers that both have (`problems`: of these alone).

    A sample is one seed's: where one of them was run with more seeds, the others do not count.
    """
    common = answers_of(run) & answers_of(baseline)
    if problems is not None:
        common = {one for one in common if one[0] in problems}
    sides = [_by_problem(only(one, common).answers) for one in (run, baseline)]
    ours, theirs = (_means(side, "correct") for side in sides)
    spent, before = (_means(side, "tokens") for side in sides)
    found = statistics.difference(ours, theirs)
    p = _finite(found.p)
    return Comparison(
        run.label,
        baseline.label,
        problems=len(sides[0]),
        answers=len(common),
        difference=Figure.of(found),
        p=p,
        p_corrected=p,
        several=1,
        minimum_detectable=_finite(statistics.minimum_detectable(ours, theirs)),
        tokens=Figure.of(statistics.mean(spent - before)),
        slips=_slip_difference(*sides),
    )


def _slip_difference(ours: Sequence[Sequence[Answer]], theirs: Sequence[Sequence[Answer]]) -> Figure | None:
    sides = ours, theirs
    if not ours or any(answer.words is None for side in sides for row in side for answer in row):
        return None
    parts = [(np.sum([_sums(side, name) for name in KINDS], axis=0), _sums(side, "words")) for side in sides]
    return Figure.of(statistics.rate_difference(*parts))


def corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The comparisons with their p values, and what they could have shown, corrected for being several (Holm)."""
    adjusted = statistics.holm([math.nan if one.p is None else one.p for one in comparisons])
    several = sum(one.p is not None for one in comparisons)
    return tuple(
        replace(one, p_corrected=_finite(p), several=several, minimum_detectable=_detectable(one, several))
        for one, p in zip(comparisons, adjusted, strict=True)
    )


def _detectable(one: Comparison, several: int) -> float | None:
    if one.minimum_detectable is None or several < 2:
        return one.minimum_detectable
    strict, plain = (statistics.detectable_effect(one.problems, statistics.ALPHA / many) for many in (several, 1))
    found = one.minimum_detectable * strict / plain
    return found if found <= 1 else None


def _by_problem(answers: Sequence[Answer], problems: Collection[str] | None = None) -> list[list[Answer]]:
    """The answers of each problem, in the order of the problems' ids: the bootstrap must not depend on the log's."""
    found: dict[str, list[Answer]] = {}
    for answer in answers:
        if problems is None or answer.problem in problems:
            found.setdefault(answer.problem, []).append(answer)
    return [found[problem] for problem in sorted(found)]


def _means(per_problem: Sequence[Sequence[Answer]], name: str) -> statistics.Floats:
    """The mean of a field of `Answer` over the answers to each problem, (problems,)."""
    return np.asarray(_sums(per_problem, name) / [len(row) for row in per_problem])


def _sums(per_problem: Sequence[Sequence[Answer]], name: str) -> statistics.Floats:
    return np.array([sum(getattr(answer, name) for answer in row) for row in per_problem], dtype=np.float64)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
