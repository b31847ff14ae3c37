"""Statistics of traces: entropies, and where in the texts the method explored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.analysis.token_classes import CLASSES, token_classes
from selar_local.analysis.valley import Valley, certain_entropy, find_valley
from selar_local.errors import SelarError
from selar_local.trace import Trace

Floats = npt.NDArray[np.float64]
Choice = npt.NDArray[np.bool_]

#: Equal parts of a text: the places in the tables.
PARTS = 10
_K = 3
_LARGE = 1e300  # neither infinity nor an integer that no float can hold


@dataclass(frozen=True)
class Count:
    """A number of steps, and how many of them explored. mean_entropy: of those with an entropy, else None."""

    steps: int
    explored: int
    mean_entropy: float | None

    @property
    def share(self) -> float | None:
        """Exploration steps as a share of all, 0 to 1; None without steps."""
        return self.explored / self.steps if self.steps else None


class TraceEntropies:
    """One trace in arrays of (steps,); entropies are NaN where the method has none.

    tau: the threshold of the entropy, where the method has a number for one. k, gate_on: of the gate, where it has
    one. parts: which of the `PARTS` equal parts of the text a step is in. classes: by `token_classes`.
    """

    def __init__(self, trace: Trace) -> None:
        self.name, self.method, self.unit = trace.name, trace.method or "unknown", trace.unit
        self.finished = trace.end is not None
        options = trace.options
        self.tau = None if options.get("gate_by") == "p-max" else _number(options.get("tau"))
        self.k: int | None = options["k"] if type(options.get("k")) is int and options["k"] > 1 else None
        self.gate_on: str | None = options["gate_on"] if isinstance(options.get("gate_on"), str) else None
        steps = trace.steps
        self.entropies = np.array([np.nan if one.entropy is None else one.entropy for one in steps], np.float64)
        self.explored = np.array([one.explored for one in steps], np.bool_)
        self.parts = np.arange(len(steps)) * PARTS // max(len(steps), 1)
        self.classes = np.array(token_classes([one.text for one in steps]), np.str_)

    @property
    def normalised(self) -> bool:
        """Whether its entropies may stand in a histogram over [0, 1]."""
        return self.unit == "normalised"

    @property
    def count(self) -> Count:
        """Of all its steps."""
        return _count(self.entropies, self.explored)

    @property
    def reached(self) -> int:
        """How many entropies reach tau."""
        return 0 if self.tau is None else int(np.count_nonzero(self.entropies >= self.tau))


@dataclass(frozen=True)
class EntropyStatistics:
    """Several traces together.

    entropies: (n,) the normalised ones of all traces that have such. reached: how many of them reach their own trace's
    tau; None where no trace has one. valley: of these entropies. taus: the thresholds in use, rising. by_part,
    by_class: in the order of the text and of `CLASSES`.
    """

    traces: tuple[TraceEntropies, ...]
    entropies: Floats
    reached: int | None
    valley: Valley
    taus: tuple[float, ...]
    all: Count
    by_part: tuple[Count, ...]
    by_class: dict[str, Count]

    @property
    def left_out(self) -> tuple[TraceEntropies, ...]:
        """Traces with entropies in another unit: they count as steps, but not in the histogram."""
        return tuple(trace for trace in self.traces if not trace.normalised)


def pooled(traces: Sequence[Trace]) -> EntropyStatistics:
    """The statistics of all steps of these traces together. Raises SelarError where there is no step."""
    read = tuple(map(TraceEntropies, traces))
    if not any(trace.steps for trace in traces):
        raise SelarError(f"there is no step in {', '.join(trace.name for trace in traces)}")
    normalised = [trace for trace in read if trace.normalised]
    entropies = np.concatenate([np.zeros(0), *(trace.entropies for trace in normalised)])
    entropies = entropies[~np.isnan(entropies)]
    taus = {trace.tau for trace in normalised if trace.tau is not None}
    # Only entropies of one unit have a mean in common.
    one_unit = len({trace.unit for trace in read}) == 1
    shared = np.concatenate([one.entropies if one_unit or one.normalised else one.entropies * np.nan for one in read])
    explored, parts, classes = (
        np.concatenate([getattr(trace, name) for trace in read]) for name in ("explored", "parts", "classes")
    )
    return EntropyStatistics(
        traces=read,
        entropies=entropies,
        reached=sum(trace.reached for trace in normalised) if taus else None,
        valley=find_valley(entropies, floor=certain_entropy(max((one.k or 0 for one in normalised), default=0) or _K)),
        taus=tuple(sorted(taus)),
        all=_count(shared, explored),
        by_part=tuple(_count(shared[parts == part], explored[parts == part]) for part in range(PARTS)),
        by_class={name: _count(shared[classes == name], explored[classes == name]) for name in CLASSES},
    )


def _count(entropies: Floats, explored: Choice) -> Count:
    known = entropies[~np.isnan(entropies)]
    return Count(len(explored), int(explored.sum()), float(known.mean()) if len(known) else None)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGE:
        return None
    return float(value)
