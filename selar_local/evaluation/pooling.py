"""Parts of a study put together: methods, or seeds, that were run at different times or places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selar_local.errors import SelarError
from selar_local.evaluation.facts import SETTINGS
from selar_local.evaluation.records import MethodRun, Study

__all__ = ["pooled", "seeds_of"]

_OF_ALL = tuple(name for name in SETTINGS if name not in ("seed", "samples"))


def pooled(studies: Sequence[Study]) -> list[Study]:
    """The studies, with those put together that belong together.

    Of one seed, the same problems, model and settings: one study with the methods of all (each once, the first). Of
    several seeds, and with the same methods besides: one study with the samples of all. A problem's samples are
    numbered on: the answers of the first seed, then those of the next. Raises SelarError where a seed is there twice.
    """
    joined = [_joined(group) for group in _grouped(studies, SETTINGS)]
    return [group[0] if len(group) == 1 else _together(group) for group in _grouped(joined, _OF_ALL, methods=True)]


def seeds_of(facts: Mapping[str, Any]) -> list[Any]:
    """The seeds of a study: several where it was put together."""
    seed = facts.get("seed")
    return list(seed) if isinstance(seed, (list, tuple)) else [seed]


def _grouped(studies: Sequence[Study], names: Sequence[str], *, methods: bool = False) -> list[list[Study]]:
    groups: dict[str, list[Study]] = {}
    for number, study in enumerate(studies):
        key: list[object] = [study.task, study.model, {name: study.facts.get(name) for name in names}]
        if methods:
            key.append(sorted((run.label, run.method, json.dumps(run.options, default=str)) for run in study.runs))
        if "model_sha256" not in study.facts or "seed" not in study.facts:
            key.append(number)  # a log of another program's run: too little is known
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(study)
    return list(groups.values())


def _joined(group: Sequence[Study]) -> Study:
    runs: dict[str, MethodRun] = {}
    for study in group:
        for run in study.runs:
            runs.setdefault(run.label, run)
    return replace(group[0], runs=tuple(runs.values()))


def _together(group: Sequence[Study]) -> Study:
    first = group[0]
    seeds = [seed for one in group for seed in seeds_of(one.facts)]
    if len(set(seeds)) < len(seeds):
        raise SelarError(
            f"{first.task}, {first.model}: some of the answers are given twice (seeds {', '.join(map(str, seeds))})"
        )
    facts = {
        **first.facts,
        "seed": seeds,
        "samples": sum(_samples(one.runs[0]) for one in group),
    }
    runs = tuple(
        _added([next(run for run in one.runs if run.label == label) for one in group])
        for label in (run.label for run in first.runs)
    )
    return replace(first, runs=runs, facts=facts)


def _samples(run: MethodRun) -> int:
    return max((answer.sample for answer in run.answers), default=0)


def _added(runs: Sequence[MethodRun]) -> MethodRun:
    answers, before = [], 0
    entropies = [run.entropies for run in runs if run.entropies]
    for run in runs:
        answers += [replace(answer, sample=answer.sample + before) for answer in run.answers]
        before += _samples(run)
    return replace(
        runs[0],
        answers=tuple(sorted(answers, key=lambda answer: (answer.problem, answer.sample))),
        entropies=tuple(map(sum, zip(*entropies, strict=True))),
        wall_seconds=sum(run.wall_seconds for run in runs),
    )
