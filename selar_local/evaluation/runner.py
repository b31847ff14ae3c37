"""Runs a study: one Inspect log a method over the same problems, resumed where it broke off, then graded.

What survives a `kill -9`: Inspect writes every finished answer to a database in the user's data folder at once, and the
log file itself every few answers; `eval_retry` takes both. So only the answers that were under way are lost.

Inspect's `eval_set` would choose between `eval` and `eval_retry` as well, but it knows a log by the model's path and
the grading's arguments (not by the file's SHA-256), leaves a killed run's log in the folder, and prints to standard
output.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.config import EngineConfig
from selar_local.errors import MissingExtra, OptionError, SelarError
from selar_local.evaluation import facts
from selar_local.evaluation.answering import inspect_model, opened
from selar_local.evaluation.config import MethodSpec
from selar_local.evaluation.log_files import LogFile, best_of, log_files
from selar_local.evaluation.plan import Evaluation, Observer
from selar_local.install_hint import install_hint

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog

    from selar_local.engine.engine import Engine

_FLUSHES = 200  # times a log file is written at most: each time it is written whole


def require_extra() -> None:
    """Raises MissingExtra where what an evaluation needs is not installed. It looks and imports nothing."""
    for name in ("inspect_ai", "math_verify"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(f"an evaluation needs {name}; {install_hint('eval')}")


@contextlib.contextmanager
def _root_log_level_kept() -> Iterator[None]:
    """Inspect sets the root logger's level, which belongs to the program that evaluates."""
    root = logging.getLogger()
    level = root.level
    try:
        yield
    finally:
        root.setLevel(level)


@_root_log_level_kept()
def evaluate(
    evaluation: Evaluation,
    folder: Path,
    open_engine: Callable[[EngineConfig], AbstractContextManager[Engine]],
    observer: Observer | None = None,
    *,
    regrade: bool = False,
) -> list[Path]:
    """Generate what is missing in `folder`, grade what is not graded so; the logs, in the order of the methods.

    open_engine: called only where something is to be generated. All finished logs of the folder are graded by the same
    rule: they are one study. regrade: grade all of them again. Raises OptionError where the folder holds logs of
    another study, KeyboardInterrupt where it was interrupted, the errors of the engine; what is finished is kept.
    """
    observer = observer or Observer()
    require_extra()
    settings = evaluation.settings()
    found = log_files(folder)
    _require_same(evaluation, settings, found, folder)
    best = {spec.label: best_of(found, spec.label) for spec in evaluation.specs}
    missing = [spec for spec in evaluation.specs if not _finished(best[spec.label])]
    if missing:
        with opened(evaluation, missing, open_engine, observer) as found_out:
            for spec in missing:
                _generate(evaluation, spec, best[spec.label], folder, {**settings, **found_out}, observer)
            observer.end()
    # Logs of the same second are in no order by their names.
    place = {spec.label: number for number, spec in enumerate(evaluation.specs)}
    found = sorted(log_files(folder), key=lambda file: place.get(file.label, len(place)))
    for file in found:
        if file.finished and (regrade or file.graded_by != {"last_number": evaluation.config.by_last_number}):
            observer.note(f"grading {file.label}")
            grade_log(file.path, last_number=evaluation.config.by_last_number)
    return [one.path for spec in evaluation.specs if (one := best_of(found, spec.label))]


def _finished(file: LogFile | None) -> bool:
    return file is not None and file.finished


def _require_same(evaluation: Evaluation, settings: Mapping[str, Any], found: Sequence[LogFile], folder: Path) -> None:
    """Raises OptionError where a log of the folder has other settings, or other options of its method."""
    for file in found:
        if other := _differences(file.metadata, settings, facts.SETTINGS):
            raise OptionError(f"{folder} holds a study with other settings ({other}): choose another folder with --out")
    for spec in evaluation.specs:
        here = facts.plain(facts.method_facts(spec, evaluation.sampling))
        for file in found:
            parts = [(file.metadata.get(part) or {}, here[part]) for part in ("options", "sampling")]
            other = "; ".join(filter(None, (_differences(there, mine, mine) for there, mine in parts)))
            if file.label == spec.label and other:
                raise OptionError(
                    f"{folder} holds {spec.label} with other options ({other}): "
                    "choose another folder with --out, or give the option to the method, such as selar:tau=0.3"
                )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], names: Iterable[str]) -> str:
    return "; ".join(
        f"{name} {_brief(there[name])}, here {_brief(here[name])}"
        for name in names
        if name in there and there[name] != here[name]
    )


def _brief(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:12] + "..."


def _generate(
    evaluation: Evaluation,
    spec: MethodSpec,
    begun: LogFile | None,
    folder: Path,
    metadata: dict[str, Any],
    observer: Observer,
) -> None:
    """One method's log, from its beginning or from where it broke off."""
    common: dict[str, Any] = {
        "log_dir": str(folder), "log_format": "eval", "score": False, "display": "none", "log_level": "critical",
        "log_level_transcript": "critical", "ctl_server": False, "log_realtime": True,
        "log_buffer": max(1, evaluation.answers // _FLUSHES), "max_samples": 2 * evaluation.parallel,
        # A few more than are decoded wait in the engine's queue: a place that falls free is taken at once.
        "max_connections": math.ceil(1.25 * evaluation.parallel),
    }  # fmt: skip
    observer.begin(spec.label, begun.answers if begun else 0, evaluation.answers)
    logs = _continued(begun, common) if begun else _begun(evaluation, spec, common, metadata)
    if not logs or logs[0].status == "cancelled":
        raise KeyboardInterrupt
    log = logs[0]
    if log.status != "success":
        raise SelarError(f"{spec.label}: {_reason(log)}; the same command again goes on from here")
    for file in log_files(folder):
        if file.label == spec.label and not file.finished:
            with contextlib.suppress(OSError):  # Windows deletes no file that another program reads
                file.path.unlink()


def _reason(log: EvalLog) -> str:
    """The error that ended it; Inspect records an exception as Python shows it."""
    lines = (log.error.message if log.error else "").strip().splitlines() or ["an unknown error"]
    shown = re.fullmatch(r"""\w+\((['"])(.*)\1\)""", lines[-1])
    return shown[2] if shown else lines[-1]


def _begun(evaluation: Evaluation, spec: MethodSpec, common: dict[str, Any], metadata: dict[str, Any]) -> list[EvalLog]:
    from inspect_ai import eval as inspect_eval
    from inspect_ai.model import get_model

    from selar_local.evaluation import _registry

    config = evaluation.config
    name, arguments = inspect_model(evaluation)
    model = get_model(name, method=spec.method.name, **spec.given, **evaluation.sampling, **arguments)
    task = _registry.problems(
        config.task,
        None if config.data is None else str(Path(config.data).resolve()),
        config.limit,
        config.level,
        config.seed,
        config.samples,
        config.by_last_number,
    )
    return inspect_eval(
        task,
        model=model,
        metadata={**metadata, **facts.method_facts(spec, evaluation.sampling)},
        fail_on_error=True,
        max_tokens=config.max_tokens,
        stop_seqs=list(evaluation.stop) or None,
        **common,
    )


def _continued(begun: LogFile, common: dict[str, Any]) -> list[EvalLog]:
    from inspect_ai import eval_retry

    from selar_local.evaluation import _registry  # noqa: F401 - Inspect looks the task up

    try:
        return eval_retry(str(begun.path), **common)
    except IndexError:  # an interrupted evaluation gives no log, and it takes the first
        return []


def grade_log(path: Path, *, last_number: bool = False) -> None:
    """Grade the answers of a log, again where they are graded; the log is replaced."""
    from inspect_ai import score
    from inspect_ai.log import read_eval_log, write_eval_log

    from selar_local.evaluation import _registry

    log = read_eval_log(str(path))
    # Nothing is generated: no model is needed, and the file may be elsewhere by now.
    scorer = _registry.graded(last_number)
    write_eval_log(score(log, scorer, model="none/none", action="overwrite", display="none", copy=False), str(path))
