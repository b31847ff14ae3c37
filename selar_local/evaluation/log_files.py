"""The logs in a folder, and what their headers tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LogFile:
    """One log of a study.

    graded_by: the options of the grading, None where there was none. answers: written to the file, those not counted
    that Inspect's database has besides. changed: Unix time.
    """

    path: Path
    label: str
    metadata: Mapping[str, Any]
    finished: bool
    graded_by: Mapping[str, Any] | None
    answers: int
    changed: float


def log_files(folder: Path) -> list[LogFile]:
    """Our logs in the folder, not those in folders within; what is none, or cannot be read, is passed over."""
    if not folder.is_dir():
        return []
    return [log for path in sorted(folder.glob("*.eval")) if (log := _look(path)) is not None]


def _look(path: Path) -> LogFile | None:
    from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries

    try:
        header = read_eval_log(str(path), header_only=True)
        metadata = header.eval.metadata or {}
        if "label" not in metadata or "model_sha256" not in metadata:
            return None
        finished = header.status == "success"
        if finished and header.results is not None:
            answers = header.results.completed_samples
        else:
            answers = sum(one.error is None for one in read_eval_log_sample_summaries(str(path)))
        changed = path.stat().st_mtime
    except Exception:  # half a file, or one of another program
        return None
    scores = header.results.scores if header.results is not None else []
    graded_by = dict(scores[0].params) if scores else None
    return LogFile(path, metadata["label"], metadata, finished, graded_by, answers, changed)


def best_of(files: Sequence[LogFile], label: str) -> LogFile | None:
    """The log to go by, or on from: a finished one, else that with the most answers, the newest of several."""
    own = [file for file in files if file.label == label]
    return max(own, key=lambda file: (file.finished, file.answers, file.changed), default=None)
