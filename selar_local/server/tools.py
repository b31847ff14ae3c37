"""Tool calls: which are asked for, and how they are found in what the model wrote."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from selar_local.engine.events import Result
from selar_local.formats import HERMES, Call, Delta, LooseCalls
from selar_local.server.errors import bad_request
from selar_local.server.json_schema import answer_schema, call_schema
from selar_local.server.schemas import ChatRequest, Tool

_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


class ForcedCall:
    """Reads an answer that a schema makes a call. What is cut off before the call has its name stays text."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._reader = HERMES.reader("", tools)
        self._reader.feed(HERMES.markers[0])
        self._text = ""
        self._begun = False

    def feed(self, text: str) -> tuple[str, list[Delta]]:
        """Take the next text; returns what is certain of it: text that is no call, and the call."""
        self._text += text
        return "", self._calls(self._reader.feed(text))

    def finish(self) -> tuple[str, list[Delta]]:
        """The end: the text, where it is no call, and the rest of the call."""
        rest = self._calls(self._reader.finish().rest)
        return "" if self._begun else self._text, rest

    def _calls(self, deltas: Iterable[Delta]) -> list[Delta]:
        found = [delta for delta in deltas if delta.call >= 0]
        self._begun |= bool(found)
        return found


class AnswerOrCall:
    """Reads an answer that a schema makes a call, or the JSON that was asked for. A call comes whole, at the end."""

    def __init__(self, tools: Sequence[Mapping[str, Any]]) -> None:
        self._reader = _WholeCall("", tools)

    def feed(self, text: str) -> tuple[str, list[Delta]]:
        """As `ForcedCall.feed`."""
        return self._told(self._reader.feed(text))

    def finish(self) -> tuple[str, list[Delta]]:
        """As `ForcedCall.finish`."""
        return self._told(self._reader.finish().rest)

    def _told(self, deltas: list[Delta]) -> tuple[str, list[Delta]]:
        text = "".join(delta.text for delta in deltas if delta.kind == "content")
        return text, [delta for delta in deltas if delta.call >= 0]


class _WholeCall(LooseCalls):
    """Calls that are the whole text, as `call_schema` has them. Anything else is content, as soon as that is clear."""

    starts = ()

    def fits(self, key: str, value: object) -> bool:
        return key in ("name", "arguments") and super().fits(key, value)


class CallStream:
    """The calls of one answer, as OpenAI writes them, while they grow. several: more than one may be made."""

    def __init__(self, *, several: bool = True) -> None:
        self._several = several
        self.calls: list[dict[str, Any]] = []

    def feed(self, deltas: Iterable[Delta]) -> list[dict[str, Any]]:
        """What a step adds, as a chunk has it: an id and a name first, then more of the arguments."""
        news: dict[int, dict[str, Any]] = {}
        for delta in deltas:
            if delta.call > 0 and not self._several:
                continue
            if delta.kind == "call":
                call = Call(delta.text, "", delta.id or _made_id())
                self.calls.append(call.as_openai())
                news[delta.call] = {"index": delta.call, **call.as_openai()}
            elif delta.kind == "arguments":
                self.calls[delta.call]["function"]["arguments"] += delta.text
                new = news.setdefault(delta.call, {"index": delta.call, "function": {"arguments": ""}})
                new["function"]["arguments"] += delta.text
        return list(news.values())

    def finish(self, result: Result) -> list[dict[str, Any]]:
        """What the end adds: all calls, where no step was fed. One that was cut off comes last."""
        found = [*result.calls, *(() if result.cut_call is None else (result.cut_call,))]
        found = found if self._several else found[:1]
        n = len(self.calls)
        if n and n == len(found) and found[-1].arguments.startswith(sent := self.calls[-1]["function"]["arguments"]):
            rest = found[-1].arguments[len(sent) :]
            return self.feed([Delta("arguments", rest, n - 1)] if rest else [])
        self.calls += [call.as_openai(_made_id()) for call in found[n:]]
        return [{"index": i, **call} for i, call in enumerate(self.calls[n:], n)]


def _made_id() -> str:
    return f"call_{secrets.token_hex(12)}"


@dataclass(frozen=True)
class ToolPlan:
    """What a request's tools come to.

    shown: what the chat template gets. schema: what binds the text, None where the model is free; field: what asks for
    it. reader: reads the text of a schema with calls. several: more than one call may be made.
    """

    shown: list[dict[str, Any]] | None = None
    names: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None
    field: str = "tools"
    reader: type[ForcedCall | AnswerOrCall] | None = None
    several: bool = True


def plan_tools(request: ChatRequest) -> ToolPlan:
    """What is to be done about the request's tools and the form of its answer. Raises ApiError for what cannot be."""
    tools = request.tools or []
    choice = request.tool_choice if request.tool_choice is not None else "auto" if tools else "none"
    names = [tool.function.name for tool in tools]
    if len(set(names)) < len(names):
        raise bad_request("two tools have the same name", "tools")
    answer, field = answer_schema(request)
    if choice == "none" or (choice == "auto" and not tools):
        return ToolPlan(schema=answer, field=field)
    forced = _forced(choice, tools)
    if request.grammar is not None:
        raise bad_request(
            "grammar and tools exclude each other: the text is a call, or what the grammar says", "grammar"
        )
    plan = ToolPlan(
        shown=[tool.model_dump(exclude_unset=True) for tool in tools],
        names=tuple(names),
        several=request.parallel_tool_calls is not False,
    )
    if not forced and answer is None:
        return plan
    functions = [(tool.function.name, tool.function.parameters or _NO_PARAMETERS) for tool in forced or tools]
    if forced:
        return replace(plan, schema=call_schema(functions), reader=ForcedCall)
    return replace(plan, schema=call_schema(functions, answer), field=field, reader=AnswerOrCall)


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
