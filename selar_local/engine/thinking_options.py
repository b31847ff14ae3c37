"""What a request says about its thinking: the switch, the effort, and variables of the chat template."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from selar_local.config import GenerationConfig, require
from selar_local.engine.dialects import Dialect
from selar_local.templates.variables import SWITCHES

#: Efforts as budgets of thinking tokens, for chat templates that know no effort; None: no limit.
EFFORT_BUDGETS: dict[str, int | None] = {
    "minimal": 256, "low": 1024, "medium": 4096, "high": None, "xhigh": None, "max": None,
}  # fmt: skip
_NO_EFFORT = "none"


class ThinkingOptions(NamedTuple):
    """thinking: as asked for. rendering: the options of `ChatTemplate.render`. note: what a person should know."""

    thinking: bool | None
    rendering: dict[str, Any]
    generation: GenerationConfig
    note: str | None = None


def thinking_options(thinking: bool | None, generation: GenerationConfig, dialect: Dialect) -> ThinkingOptions:
    """What the options of a request come to with this template. Raises OptionError."""
    variables = dialect.template.variables
    given = dict(generation.template_args or {})
    switch = given.get(SWITCHES[0], False)
    require(isinstance(switch, bool), f"template_args: {SWITCHES[0]} must be true or false, not {switch!r}")
    for name in SWITCHES:
        if isinstance(given.get(name), bool):
            agree = thinking in (None, given[name])
            require(agree, f"template_args has {name} {given[name]}, and thinking is {thinking}")
            thinking = given[name]
            if name not in variables.names:  # clients set it on any model: it is what `thinking` is
                del given[name]
    effort, note = generation.reasoning_effort, None
    if effort == _NO_EFFORT:
        require(not thinking, "reasoning_effort none and thinking on exclude each other")
        thinking, effort = False, None
    elif effort is not None and not variables.set_effort:
        generation, note = _as_budget(effort, generation, can_think=dialect.thinks)
        effort = None
    rendering = {
        "thinking": thinking,
        "reasoning_effort": effort,
        "thinking_budget": generation.thinking_budget,
        "template_args": given,
    }
    return ThinkingOptions(thinking, rendering, generation, note)


def _as_budget(effort: str, generation: GenerationConfig, *, can_think: bool) -> tuple[GenerationConfig, str]:
    """The options with the effort as a budget, and the note that says so. Clients set an effort on any model."""
    known = ", ".join((_NO_EFFORT, *EFFORT_BUDGETS))
    require(effort in EFFORT_BUDGETS, f"reasoning_effort must be one of {known} with this model, not {effort!r}")
    if not can_think:
        return generation, "reasoning_effort has no effect: this model does not think"
    budget = EFFORT_BUDGETS[effort] if generation.thinking_budget is None else generation.thinking_budget
    limit = "no limit" if budget is None else f"at most {budget} tokens"
    note = f"the chat template knows no effort: {effort} is {limit} of thinking here"
    return replace(generation, thinking_budget=budget), note
