"""The lines of a trace as JSON objects: one ``run``, one ``step`` a generated token, one ``end``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selar_local._version import __version__
from selar_local.config import SamplingConfig
from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import SelarError
from selar_local.methods import Method

Record = dict[str, Any]


def run_record(
    model: Record, method: Method, sampling: SamplingConfig, seed: int, prompt_tokens: Iterable[int]
) -> Record:
    """The first record. model: the facts of `ModelInfo`, path included."""
    unit = method.entropy_unit
    return {
        "type": "run",
        "version": __version__,
        "model": {"path": model["path"], "sha256": None, **{k: v for k, v in model.items() if k != "path"}},
        "method": method.name,
        "options": asdict(method),
        **({} if unit == "normalised" else {"entropy_unit": unit}),
        "sampling": {**sampling.as_dict(), "seed": seed},
        "prompt_tokens": list(prompt_tokens),
    }


def step_record(event: TokenEvent) -> Record:
    """The record of one step."""
    record: Record = {
        "type": "step",
        "i": event.index,
        "token": event.token,
        "text": event.thinking + event.text,
        "entropy": event.entropy,
        "explored": event.explored,
        "top": event.top,
    }
    if event.mode is not None:
        record["mode"] = event.mode
    return record | fed_facts(event)


def fed_facts(event: TokenEvent) -> Record:
    """The fields `drawn`, `fed` and `kept` of a step. A step that feeds the token it drew has none of them."""
    facts: Record = {}
    if event.drawn != event.token:
        facts["drawn"] = event.drawn
    if event.explored or event.fed not in ((), ((event.token, 1.0),)):
        facts["fed"] = event.fed
    if event.kept is not None:
        facts["kept"] = event.kept
    return facts


def end_record(result: Result, pieces: Mapping[int, bytes] | None = None) -> Record:
    """The last record. pieces: the bytes of the tokens in the trace, written as text, or as numbers if not UTF-8."""
    latent = result.usage.latent_steps
    record: Record = {
        "type": "end",
        "finish_reason": result.finish_reason,
        "tokens": result.usage.completion_tokens,
        "explored_steps": result.usage.explored_steps,
        **({"latent_steps": latent} if latent else {}),
        "prefill_seconds": round(result.timings.prefill_seconds, 6),
        "decode_seconds": round(result.timings.decode_seconds, 6),
    }
    if pieces is not None:
        record["pieces"] = {str(token): _spelled(piece) for token, piece in pieces.items() if piece}
    return record


def _spelled(piece: bytes) -> str | list[int]:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def tokens_in(event: TokenEvent) -> Iterator[int]:
    """All ids in a step, some of them several times."""
    yield event.token
    yield event.drawn
    for token, _ in event.top:
        yield token
    for token, _ in event.fed or ():
        yield token


def read_trace(path: Path) -> tuple[Record, list[Record], Record | None]:
    """The run record, the step records and the end record (None when the run was cut off), as they are in the file.

    Raises SelarError when the file is not a trace.
    """
    run: Record | None = None
    steps: list[Record] = []
    end: Record | None = None
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    record = json.loads(line)
                except ValueError:
                    if run is None or line.endswith("\n"):
                        raise
                    break  # cut off within a line, as on a full disk
                kind = record["type"]
                if kind == "run":
                    run = record
                elif kind == "step":
                    steps.append(record)
                elif kind == "end":
                    end = record
    except OSError as error:
        raise SelarError(f"cannot read the trace {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SelarError(f"{path} is not a trace of selar-local") from None
    if run is None:
        raise SelarError(f"{path} is not a trace of selar-local: it has no run line")
    return run, steps, end
