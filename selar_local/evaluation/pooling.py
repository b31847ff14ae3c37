"""Parts of a study put together: methods, or seeds, that were run at different times or places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selar_local.errors import SelarError
from selar_local.evaluation.config import shown
from selar_local.evaluation.facts import SETTINGS
from selar_local.evaluation.records import MethodRun, Study

__all__ = ["facts_of", "pooled", "seeds_of", "told"]

_NONE = object()
_OF_ALL = tuple(name for name in SETTINGS if name not in ("seed", "samples"))


def pooled(studies: Sequence[Study]) -> list[Study]:
    """The studies, with those put together that belong together.

    Of one seed, the same problems, model and settings: one study with the methods of all. Each is there once, the
    first; with other options it is another, and named by them. Of several seeds, and with the same methods besides: one
    study with the samples of all. A problem's samples are numbered on: the answers of the first seed, then those of the
    next. Raises SelarError where a seed is there twice, or where the parts were graded by different rules.
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
            key.append(sorted((run.label, run.method, told(run.options)) for run in study.runs))
        if "model_sha256" not in study.facts or "seed" not in study.facts:
            key.append(number)  # a log of another program's run: too little is known
        groups.setdefault(told(key), []).append(study)
    return list(groups.values())


def _joined(group: Sequence[Study]) -> Study:
    runs: dict[tuple[str, str], MethodRun] = {}
    for study in group:
        for run in study.runs:
            runs.setdefault((run.label, told(run.options)), run)
    names = [", ".join(run.label for run in study.runs) for study in group]
    return replace(group[0], runs=_apart(list(runs.values())), facts=facts_of(group, names))


def told(value: Any) -> str:
    """A text that is the same for the same facts or options, however they are ordered."""
    return json.dumps(value, sort_keys=True, default=str)


def _apart(runs: Sequence[MethodRun]) -> tuple[MethodRun, ...]:
    """Runs of one label, but of other options (given for all methods of a study), are named by what differs."""
    named = []
    for run in runs:
        alike = [one.options for one in runs if one.label == run.label]
        differing = [name for name, own in run.options.items() if any(one.get(name, _NONE) != own for one in alike)]
        words = [run.label, *(f"{name}={shown(run.options[name])}" for name in differing)]
        named.append(replace(run, label=" ".join(words)))
    return tuple(named)


def facts_of(parts: Sequence[Study], names: Sequence[str]) -> dict[str, Any]:
    """The facts of what is put together; those that differ, such as the machine, by the names of the parts.

    Raises SelarError where they were graded by different rules: that is no difference of the methods.
    """
    first = parts[0].facts
    if len({bool(part.facts.get("last_number")) for part in parts}) > 1:
        raise SelarError(
            f"{parts[0].task}, {parts[0].model}: some answers are graded with --last-number and some without; "
            "selar-local eval with the same options for all grades them alike"
        )
    facts = dict(first)
    for name in first.keys() - {"created", "seed", "samples", "last_number"}:
        by_part = {key: part.facts.get(name) for key, part in zip(names, parts, strict=True)}
        if len(set(map(told, by_part.values()))) > 1:
            facts[name] = by_part
    return facts


def _together(group: Sequence[Study]) -> Study:
    first = group[0]
    seeds = [seed for one in group for seed in seeds_of(one.facts)]
    if len(set(seeds)) < len(seeds):
        raise SelarError(
            f"{first.task}, {first.model}: some of the answers are given twice (seeds {', '.join(map(str, seeds))})"
        )
    facts = {
        **facts_of(group, [f"seed {', '.join(map(str, seeds_of(one.facts)))}" for one in group]),
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
