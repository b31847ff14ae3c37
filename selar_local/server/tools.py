"""Tool calls: which are asked for, and how they are found in what the model wrote."""

from __future__ import annotations

import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from selar_local.server.errors import bad_request
from selar_local.server.json_schema import call_schema
from selar_local.server.schemas import ChatRequest, Tool

__all__ = ["CallReader", "ForcedCall", "FreeCalls", "ToolPlan", "plan_tools"]

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_BLOCK = re.compile(f"{_OPEN}(.*?)(?:{_CLOSE}|$)", re.DOTALL)
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}

Call = dict[str, Any]


class CallReader(ABC):
    """Reads an answer as it comes, and keeps back what may be a call."""

    @abstractmethod
    def feed(self, text: str) -> str:
        """Take the next text; returns what is certainly none of a call."""

    @abstractmethod
    def finish(self) -> tuple[str, list[Call]]:
        """The end: the text that was kept back and is no call, and the calls."""


class ForcedCall(CallReader):
    """An answer that a grammar makes a call. One that was cut off stays text."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._text = ""

    def feed(self, text: str) -> str:
        self._text += text
        return ""

    def finish(self) -> tuple[str, list[Call]]:
        call = _call(self._text, self._names)
        return (self._text, []) if call is None else ("", [call])


class FreeCalls(CallReader):
    """An answer that may hold ``<tool_call>{..}</tool_call>`` blocks, or be one JSON object that is a call."""

    def __init__(self, names: Collection[str], *, several: bool = True) -> None:
        self._names = names
        self._several = several
        self._held = ""
        self._mode = "start"

    def feed(self, text: str) -> str:
        self._held += text
        if self._mode == "start" and self._held.strip():
            self._mode = "object" if self._held.lstrip().startswith("{") else "text"
        if self._mode != "text":
            return ""
        at = self._held.find(_OPEN)
        if at >= 0:
            self._mode = "calls"
        else:
            begun = next((n for n in range(len(_OPEN) - 1, 0, -1) if self._held.endswith(_OPEN[:n])), 0)
            at = len(self._held) - begun
        sure, self._held = self._held[:at], self._held[at:]
        return sure

    def finish(self) -> tuple[str, list[Call]]:
        if self._mode == "object":
            call = _call(self._held, self._names)
            return (self._held, []) if call is None else ("", [call])
        calls: list[Call] = []

        def take(block: re.Match[str]) -> str:
            call = _call(block[1], self._names)
            if call is None:
                return block[0]
            calls.append(call)
            return ""

        rest = _BLOCK.sub(take, self._held)
        return (rest if rest.strip() or not calls else ""), (calls if self._several else calls[:1])


def _call(text: str, names: Collection[str]) -> Call | None:
    """The call that a JSON text is: its name must be known, its arguments an object."""
    try:
        value = json.loads(text, parse_constant=_no_number)
        if not isinstance(value, dict) or value.get("name") not in names:
            return None
        arguments = value.get("arguments", value.get("parameters"))
        if isinstance(arguments, str):
            arguments = json.loads(arguments, parse_constant=_no_number)
        if not isinstance(arguments, dict):
            return None
        written = json.dumps(arguments, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):  # TypeError: a name that is no text
        return None
    return {
        "id": f"call_{secrets.token_hex(12)}",
        "type": "function",
        "function": {"name": value["name"], "arguments": written},
    }


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


@dataclass(frozen=True)
class ToolPlan:
    """What a request's tools come to.

    shown: what the chat template gets. schema: what forces a call, None where the model is free. several: more than
    one call may be made.
    """

    shown: list[dict[str, Any]] | None = None
    names: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    several: bool = True

    def reader(self) -> CallReader | None:
        """A new reader for one answer."""
        if self.schema is not None:
            return ForcedCall(self.names)
        return FreeCalls(self.names, several=self.several) if self.names else None


def plan_tools(request: ChatRequest) -> ToolPlan:
    """What is to be done about the request's tools. Raises ApiError for a choice that cannot be made."""
    tools = request.tools or []
    choice = request.tool_choice if request.tool_choice is not None else "auto" if tools else "none"
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise bad_request("two tools have the same name", "tools")
    if choice == "none":
        return ToolPlan()
    forced = _forced(choice, tools)
    if choice == "auto" and not tools:
        return ToolPlan()
    schema = call_schema([(t.function.name, t.function.parameters or _NO_PARAMETERS) for t in forced])
    return ToolPlan(
        shown=[tool.model_dump(exclude_unset=True) for tool in tools],
        names=tuple(names),
        schema=schema if forced else None,
        several=request.parallel_tool_calls is not False,
    )


def _forced(choice: Any, tools: list[Tool]) -> list[Tool]:
    """The tools of which one must be called; none where the model is free."""
    if choice == "auto":
        return []
    if choice == "required":
        if not tools:
            raise bad_request("tool_choice required needs tools", "tool_choice")
        return tools
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    found = [tool for tool in tools if tool.function.name == name]
    if not found:
        raise bad_request("tool_choice must be none, auto, required, or name one of the tools", "tool_choice")
    return found
