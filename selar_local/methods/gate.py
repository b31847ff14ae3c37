"""What the methods with a gate share: the options' declarations, the guard, the scope, and their notes."""

from __future__ import annotations

from typing import Any, Final, Literal

from selar_local.config import opt, require
from selar_local.methods.base import StepView

AUTO: Final = "auto"
Tau = float | Literal["auto"]
Scope = Literal["all", "thinking"]
Shown = Literal["drawn", "heaviest"]

_OURS = "ours"


def guard_option(source: str) -> Any:
    """The field `symbol_guard`."""
    return opt(
        True,
        "never explore on digits, letters and mathematical symbols",
        "--symbol-guard/--no-symbol-guard",
        source=source,
    )


def scope_option() -> Any:
    """The field `scope`, of type `Scope`."""
    return opt(
        "all",
        "explore everywhere, or only while the model thinks",
        "--scope",
        source=_OURS,
    )


def show_option() -> Any:
    """The field `show`, of type `Shown`."""
    return opt(
        "drawn",
        "token shown where it explores: the drawn one, or the one of the largest weight",
        "--show",
        source=_OURS,
    )


def require_number(tau: Tau | None) -> None:
    """Raise OptionError where tau is "auto" still: the model has no calibration."""
    require(tau != AUTO, "tau auto needs a calibrated model: run selar-local calibrate")


def scope_notes(scope: Scope, has_thinking: bool, thinking_over: bool) -> tuple[str, ...]:
    """The note of a method whose scope leaves no step to explore."""
    if scope != "thinking" or (has_thinking and not thinking_over):
        return ()
    why = "the prompt has ended the thinking" if thinking_over else "this model has no thinking tags"
    return (f"no step explores with scope thinking: {why}",)


def kept_by(view: StepView, guarded: frozenset[int], scope: Scope) -> str | None:
    """Why this step must stay a certain one although the gate opens, if it must."""
    if view.token in guarded:
        return "symbol guard"
    if scope == "thinking" and not view.keeps_thinking():
        return "scope"
    return None
