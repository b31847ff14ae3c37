"""Tool calls: which are asked for, and how they are found in what the model wrote."""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from selar_local.engine.events import Result
from selar_local.server.errors import bad_request
from selar_local.server.json_schema import call_schema
from selar_local.server.schemas import ChatRequest, Tool

__all__ = ["ForcedCall", "ToolPlan", "plan_tools", "read_calls"]

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}

Call = dict[str, Any]


class ForcedCall:
    """An answer that a schema makes a call. It is kept back to its end; one that was cut off stays text."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._text = ""

    def feed(self, text: str) -> None:
        """Take the next text."""
        self._text += text

    def finish(self) -> tuple[str, list[Call]]:
        """The end: the text that is no call, and the calls."""
        call = _call(self._text, self._names)
        return (self._text, []) if call is None else ("", [call])


def read_calls(result: Result, *, several: bool) -> list[Call]:
    """The calls that the model's format has found, as OpenAI writes them. One that was cut off comes last."""
    found = [*result.calls, *(() if result.cut_call is None else (result.cut_call,))]
    return [_written(name, arguments, id) for name, arguments, id in (found if several else found[:1])]


def _written(name: str, arguments: str, id: str | None = None) -> Call:
    function = {"name": name, "arguments": arguments}
    return {"id": id or f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


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
    return _written(value["name"], written)


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
    if request.grammar is not None:
        raise bad_request(
            "grammar and tools exclude each other: the text is a call, or what the grammar says", "grammar"
        )
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
