"""Traces as they are looked at: their steps in types that hold, and which belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from selar_local.errors import SelarError
from selar_local.trace import read_trace

__all__ = ["Group", "Step", "Trace", "grouped", "load_trace", "parting", "trace_of"]

Record = dict[str, Any]


class Step(NamedTuple):
    """One step of a trace, as in the file (see `TokenEvent`); `text` is that of thinking and answer."""

    token: int
    text: str
    entropy: float | None
    explored: bool
    top: tuple[tuple[int, float], ...]
    mode: str | None


@dataclass(frozen=True)
class Trace:
    """One trace. name: what it is called on a page. run, end: the records; end is None where the file breaks off."""

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
        """The sampling, the seed included."""
        return _mapping(self.run.get("sampling"))

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's token ids."""
        tokens = self.run.get("prompt_tokens")
        return tuple(t for t in tokens if _is_id(t)) if isinstance(tokens, list) else ()

    @property
    def unit(self) -> str:
        """Of the entropies: "normalised" or "nats"."""
        return _text(self.run.get("entropy_unit")) or "normalised"


def load_trace(path: Path, name: str | None = None) -> Trace:
    """The trace in a file. name: what it is called, else the file's. Raises SelarError where it is none."""
    if path.is_dir():
        raise SelarError(f"{path} is a folder: name the traces in it, such as {path / '*.jsonl'}")
    run, steps, end = read_trace(path)
    return trace_of(name or path.name, run, steps, end)


def trace_of(name: str, run: Record, steps: Sequence[Record], end: Record | None) -> Trace:
    """The same of records. Fields that nobody knows are passed over. Raises SelarError for those that are wrong."""
    return Trace(name, run, tuple(_step(name, i, step) for i, step in enumerate(steps)), end)


class Group(NamedTuple):
    """Traces of one prompt, by their place in the list. partings: by pair of places, None where two are the same."""

    members: tuple[int, ...]
    partings: dict[tuple[int, int], int | None]

    @property
    def first_parting(self) -> int | None:
        """The first step at which not all of them agree."""
        return min((step for step in self.partings.values() if step is not None), default=None)


def grouped(traces: Sequence[Trace]) -> list[Group]:
    """Traces of the same prompt tokens (in vocabularies of the same size) together, in the order given."""
    found: dict[Any, list[int]] = {}
    for place, trace in enumerate(traces):
        found.setdefault((trace.prompt, trace.model.get("n_vocab")) if trace.prompt else place, []).append(place)
    return [
        Group(
            tuple(members),
            {(a, b): parting(traces[a].steps, traces[b].steps) for a in members for b in members if a < b},
        )
        for members in found.values()
    ]


def parting(one: Sequence[Step], other: Sequence[Step]) -> int | None:
    """The first step whose token, or whether it explored, differs; where one goes on alone, its first step alone."""
    for i, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine.token != theirs.token or mine.explored != theirs.explored:
            return i
    return None if len(one) == len(other) else min(len(one), len(other))


def _step(name: str, i: int, step: Record) -> Step:
    token, text, top = step.get("token"), step.get("text", ""), step.get("top") or []
    mode = step.get("mode")
    wrong = (
        "token" if not _is_id(token)
        else "text" if not isinstance(text, str)
        else "candidates" if not isinstance(top, list) or not all(map(_is_candidate, top))
        else None
    )  # fmt: skip
    if wrong or not _is_id(token):
        raise SelarError(f"{name} is not a trace of selar-local: step {i} has a wrong {wrong}")
    entropy = step.get("entropy")
    return Step(
        token,
        text,
        max(float(entropy), 0.0) if _is_number(entropy) else None,
        step.get("explored") is True,
        tuple((candidate[0], float(candidate[1])) for candidate in top),
        mode if isinstance(mode, str) else None,
    )


def _is_id(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e12


def _is_candidate(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 2 and _is_id(value[0]) and _is_number(value[1]) and value[1] >= 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}
