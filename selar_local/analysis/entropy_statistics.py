"""What traces say of a model's certainty: entropies, and where in the texts the method explored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.analysis.token_classes import CLASSES, token_classes
from selar_local.analysis.valley import Valley, certain_entropy, find_valley
from selar_local.errors import SelarError
from selar_local.trace import read_trace

__all__ = ["PARTS", "Count", "EntropyStatistics", "Trace", "pooled", "read"]

Floats = npt.NDArray[np.float64]

#: Equal parts of a text, by which places are told.
PARTS = 10
_K = 3
_LARGE = 1e300  # neither infinity nor an integer that no float can hold


@dataclass(frozen=True)
class Count:
    """So many steps, and how many of them explored. mean_entropy: of those that have one, else None."""

    steps: int
    explored: int
    mean_entropy: float | None

    @property
    def share(self) -> float | None:
        """Exploration steps as a share of all, 0 to 1; None without steps."""
        return self.explored / self.steps if self.steps else None


@dataclass(frozen=True)
class Trace:
    """One trace. Arrays are (steps,) long; entropies are NaN where the method has none.

    unit: of the entropies, "normalised" or "nats". tau: the threshold, where the method has a number for one. k,
    gate_on: of the gate, where it has one. finished: False where the file breaks off. parts: which of the `PARTS` equal
    parts of the text a step is in. classes: by `token_classes`.
    """

    path: Path
    method: str
    unit: str
    tau: float | None
    k: int | None
    gate_on: str | None
    finished: bool
    entropies: Floats
    explored: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.int64]
    classes: npt.NDArray[np.str_]

    @property
    def normalised(self) -> bool:
        """Whether its entropies may stand in a histogram over [0, 1]."""
        return self.unit == "normalised"

    @property
    def count(self) -> Count:
        """Of all its steps."""
        return _count([self], None)


@dataclass(frozen=True)
class EntropyStatistics:
    """Several traces together.

    entropies: (n,) the normalised ones of all traces that have such. reached: how many of them reach their own trace's
    tau; None where no trace has one. valley: of these entropies. taus: the thresholds in use, rising. by_part,
    by_class: in the order of the text and of `CLASSES`.
    """

    traces: tuple[Trace, ...]
    entropies: Floats
    reached: int | None
    valley: Valley
    taus: tuple[float, ...]
    all: Count
    by_part: tuple[Count, ...]
    by_class: dict[str, Count]

    @property
    def left_out(self) -> tuple[Trace, ...]:
        """Traces whose entropies are of another unit: their steps are counted, their entropies are not pooled."""
        return tuple(trace for trace in self.traces if not trace.normalised)


def read(path: Path) -> Trace:
    """Read one trace, whole or broken off. Raises SelarError for a file that is none."""
    run, steps, end = read_trace(path)
    options = run.get("options")
    options = options if isinstance(options, dict) else {}
    unit = str(run.get("entropy_unit", "normalised"))
    texts = [_text(path, step) for step in steps]
    number = np.arange(len(steps))
    return Trace(
        path=path,
        method=str(run.get("method", "unknown")),
        unit=unit,
        tau=_number(options.get("tau")),
        k=options["k"] if type(options.get("k")) is int and options["k"] > 1 else None,
        gate_on=options["gate_on"] if isinstance(options.get("gate_on"), str) else None,
        finished=end is not None,
        entropies=np.array([_entropy(path, step, unit) for step in steps], np.float64),
        explored=np.array([step.get("explored") is True for step in steps], np.bool_),
        parts=number * PARTS // max(len(steps), 1),
        classes=np.array(token_classes(texts), np.str_),
    )


def pooled(traces: Sequence[Trace]) -> EntropyStatistics:
    """The statistics of all steps of these traces together. Raises SelarError where there is no step."""
    every = _count(traces, None)
    if not every.steps:
        raise SelarError(f"there is no step in {', '.join(str(trace.path) for trace in traces)}")
    known = [trace for trace in traces if trace.normalised]
    entropies = np.concatenate([np.zeros(0), *(_there(trace.entropies) for trace in known)])
    gated = [(trace.tau, _there(trace.entropies)) for trace in known if trace.tau is not None]
    reached = sum(int(np.count_nonzero(own >= tau)) for tau, own in gated)
    ks = {trace.k for trace in known if trace.k is not None}
    return EntropyStatistics(
        traces=tuple(traces),
        entropies=entropies,
        reached=reached if gated else None,
        valley=find_valley(entropies, floor=certain_entropy(max(ks, default=_K))),
        taus=tuple(sorted({tau for tau, _ in gated})),
        all=every,
        by_part=tuple(_count(traces, [trace.parts == part for trace in traces]) for part in range(PARTS)),
        by_class={name: _count(traces, [trace.classes == name for trace in traces]) for name in CLASSES},
    )


def _count(traces: Sequence[Trace], chosen: Iterable[npt.NDArray[np.bool_]] | None) -> Count:
    """Of the chosen steps of each trace, or all. Only normalised entropies have a mean in common."""
    masks = [np.ones(len(trace.explored), np.bool_) for trace in traces] if chosen is None else list(chosen)
    pairs = list(zip(traces, masks, strict=True))
    units = {trace.unit for trace in traces}
    told = [_there(trace.entropies[mask]) for trace, mask in pairs if len(units) == 1 or trace.normalised]
    entropies = np.concatenate([np.zeros(0), *told])
    return Count(
        sum(int(mask.sum()) for _, mask in pairs),
        sum(int(trace.explored[mask].sum()) for trace, mask in pairs),
        float(entropies.mean()) if len(entropies) else None,
    )


def _there(entropies: Floats) -> Floats:
    return entropies[~np.isnan(entropies)]


def _text(path: Path, step: dict[str, Any]) -> str:
    text = step.get("text", "")
    if not isinstance(text, str):
        raise SelarError(f"{path} is not a trace of selar-local: the text of a step is {text!r}")
    return text


def _entropy(path: Path, step: dict[str, Any], unit: str) -> float:
    given = step.get("entropy")
    if given is None:
        return math.nan
    value = _number(given)
    if value is None or value < 0 or (unit == "normalised" and value > 1):
        bounds = "between 0 and 1" if unit == "normalised" else "a number from 0 on"
        raise SelarError(f"{path}: the entropy of step {step.get('i')} is {given!r}, not {bounds}")
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGE:
        return None
    return float(value)
