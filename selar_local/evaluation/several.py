"""What several answers to a problem are worth: one of k right, the majority of k, two that agree; at equal tokens.

Exploration may pay here and not in one answer: answers that differ more can be right more often together.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selar_local.evaluation import statistics
from selar_local.evaluation.answers import plain, tidy
from selar_local.evaluation.estimates import Figure
from selar_local.evaluation.records import MethodRun

#: One of k answers is right; the most frequent of k is, each of several in turn; two answers to a problem are the same.
FIGURES = ("pass", "majority", "agree")
#: The vote of every right answer.
RIGHT = "right"
#: Subsets of a problem's answers that are looked at, at most; all of them where there are fewer.
_SUBSETS = 500


@dataclass(frozen=True)
class Several:
    """A method's answers taken together.

    k: answers that the common budget of tokens buys; between two numbers figures are interpolated. shares, by
    `FIGURES`: of problems, 0 to 1. differences: from the baseline's, on the problems that both have; empty without one.
    """

    label: str
    k: float
    shares: Mapping[str, Figure]
    differences: Mapping[str, Figure]


def vote_of(correct: bool, given: str | None) -> str:
    """What an answer votes for; "" for none.

    A wrong one votes for a hash of its text, which says nothing about the right one; a value in two forms is two votes.
    """
    if correct:
        return RIGHT
    return hashlib.sha256(plain(tidy(given)).casefold().encode()).hexdigest()[:8] if given is not None else ""


def several_of(runs: Sequence[MethodRun], baseline: str) -> tuple[Several, ...]:
    """The methods that have two answers or more to every problem, with their votes recorded.

    All get the same tokens: as many as the cheapest of them spent on a problem.
    """
    votes = {run.label: cast for run in runs if (cast := _votes(run))}
    tokens = {run.label: float(np.mean([one.tokens for one in run.answers])) for run in runs if run.label in votes}
    least = {label: min(map(len, one.values())) for label, one in votes.items()}
    budget = min((least[label] * tokens[label] for label in votes), default=0.0)
    if budget <= 0:
        return ()
    k = {label: min(max(budget / tokens[label], 1.0), least[label]) for label in votes}
    values = {label: {problem: _values(one, k[label]) for problem, one in votes[label].items()} for label in votes}
    found = []
    for label, own in values.items():
        shares = {name: [one[name] for one in own.values()] for name in FIGURES}
        theirs = values.get(baseline, {}) if label != baseline else {}
        common = [problem for problem in own if problem in theirs]
        pairs = {name: [(own[one][name], theirs[one][name]) for one in common] for name in FIGURES if common}
        found.append(
            Several(
                label,
                k[label],
                {name: Figure.of(statistics.share(one, samples=least[label])) for name, one in shares.items()},
                {name: Figure.of(statistics.difference(*np.transpose(one))) for name, one in pairs.items()},
            )
        )
    return tuple(found)


def _values(votes: Sequence[str], k: float) -> dict[str, float]:
    """The figures of one problem."""
    return {"pass": _between(_passes, votes, k), "majority": _between(_majority, votes, k), "agree": _agreement(votes)}


def _votes(run: MethodRun) -> dict[str, list[str]]:
    """Of each problem, in the order of the ids; empty where one is not recorded, or a problem has one alone."""
    found: dict[str, list[str]] = {}
    for answer in sorted(run.answers, key=lambda one: (one.problem, one.sample)):
        if answer.vote is None:
            return {}
        found.setdefault(answer.problem, []).append(answer.vote)
    return found if found and min(map(len, found.values())) > 1 else {}


def _between(count: Callable[[Sequence[str], int], float], votes: Sequence[str], k: float) -> float:
    """The figure of k answers, interpolated between the whole numbers around k."""
    low, part = int(k), k - int(k)
    return count(votes, low) + (part * (count(votes, low + 1) - count(votes, low)) if part else 0.0)


def _passes(votes: Sequence[str], k: int) -> float:
    """The probability that k of the answers, drawn without putting back, have a right one (Chen et al., 2021)."""
    wrong = sum(vote != RIGHT for vote in votes)
    return 1.0 - math.comb(wrong, k) / math.comb(len(votes), k)


def _majority(votes: Sequence[str], k: int) -> float:
    """The probability that the most frequent of k answers is right."""
    if math.comb(len(votes), k) <= _SUBSETS:
        subsets = [tuple(one) for one in itertools.combinations(votes, k)]
    else:
        draw = random.Random(len(votes) * k)
        subsets = [tuple(draw.sample(votes, k)) for _ in range(_SUBSETS)]
    return sum(map(_elected, subsets)) / len(subsets)


def _elected(votes: Sequence[str]) -> float:
    """1 where the right answer is elected; a share of it where several are the most frequent ones."""
    counts = Counter(vote for vote in votes if vote)
    most = max(counts.values(), default=0)
    return (counts[RIGHT] == most > 0) / max(sum(count == most for count in counts.values()), 1)


def _agreement(votes: Sequence[str]) -> float:
    """The share of pairs of answers that are the same; those that have no answer agree with none."""
    pairs = list(itertools.combinations(votes, 2))
    return sum(bool(one) and one == other for one, other in pairs) / len(pairs)
