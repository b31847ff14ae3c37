"""The variables of chat templates that a request may set: switches of the thinking, efforts, all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from selar_local.config import require

#: What the engine itself gives to every template.
OWN = frozenset(("messages", "tools", "bos_token", "eos_token", "add_generation_prompt", "continue_final_message"))
_EFFORTS = ("reasoning_effort", "thinking_effort", "reasoning_strength")
_BUDGET = "thinking_budget"
#: Variables that clients set on any model, whatever its template reads.
SWITCHES = ("enable_thinking", "thinking")


class _Switch(NamedTuple):
    """A variable that switches the thinking, and its values. word: a text that such a template has in it.

    on None: without the variable the template thinks.
    """

    name: str
    off: Any = False
    on: Any = True
    word: str = ""


_SWITCHES = (
    *map(_Switch, SWITCHES),
    _Switch("reasoning"),  # Command A
    _Switch("thinking_mode", "disabled", "enabled", word="disabled"),  # MiniMax M3
    _Switch("reasoning_effort", "no_think", "high", word="no_think"),  # Hunyuan 3
    _Switch(_BUDGET, 0, None),  # Seed-OSS
)


class Variables:
    """The variables that a template reads and does not set itself on every way."""

    def __init__(self, names: Iterable[str], source: str) -> None:
        self.names = tuple(sorted(set(names) - OWN))
        self._switches = [one for one in _SWITCHES if one.name in self.names and one.word in source]
        self._efforts = [name for name in _EFFORTS if name in self.names]

    @property
    def switch_thinking(self) -> bool:
        """Whether the thinking can be switched."""
        return bool(self._switches)

    @property
    def set_effort(self) -> bool:
        """Whether the template knows levels of effort."""
        return bool(self._efforts)

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises OptionError for a variable that the template never reads, or that the engine sets itself."""
        for name in given:
            require(name not in OWN, f"template_args cannot set {name!r}: it is set for every prompt")
            reads = f"it reads: {', '.join(self.names)}" if self.names else "it reads none"
            require(name in self.names, f"template_args has {name!r}, which the chat template never reads ({reads})")

    def values(
        self,
        given: Mapping[str, Any] | None = None,
        *,
        thinking: bool | None = None,
        effort: str | None = None,
        budget: int | None = None,
    ) -> dict[str, Any]:
        """The variables for a prompt. What is `given` by name wins. Raises OptionError as `check`."""
        self.check(given or {})
        values: dict[str, Any] = {}
        if thinking is not None:
            values = {one.name: one.on if thinking else one.off for one in self._switches}
        if effort is not None:
            values |= dict.fromkeys(self._efforts, effort)
        if budget is not None and _BUDGET in self.names:
            values[_BUDGET] = budget
        return {name: value for name, value in values.items() if value is not None} | dict(given or {})
