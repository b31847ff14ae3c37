"""Studies as files without the texts: what can be published, kept and reported on where the logs are not.

One JSON object: ``format``, ``version`` and ``studies``. A run's answers stand in columns, one list for each field of
`Answer` but `given`, which quotes the model. A column is left out where no answer has a value, such as the counts that
an earlier version did not make.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from selar_local.errors import SelarError
from selar_local.evaluation.records import BINS, Answer, MethodRun, Study

SUFFIX = ".json"
_FORMAT, _VERSION = "selar-local studies", 1
_COLUMNS = tuple(one.name for one in fields(Answer) if one.name != "given")
_OPTIONAL = {one.name for one in fields(Answer) if str(one.type).endswith("| None")}
_RUN = TypeAdapter(MethodRun)


def write_study_file(path: Path, studies: Sequence[Study]) -> None:
    """Write the studies, their answers' texts left out."""
    content = {"format": _FORMAT, "version": _VERSION, "studies": [_written(study) for study in studies]}
    path.write_text(json.dumps(content, separators=(",", ":"), default=str) + "\n", encoding="utf-8")


def _written(study: Study) -> dict[str, Any]:
    return {
        "task": study.task, "model": study.model, "facts": dict(study.facts),
        "runs": [
            {
                **{name: value for name, value in asdict(run).items() if name != "answers"},
                "answers": _columns(run.answers),
            }
            for run in study.runs
        ],
    }  # fmt: skip


def _columns(answers: Sequence[Answer]) -> dict[str, list[Any]]:
    columns = {name: [getattr(one, name) for one in answers] for name in _COLUMNS}
    return {
        name: values for name, values in columns.items() if name not in _OPTIONAL or values.count(None) < len(values)
    }


def read_study_file(path: Path) -> list[Study]:
    """The studies that `write_study_file` wrote. Raises SelarError where the file is another."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT or content["version"] != _VERSION:
            raise ValueError("another format or version")
        return [_study(entry) for entry in content["studies"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SelarError(f"{path} is no file of studies that can be read: {error!r}"[:300]) from None


def _study(entry: Mapping[str, Any]) -> Study:
    runs = tuple(_run(run) for run in entry["runs"])
    return Study(str(entry["task"]), str(entry["model"]), runs, dict(entry["facts"]))


def _run(entry: Mapping[str, Any]) -> MethodRun:
    found: Mapping[str, list[Any]] = entry["answers"]
    columns = {name: found[name] for name in _COLUMNS if name in found or name not in _OPTIONAL}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    run = _RUN.validate_json(json.dumps({**entry, "answers": rows}), strict=True)
    if len({(one.problem, one.sample) for one in run.answers}) < len(rows) or any(
        one.sample < 1 for one in run.answers
    ):
        raise ValueError("samples of a problem that are not numbered from 1, each once")
    if not math.isfinite(run.wall_seconds):
        raise ValueError("a wall time that is no number")
    if len(run.entropies) not in (0, BINS):
        raise ValueError(f"entropies of {len(run.entropies)} bins, not {BINS}")
    return run
