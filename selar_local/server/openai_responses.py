"""``POST /v1/responses``, OpenAI's newer API. Nothing is stored: each request brings the whole conversation."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from selar_local.server.bridge import Job
from selar_local.server.chat import chat_response
from selar_local.server.errors import ApiError, bad_request
from selar_local.server.responses import Answer, read_body
from selar_local.server.schemas import Common, Whole, parse
from selar_local.server.service import Service
from selar_local.server.translated import Block, Event, Translated, chat_request, text_of

_TEXTS = ("input_text", "output_text", "text")
_PARAMS = {"messages": "input", "max_tokens": "max_output_tokens", "response_format": "text.format"}


class ResponsesRequest(Common):
    """The body."""

    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: Whole | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    include: list[Literal["reasoning.encrypted_content"]] | None = None  # there is none: the thinking is sent as it is
    truncation: Literal["disabled"] | None = None
    background: Literal[False] | None = None


async def responses(request: Request) -> Response:
    """Answer a conversation."""
    service: Service = request.app.state.service
    body: ResponsesRequest = parse(ResponsesRequest, await read_body(request, service.config.max_body_bytes))
    text, reasoning = body.text or {}, body.reasoning or {}
    _known("text", text, ("format", "verbosity"))
    _known("reasoning", reasoning, ("effort", "summary", "generate_summary"))
    if text.get("verbosity") not in (None, "medium"):
        raise bad_request("text.verbosity is not supported", "text.verbosity", "unsupported_parameter")
    chat = chat_request(
        body,
        messages=list(_messages(body)),
        max_tokens=body.max_output_tokens if body.max_output_tokens is not None else body.max_tokens,
        tools=[_tool(i, tool) for i, tool in enumerate(body.tools or ())] or None,
        tool_choice=_choice(body.tool_choice),
        parallel_tool_calls=body.parallel_tool_calls,
        response_format=_format(text.get("format")),
        reasoning_effort=reasoning.get("effort"),
    )
    return chat_response(service, chat, lambda answer: _Responses(answer, body, service.model), _PARAMS)


def _known(name: str, given: dict[str, Any], fields: tuple[str, ...]) -> None:
    for field, value in given.items():
        if field not in fields and value is not None:
            param = f"{name}.{field[:100]}"
            raise bad_request(f"{param} is not supported", param, "unsupported_parameter")


def _messages(body: ResponsesRequest) -> Iterator[dict[str, Any]]:
    """The items as messages of a chat. What one turn of the assistant is made of becomes one message."""
    if body.instructions:
        yield {"role": "system", "content": body.instructions}
    if isinstance(body.input, str):
        yield {"role": "user", "content": body.input}
        return
    turn: dict[str, Any] = {}
    for i, item in enumerate(body.input):
        found = _message(item, f"input[{i}]")
        if found["role"] == "assistant" and not ("content" in found and {"content", "tool_calls"} & set(turn)):
            calls = [*turn.get("tool_calls", ()), *found.get("tool_calls", ())]
            turn = {**turn, **found, **({"tool_calls": calls} if calls else {})}
            continue
        if turn:
            yield {"content": None, **turn}
        turn = found if found["role"] == "assistant" else {}
        if not turn:
            yield found
    if turn:
        yield {"content": None, **turn}


def _message(item: dict[str, Any], param: str) -> dict[str, Any]:
    kind = item.get("type", "message")
    if kind == "message" and isinstance(item.get("role"), str):
        return {"role": item["role"], "content": text_of(item.get("content"), _TEXTS, f"{param}.content")}
    if kind == "function_call" and all(isinstance(item.get(name), str) for name in ("call_id", "name", "arguments")):
        function = {"name": item["name"], "arguments": item["arguments"]}
        return {
            "role": "assistant",
            "tool_calls": [{"id": item["call_id"], "type": "function", "function": function}],
        }
    if kind == "function_call_output" and isinstance(item.get("call_id"), str):
        output = text_of(item.get("output"), _TEXTS, f"{param}.output")
        return {"role": "tool", "tool_call_id": item["call_id"], "content": output}
    if kind == "reasoning":
        parts = item.get("content") or item.get("summary") or []
        kinds = ("reasoning_text", "summary_text")
        return {"role": "assistant", "reasoning_content": text_of(parts, kinds, f"{param}.content")}
    raise bad_request(f"{param} is no message, call, call's output or reasoning that this server knows", param)


def _tool(i: int, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        param = f"tools[{i}].type"
        raise bad_request(f"{param}: functions are the only tools", param, "unsupported_parameter")
    return {"type": "function", "function": {k: v for k, v in tool.items() if k != "type" and v is not None}}


def _choice(choice: str | dict[str, Any] | None) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return choice


def _format(form: Any) -> dict[str, Any] | None:
    if form is None:
        return None
    if not isinstance(form, dict):
        raise bad_request("text.format must be an object", "text.format")
    if form.get("type") != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {k: v for k, v in form.items() if k in ("name", "strict", "schema")}}


class _Responses(Translated):
    """The answer as items."""

    def __init__(self, chat: Answer, body: ResponsesRequest, model: str) -> None:
        super().__init__(chat)
        self._number = 0
        self._ids: dict[int, str] = {}
        self._head = {
            "id": f"resp_{secrets.token_hex(12)}", "object": "response", "created_at": int(time.time()), "error": None,
            "incomplete_details": None, "instructions": body.instructions, "metadata": {}, "model": model,
            "parallel_tool_calls": body.parallel_tool_calls is not False, "previous_response_id": None,
            "temperature": body.temperature, "top_p": body.top_p, "max_output_tokens": body.max_output_tokens,
            "tool_choice": body.tool_choice or "auto", "tools": body.tools or [], "truncation": "disabled",
            "reasoning": body.reasoning or {}, "text": body.text or {"format": {"type": "text"}}, "store": False,
        }  # fmt: skip

    def begun(self, job: Job) -> Iterator[Event]:
        state = {**self._head, "status": "in_progress", "output": [], "usage": None}
        yield self._event("response.created", response=state)
        yield self._event("response.in_progress", response=state)

    def opened(self, block: Block) -> Iterator[Event]:
        place = {"output_index": block.index}
        yield self._event("response.output_item.added", **place, item=self._item(block, done=False))
        if block.kind != "call":
            part = {**_part(block), "text": ""}
            yield self._event("response.content_part.added", **place, **self._in(block), part=part)

    def grown(self, block: Block, text: str) -> Iterator[Event]:
        yield self._event(f"response.{_EVENTS[block.kind]}.delta", **self._place(block), **_logprobs(block), delta=text)

    def closed(self, block: Block) -> Iterator[Event]:
        place, name = self._place(block), f"response.{_EVENTS[block.kind]}.done"
        if block.kind == "call":
            yield self._event(name, **place, name=block.name, arguments=block.text)
        else:
            yield self._event(name, **place, **_logprobs(block), text=block.text)
            yield self._event("response.content_part.done", **place, part=_part(block))
        yield self._event("response.output_item.done", output_index=block.index, item=self._item(block, done=True))

    def ended(self, reason: str | None, stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        cut = reason not in ("stop", "tool_calls")
        details = {"reason": "max_output_tokens" if reason == "length" else str(reason)} if cut else None
        return {
            **self._head,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": details,
            "output": [self._item(block, done=True) for block in self.blocks],
            "usage": {
                "input_tokens": usage["prompt_tokens"],
                "input_tokens_details": usage["prompt_tokens_details"],
                "output_tokens": usage["completion_tokens"],
                "output_tokens_details": usage["completion_tokens_details"],
                "total_tokens": usage["total_tokens"],
            },
        }

    def last(self, answer: dict[str, Any]) -> Iterator[Event]:
        yield self._event(f"response.{answer['status']}", response=answer)

    def failure(self, error: ApiError, *, streaming: bool) -> dict[str, Any]:
        if not streaming:
            return error.body()
        return self._event("error", code=error.code, message=str(error), param=error.param)

    def _event(self, kind: str, **facts: Any) -> Event:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **facts}

    def _in(self, block: Block) -> dict[str, Any]:
        return {"item_id": self._id(block), "content_index": 0}

    def _place(self, block: Block) -> dict[str, Any]:
        inner = {"item_id": self._id(block)} if block.kind == "call" else self._in(block)
        return {"output_index": block.index, **inner}

    def _id(self, block: Block) -> str:
        if block.index not in self._ids:
            self._ids[block.index] = f"{_IDS[block.kind]}_{secrets.token_hex(12)}"
        return self._ids[block.index]

    def _item(self, block: Block, *, done: bool) -> dict[str, Any]:
        head = {"id": self._id(block), "status": "completed" if done else "in_progress"}
        parts = [_part(block)] if done else []
        if block.kind == "thinking":
            return {**head, "type": "reasoning", "summary": [], "content": parts}
        if block.kind == "text":
            return {**head, "type": "message", "role": "assistant", "content": parts}
        call = {"call_id": block.id, "name": block.name, "arguments": block.text if done else ""}
        return {**head, "type": "function_call", **call}


_IDS = {"thinking": "rs", "text": "msg", "call": "fc"}
_EVENTS = {"thinking": "reasoning_text", "text": "output_text", "call": "function_call_arguments"}


def _part(block: Block) -> dict[str, Any]:
    if block.kind == "thinking":
        return {"type": "reasoning_text", "text": block.text}
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": []}


def _logprobs(block: Block) -> dict[str, Any]:
    return {"logprobs": []} if block.kind == "text" else {}
