"""What ``selar-local calibrate`` found for a model file, kept in the cache of facts; ``tau="auto"`` looks it up."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from selar_local.cache import file_key, read, write
from selar_local.config import SamplingConfig

_FORMAT = "1"  # of an entry; another one is another key


@dataclass(frozen=True)
class Calibration:
    """A model's adaptive threshold, and what it holds for.

    tau: in the entropies that the gate sees (`gate_on`); None where there is no valley, and `reason` says why.
    valley, low, high: the valley in the unfiltered entropies, and between which places 90 % of bootstrap samples have
    it. depth: how far its density lies below the lower of the peaks beside it, 0 to 1. p_value: of the test that there
    is none. explored: share of the steps that reach tau, 0 to 1, whatever the symbol guard does. steps, prompts: the
    sample. torn: steps that are not certain by definition. version, date: of the program and the run (ISO 8601).
    """

    k: int
    gate_on: str
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    tau: float | None
    steps: int
    torn: int
    prompts: int
    valley: float | None = None
    low: float | None = None
    high: float | None = None
    depth: float | None = None
    p_value: float | None = None
    explored: float | None = None
    reason: str = ""
    version: str = ""
    date: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return asdict(self)


def find(path: Path, *, k: int, gate_on: str, sampling: SamplingConfig) -> Calibration | None:
    """What is kept for this very file, `k`, gate, and the filters of `sampling`; None if nothing, or nothing sound.

    Raises ModelNotFound where there is no such file.
    """
    kept = read(_key(path, k, gate_on, sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p))
    return None if kept is None else _sound(kept)


def keep(path: Path, calibration: Calibration) -> None:
    """Keep it for this file, in place of an earlier one. A cache that cannot be written keeps nothing.

    Raises ModelNotFound where there is no such file.
    """
    c = calibration
    write(_key(path, c.k, c.gate_on, c.temperature, c.top_k, c.top_p, c.min_p), c.as_dict())


def _key(path: Path, k: int, gate_on: str, temperature: float, top_k: int, top_p: float, min_p: float) -> str:
    numbers = (repr(float(number)) for number in (k, temperature, top_k, top_p, min_p))
    return file_key(path, "calibration", _FORMAT, gate_on, *numbers)


def _sound(kept: dict[str, Any]) -> Calibration | None:
    """The entry as an object; None where it is not one that `keep` wrote."""
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "float | None": (int, float, type(None)),
        "str": (str,),
    }
    if kept.keys() != {field.name for field in fields(Calibration)}:
        return None
    for field in fields(Calibration):
        value = kept[field.name]
        if isinstance(value, bool) or not isinstance(value, kinds[str(field.type)]):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
    if kept["tau"] is not None and not 0.0 <= kept["tau"] <= 1.0:
        return None
    return Calibration(**kept)
