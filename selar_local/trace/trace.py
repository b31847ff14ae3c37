"""A trace that was read: its steps in checked types, and the facts of its run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from selar_local.errors import SelarError
from selar_local.trace.records import Record, read_trace

Pairs = tuple[tuple[int, float], ...]


class Step(NamedTuple):
    """One step of a trace, as in the file (see `TokenEvent`); `text` is thinking and answer together.

    fed: None where the trace does not say what was fed, such as a trace of an earlier version.
    """

    token: int
    text: str
    entropy: float | None
    explored: bool
    top: Pairs
    mode: str | None
    drawn: int
    fed: Pairs | None
    kept: str | None


@dataclass(frozen=True)
class Trace:
    """A trace with the name it is shown under. run and end are its records; end is None where the file breaks off."""

    name: str
    run: Record
    steps: tuple[Step, ...]
    end: Record | None

    @property
    def method(self) -> str:
        """The method's name, "" where the file has none."""
        return _text(self.run.get("method"))

    @property
    def options(self) -> Record:
        """The method's options."""
        return _mapping(self.run.get("options"))

    @property
    def model(self) -> Record:
        """The facts about the model."""
        return _mapping(self.run.get("model"))

    @property
    def sampling(self) -> Record:
        """The sampling, with the seed."""
        return _mapping(self.run.get("sampling"))

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        tokens = self.run.get("prompt_tokens")
        return tuple(t for t in tokens if _is_id(t)) if isinstance(tokens, list) else ()

    @property
    def unit(self) -> str:
        """The unit of its entropies: "normalised" or "nats"."""
        return _unit(self.run)


def load_trace(path: Path, name: str | None = None) -> Trace:
    """The trace in a file. name: what to show it as (default: the file's name). Raises SelarError if it is no trace."""
    if path.is_dir():
        raise SelarError(f"{path} is a folder: name the traces in it, such as {path / '*.jsonl'}")
    return trace_of(name or path.name, *read_trace(path))


def trace_of(name: str, run: Record, steps: Iterable[Record], end: Record | None) -> Trace:
    """The same from records. It ignores fields it does not know. Raises SelarError for wrong values."""
    largest = 1.0 if _unit(run) == "normalised" else float("inf")
    return Trace(name, run, tuple(_step(name, i, step, largest) for i, step in enumerate(steps)), end)


def _step(name: str, i: int, step: Record, largest: float) -> Step:
    """largest: of the entropies."""
    token, text, explored = step.get("token"), step.get("text", ""), step.get("explored") is True
    top, mode, kept = step.get("top") or (), step.get("mode"), step.get("kept")
    drawn, entropy = step.get("drawn", token), step.get("entropy")
    if not _is_id(token):
        raise _wrong(name, i, "token")
    fed = step.get("fed", None if explored else ((token, 1.0),))
    if not isinstance(text, str):
        raise _wrong(name, i, "text")
    if not _are_pairs(top) or any(pair[1] < 0 for pair in top):
        raise _wrong(name, i, "list of candidates")
    if not _is_id(drawn):
        raise _wrong(name, i, "drawn token")
    if fed is not None and not _are_pairs(fed):
        raise _wrong(name, i, "list of what it fed")
    if entropy is not None and not (_is_number(entropy) and 0 <= entropy <= largest):
        bounds = "between 0 and 1" if largest == 1 else "a number from 0 on"
        raise SelarError(f"{name}: the entropy of step {i} is {entropy!r}, not {bounds}")
    return Step(
        token,
        text,
        None if entropy is None else float(entropy),
        explored,
        _pairs(top),
        mode if isinstance(mode, str) else None,
        drawn,
        None if fed is None else _pairs(fed),
        kept if isinstance(kept, str) else None,
    )


def _wrong(name: str, i: int, what: str) -> SelarError:
    return SelarError(f"{name} is not a trace of selar-local: step {i} has a wrong {what}")


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _are_pairs(value: Any) -> bool:
    """Whether each begins with an id and a number."""
    return isinstance(value, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) > 1 and _is_id(pair[0]) and _is_number(pair[1]) for pair in value
    )


def _pairs(value: Any) -> Pairs:
    return tuple((pair[0], float(pair[1])) for pair in value)


def _unit(run: Record) -> str:
    return _text(run.get("entropy_unit")) or "normalised"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}
