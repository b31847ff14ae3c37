"""Advice on an answer that explored so often that its text may not read well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from selar_local.engine.events import Usage
from selar_local.methods import Method, Selar
from selar_local.presets import SELDOM

_MANY = 0.25  # share of exploration steps; the paper's models have 0.06 to 0.14
_ENOUGH_STEPS = 20


def _keyword(name: str, value: Any) -> str:
    return f"{name}={value}"


def advice(method: Method, usage: Usage, written: Callable[[str, Any], str] = _keyword) -> str | None:
    """One line for the person who reads the answer, or None where there is nothing to advise.

    It is about SeLaR's gate: the other methods, and the opposite gate, explore often by design. written: an option
    and its value as this person would write them.
    """
    if not isinstance(method, Selar) or method.invert_gate:
        return None
    if usage.explored_share <= _MANY or usage.completion_tokens < _ENOUGH_STEPS:
        return None
    own = {name for name in ("contrast", "anchor") if getattr(method, name) != 1}  # 1 is the default of both
    *first, last = [written(name, value) for name, value in SELDOM.options.items() if name not in own]
    return (
        f"{100 * usage.explored_share:.0f} % of the steps explored, where the paper's models explore at 6 to 14 %: "
        f"words may be doubled, missing or wrong. Try {' and '.join(filter(None, (', '.join(first), last)))}."
    )
