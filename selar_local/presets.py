"""Settings with names, as the chat page offers and hints advise them (docs/RESULTS.md, docs/methods/selar.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """A method with options. options: only those that differ from the method's defaults. meaning: one line."""

    name: str
    method: str
    meaning: str
    options: Mapping[str, Any] = field(default_factory=dict)


RECOMMENDED = Preset(
    "SeLaR, clean text",
    "selar",
    "no push, and half of what is fed is the printed token: recommended for instruct models",
    {"contrast": 0, "anchor": 0.5},
)
SELDOM = Preset(
    "SeLaR, clean text, few steps",
    "selar",
    "the same for a model that is often torn: at most 15 % of the steps explore",
    {**RECOMMENDED.options, "max_share": 0.15},
)
PAPER = Preset("SeLaR, as published", "selar", "the paper's defaults, for models that think at length")
ORDINARY = Preset("ordinary sampling", "cot", "no step explores; no other setting was shown to answer better")

#: In the order in which a person should try them.
PRESETS = (RECOMMENDED, SELDOM, PAPER, ORDINARY)
