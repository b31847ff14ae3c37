"""The sampling that a model file recommends, in keys `general.sampling.*`. Converters take it from the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.options import described

_PREFIX = "general.sampling."
#: llama.cpp's keys. It has others for mirostat and the order of the samplers, which we do not have.
_NAMES = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
}


def recommended_sampling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the file sets. A value that an option does not take is left out."""
    options = {option.name: option for option in described(SamplingConfig)}
    found: dict[str, Any] = {}
    for key, name in _NAMES.items():
        value = metadata.get(_PREFIX + key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        try:
            found[name] = options[name].checked(_as_written(value) if options[name].number is float else int(value))
        except (OptionError, ValueError, OverflowError):
            continue
    return found


def _as_written(value: float) -> float:
    """0.7 for the float32 next to it, which is what the file has."""
    return float(str(np.float32(value)))
