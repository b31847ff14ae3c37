"""Parts of a study put together: methods, or seeds, that were run at different times or places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from selar_local.errors import SelarError
from selar_local.evaluation.config import defaults_of
from selar_local.evaluation.facts import SETTINGS
from selar_local.evaluation.records import Answer, MethodRun, Study
from selar_local.options import shown

_NONE = object()
_OF_ALL = tuple(name for name in SETTINGS if name not in ("seed", "samples"))


def pooled(studies: Sequence[Study]) -> list[Study]:
    """The studies, with those put together that differ in nothing but methods and seeds.

    Problems, model, settings and the samples of a seed are the same. Samples are numbered on from seed to seed (in
    ascending order), alike for all methods: a method that a seed was not run with has no answers of its numbers. Each
    method is there once for a seed, the first; with other options it is another, and named by them. Raises SelarError
    where two runs share only some of their seeds, and where the parts were graded by different rules.
    """
    groups: dict[str, list[Study]] = {}
    for number, study in enumerate(studies):
        facts = {name: study.facts.get(name) for name in _OF_ALL}
        key = [study.task, study.model, facts, _samples_of_a_seed(study) or f"study {number}"]
        groups.setdefault(as_key(key), []).append(study)
    return [_together(group) if len(group) > 1 else _apart(group[0]) for group in groups.values()]


def seeds_of(facts: Mapping[str, Any]) -> list[Any]:
    """The seeds of a study: several where it was put together."""
    seed = facts.get("seed")
    return list(seed) if isinstance(seed, (list, tuple)) else [seed]


def _samples_of_a_seed(study: Study) -> int | None:
    """None where too little is known to add anything, such as of another program's log."""
    samples, seeds = study.facts.get("samples"), seeds_of(study.facts)
    known = "model_sha256" in study.facts and seeds and all(isinstance(seed, int) for seed in seeds)
    if not known or not isinstance(samples, int):
        return None
    most = max((answer.sample for run in study.runs for answer in run.answers), default=0)
    return None if samples % len(seeds) or most > samples else samples // len(seeds)


def _together(group: Sequence[Study]) -> Study:
    # The run with the most seeds is the one that counts.
    group = sorted(group, key=lambda study: (-len(seeds_of(study.facts)), seeds_of(study.facts)))
    seeds = sorted({seed for study in group for seed in seeds_of(study.facts)})
    methods: list[list[MethodRun]] = []  # the parts of each
    used: dict[int, Study] = {}
    for place, study in enumerate(group):
        known = list(methods)
        for run in study.runs:
            before = _same(run, study, known)
            if before is None:
                methods.append(before := [])
            part = _numbered(run, study, seeds)
            there, own = ({one.sample for run in runs for one in run.answers} for runs in (before, [part]))
            if not before or not there & own:
                before.append(part)
                used[place] = study
            elif not own <= there:
                raise SelarError(f"{study.task}, {study.model}: some of {run.label}'s answers are given twice")
    facts = facts_of(list(used.values()), _names(list(used.values())))
    facts["samples"] = len(seeds) * (_samples_of_a_seed(group[0]) or 1)
    facts["seed"] = seeds if len(seeds) > 1 else seeds[0]
    return _apart(replace(group[0], runs=tuple(map(_added, methods)), facts=facts))


def _same(run: MethodRun, study: Study, methods: Sequence[list[MethodRun]]) -> list[MethodRun] | None:
    """The parts with the same method and options in other studies, where the label may be another."""
    alike = [parts for parts in methods if _identity(parts[0]) == _identity(run)]
    labels = {one.label for one in study.runs} - {run.label}
    named = [parts for parts in alike if parts[0].label == run.label]
    other = [parts for parts in alike if parts[0].label not in labels] if run.options else []
    return next(iter([*named, *other]), None)


def _identity(run: MethodRun) -> str:
    return as_key([run.method, _options(run)])


def _options(run: MethodRun) -> dict[str, Any]:
    """All options: a log of an earlier version lacks those that came later."""
    return {**defaults_of(run.method), **run.options}


def _numbered(run: MethodRun, study: Study, seeds: Sequence[Any]) -> MethodRun:
    """The run, its samples numbered by the place of its seeds among all seeds."""
    each, own = _samples_of_a_seed(study) or 1, seeds_of(study.facts)

    def numbered(answer: Answer) -> Answer:
        place, sample = divmod(answer.sample - 1, each)
        return replace(answer, sample=seeds.index(own[place]) * each + sample + 1)

    return replace(run, answers=tuple(map(numbered, run.answers)))


def _names(group: Sequence[Study]) -> list[str]:
    """What tells the parts apart: their methods, their seeds, or both, and a number where those are the same."""
    names = _differing_names(group)
    return [
        f"{name} ({names[: place + 1].count(name)})" if names.count(name) > 1 else name
        for place, name in enumerate(names)
    ]


def _differing_names(group: Sequence[Study]) -> list[str]:
    methods = [", ".join(run.label for run in study.runs) for study in group]
    seeds = [f"seed {', '.join(map(str, seeds_of(study.facts)))}" for study in group]
    if len(set(seeds)) == 1:
        return methods
    if len(set(seeds)) == len(seeds):
        return seeds
    return [f"{seed}: {labels}" for seed, labels in zip(seeds, methods, strict=True)]


def as_key(value: Any) -> str:
    """A text that is the same for the same facts or options, however they are ordered."""
    return json.dumps(value, sort_keys=True, default=str)


def _apart(study: Study) -> Study:
    """Runs of one label, but of other options (given for all methods of a study), are named by what differs."""
    named = []
    for run in study.runs:
        alike = [_options(one) for one in study.runs if one.label == run.label]
        words = [
            f"{name}={shown(own)}"
            for name, own in _options(run).items()
            if any(one.get(name, _NONE) != own for one in alike)
        ]
        named.append(replace(run, label=" ".join([run.label, *words])))
    return replace(study, runs=tuple(named))


def facts_of(parts: Sequence[Study], names: Sequence[str]) -> dict[str, Any]:
    """The facts of what is put together; those that differ, such as the machine, by the names of the parts.

    Raises SelarError where they were graded by different rules: that is no difference of the methods.
    """
    if len({bool(part.facts.get("last_number")) for part in parts}) > 1:
        raise SelarError(
            f"{parts[0].task}, {parts[0].model}: some answers are graded with --last-number and some without; "
            "selar-local eval with the same options for all grades them alike"
        )
    facts = dict(parts[0].facts)
    for name in dict.fromkeys(name for part in parts for name in part.facts):
        if name in ("created", "seed", "samples", "last_number"):
            continue
        by_part = {key: part.facts.get(name) for key, part in zip(names, parts, strict=True)}
        if len(set(map(as_key, by_part.values()))) > 1:
            facts[name] = by_part
    return facts


def _added(runs: Sequence[MethodRun]) -> MethodRun:
    entropies = [run.entropies for run in runs if run.entropies]
    answers = [answer for run in runs for answer in run.answers]
    return replace(
        runs[0],
        answers=tuple(sorted(answers, key=lambda answer: (answer.problem, answer.sample))),
        entropies=tuple(map(sum, zip(*entropies, strict=True))),
        wall_seconds=sum(run.wall_seconds for run in runs),
    )
