"""What an evaluation leaves behind: graded answers, by method, with the facts of the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Bins of an entropy histogram over [0, 1].
BINS = 20
#: Fields of `Answer` that are counted in its text.
COUNTED = ("words", "doubled", "merged", "missing")


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated and graded answer.

    problem: the problem's id, the same for every method. sample: 1 to S. tokens: generated ones. explored: exploration
    steps among them. truncated: the budget or the context ended it. repetitive: it repeats itself at its end.
    mismatched: steps whose printed token is not the heaviest of what they fed, None where they were not counted.
    seconds: from its admission to its last token, beside whatever ran in parallel. words: plain ones, with the slips
    among them (see `slips`), None where they were not counted. vote: what the answer is, for a count of equal ones (see
    `several`), None where it was not recorded. given: what was graded, None where no answer was found.
    """

    problem: str
    sample: int
    correct: bool
    tokens: int
    explored: int = 0
    truncated: bool = False
    repetitive: bool = False
    seconds: float = 0.0
    mismatched: int | None = None
    words: int | None = None
    doubled: int | None = None
    merged: int | None = None
    missing: int | None = None
    vote: str | None = None
    given: str | None = None


@dataclass(frozen=True)
class MethodRun:
    """One method's answers to all problems of a study.

    label: unique in the study, such as `selar` or `selar tau=0.3`. options: of the method, as given or by default.
    entropies: counts of the steps' normalised entropies in `BINS` equal bins, empty where the method reports none.
    wall_seconds: of all generations together.
    """

    label: str
    method: str
    answers: tuple[Answer, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    entropies: tuple[int, ...] = ()
    wall_seconds: float = 0.0


@dataclass(frozen=True)
class Study:
    """The same problems, seeds and budget for every method, on one model; a method may lack seeds of a study that was
    put together (`pooling`): its answers lack their sample numbers.

    facts: what else the logs record (SHA-256, quantisation, versions, backend, batch size, template hash, sampling,
    seed, max_tokens, parallel).
    """

    task: str
    model: str
    runs: tuple[MethodRun, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
