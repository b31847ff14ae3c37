"""From Inspect's logs to studies: the answers with their grades, and the facts of the runs.

Inspect's `samples_df` needs pyarrow besides pandas, and its columns are texts where an answer's metadata has lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.errors import SelarError
from selar_local.evaluation.facts import SETTINGS
from selar_local.evaluation.pooling import as_key, facts_of, pooled
from selar_local.evaluation.records import BINS, COUNTED, Answer, MethodRun, Study
from selar_local.evaluation.several import vote_of
from selar_local.evaluation.study_files import SUFFIX, read_study_file
from selar_local.methods import METHODS

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

#: What a log says of its method alone.
_OF_THE_METHOD = {"label", "method", "options", "sampling"}


def read_studies(paths: Sequence[Path]) -> list[Study]:
    """The studies in these logs, and in the logs of these folders; each method once, in the order they were begun.

    Logs belong to one study where model, problems, seeds, budget and settings are the same; studies that differ in
    nothing but methods and seeds are put together. Files of studies (`study_files`) are read as well. Raises SelarError
    for a path without logs, a log that is no Inspect log, one that is not finished and one that is not graded, or
    graded by another rule than the others.
    """
    studies: dict[str, dict[tuple[str, str], EvalLog]] = {}
    kept: list[Study] = []
    for path in _files(paths):
        if path.suffix.lower() == SUFFIX:
            kept += read_study_file(path)
            continue
        log = _read(path)
        runs = studies.setdefault(_key(log), {})
        method = _label(log), as_key((log.eval.metadata or {}).get("options"))
        before = runs.get(method)
        if before is None or _rank(log) > _rank(before):
            runs[method] = log
    return pooled([*(_study(list(runs.values())) for runs in studies.values()), *kept])


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(path.glob("*.eval"))
            if not inside:
                raise SelarError(f"there are no logs (*.eval) in {path}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise SelarError(f"there is no log {path}")
    return list(dict.fromkeys(found))


def _read(path: Path) -> EvalLog:
    """The log with its samples, without what is large in them and not looked at."""
    from inspect_ai.log import read_eval_log, read_eval_log_samples

    unseen = {"events", "messages", "store", "attachments"}
    try:
        log = read_eval_log(str(path), header_only=True)
        log.samples = list(read_eval_log_samples(str(path), all_samples_required=False, exclude_fields=unseen))
        return log
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SelarError(f"{path} is no Inspect log that can be read: {first[:200]}") from None


def _key(log: EvalLog) -> str:
    """What all logs of a study have in common."""
    metadata = log.eval.metadata or {}
    facts: dict[str, Any] = {name: metadata.get(name) for name in SETTINGS}
    if "model_sha256" not in metadata:  # not of our runner: what Inspect itself records
        facts["model"] = log.eval.model
        facts["problems"] = log.eval.dataset.sample_ids
        facts["task"] = log.eval.task
        facts["samples"] = log.eval.config.epochs
        facts["seed"] = (log.eval.task_args or {}).get("seed")
        facts["max_tokens"] = log.plan.config.max_tokens
    return as_key(facts)


def _label(log: EvalLog) -> str:
    metadata = log.eval.metadata or {}
    if "label" in metadata:
        return str(metadata["label"])
    arguments = log.eval.model_args
    name = str(arguments.get("method", log.eval.model))
    own = set(METHODS[name].__dataclass_fields__) if name in METHODS else set()
    return " ".join([name, *(f"{key}={value}" for key, value in arguments.items() if key in own)])


def _rank(log: EvalLog) -> tuple[bool, str]:
    return log.status == "success", log.eval.created


def _study(logs: Sequence[EvalLog]) -> Study:
    ordered = sorted(logs, key=_began)
    for log in ordered:
        if log.status != "success":
            raise SelarError(
                f"{_label(log)}: {_name(log)} is not finished ({log.status}); the same eval goes on with it"
            )
    parts = [_part(log) for log in ordered]
    runs = tuple(run for part in parts for run in part.runs)
    return replace(parts[0], runs=runs, facts=facts_of(parts, [run.label for run in runs]))


def _part(log: EvalLog) -> Study:
    """A study of this log's method alone."""
    metadata = log.eval.metadata or {}
    facts = {name: value for name, value in metadata.items() if name not in _OF_THE_METHOD}
    scores = log.results.scores if log.results is not None else []
    return Study(
        task=str(metadata.get("task", log.eval.task)),
        model=str(metadata.get("model", log.eval.model)),
        runs=(_run(log),),
        facts={
            "sampling": metadata.get("sampling"),
            "created": log.eval.created,
            **facts,
            "last_number": bool(scores and scores[0].params.get("last_number")),
        },
    )


def _began(log: EvalLog) -> float:
    """Unix time; Inspect's own has whole seconds, which tell short runs apart no better than their names do."""
    started = [one["started"] for sample in log.samples or () if "started" in (one := _reported(sample))]
    return min(started) if started else datetime.fromisoformat(log.eval.created).timestamp()


def _name(log: EvalLog) -> str:
    return Path(log.location).name


def _run(log: EvalLog) -> MethodRun:
    samples = log.samples or []
    metadata = log.eval.metadata or {}
    label = _label(log)
    answers = tuple(_answer(log, sample) for sample in samples if sample.error is None)
    method = str(metadata.get("method", log.eval.model_args.get("method", label)))
    reported = [_reported(sample) for sample in samples]
    options = next((one["options"] for one in reported if "options" in one), metadata.get("options", {}))
    entropies = [0] * BINS
    for one in reported:
        for number, count in enumerate(one.get("entropies") or ()):
            entropies[number] += count
    return MethodRun(
        label=label,
        method=method,
        answers=tuple(sorted(answers, key=lambda answer: (answer.problem, answer.sample))),
        options=options,
        entropies=tuple(entropies) if any(entropies) else (),
        wall_seconds=covered((one["started"], one["started"] + one["seconds"]) for one in reported if "started" in one),
    )


def _reported(sample: EvalSample) -> Mapping[str, Any]:
    return sample.output.metadata or {}


def _answer(log: EvalLog, sample: EvalSample) -> Answer:
    scores = sample.scores or {}
    score = scores.get("graded") or next(iter(scores.values()), None)
    if score is None:
        raise SelarError(f"{_label(log)}: {_name(log)} is not graded; selar-local eval with the same options grades it")
    correct = score.value in ("C", 1, 1.0, True)
    output, reported, found = sample.output, _reported(sample), score.metadata or {}
    return Answer(
        problem=str(sample.id),
        sample=sample.epoch,
        correct=correct,
        tokens=output.usage.output_tokens if output.usage else 0,
        explored=int(reported.get("explored_steps", 0)),
        truncated=bool(output.choices) and output.stop_reason in ("max_tokens", "model_length"),
        repetitive=bool(found.get("repetitive", False)),
        seconds=float(reported.get("seconds", output.time or 0.0)),
        mismatched=reported.get("mismatched_steps"),
        **{name: found.get(name) for name in COUNTED},
        vote=vote_of(correct, score.answer),
        given=score.answer,
    )


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds in which at least one of the (start, end) spans ran: pauses between the parts of a study do not count."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total
