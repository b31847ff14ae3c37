"""``POST /v1/messages``, Anthropic's API, and the count of a prompt's tokens."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from selar_local.server.bridge import Job
from selar_local.server.chat import chat_response
from selar_local.server.errors import ApiError, bad_request
from selar_local.server.prompts import prompt_tokens
from selar_local.server.responses import Answer, json_response, read_body
from selar_local.server.schemas import ChatRequest, Common, Whole, parse
from selar_local.server.service import Service
from selar_local.server.tools import plan_tools
from selar_local.server.translated import Block, Event, Translated, chat_request, text_of

_PARAMS = {"stop": "stop_sequences", "response_format": "output_config"}
_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_REASONS = {"length": "max_tokens", "tool_calls": "tool_use"}


class CountRequest(Common):
    """What a prompt is made of."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    stop_sequences: list[str] | None = None


class MessagesRequest(CountRequest):
    """The body."""

    max_tokens: Annotated[Whole, Field(ge=1)]


async def messages(request: Request) -> Response:
    """Answer a conversation."""
    service: Service = request.app.state.service
    body: MessagesRequest = parse(MessagesRequest, await read_body(request, service.config.max_body_bytes))
    return chat_response(service, _chat(body), lambda answer: _Message(answer, service.model), _PARAMS)


async def count_tokens(request: Request) -> Response:
    """The number of tokens that the prompt of a conversation has."""
    service: Service = request.app.state.service
    body: CountRequest = parse(CountRequest, await read_body(request, service.config.max_body_bytes))
    chat = _chat(body)
    tokens = await asyncio.to_thread(prompt_tokens, service, chat, plan_tools(chat).shown)
    return json_response({"input_tokens": len(tokens)})


def refused_message(error: ApiError) -> Response:
    """The answer to a request that is refused or has failed, in this API's form."""
    return json_response(_failure(error), error.status, error.headers)


def _failure(error: ApiError) -> dict[str, Any]:
    return {"type": "error", "error": {"type": _TYPES.get(error.status, "api_error"), "message": str(error)}}


def _chat(body: CountRequest) -> ChatRequest:
    """The chat request. The last message of the assistant is the beginning of the answer."""
    thinking, choice = body.thinking or {}, body.tool_choice or {}
    kind = thinking.get("type")
    if kind not in (None, "enabled", "disabled", "adaptive"):
        raise bad_request("thinking.type must be enabled, adaptive or disabled", "thinking.type")
    output = body.output_config or {}
    for name in output:
        if name not in ("effort", "format"):
            raise bad_request(f"output_config.{name[:100]} is not supported", "output_config", "unsupported_parameter")
    edits = (body.context_management or {}).get("edits") or []
    if not all(isinstance(edit, dict) and edit.get("keep") == "all" for edit in edits):
        text = "context_management is not supported: the client edits its messages"
        raise bad_request(text, "context_management", "unsupported_parameter")
    turns = [message for i, one in enumerate(body.messages) for message in _turns(one, f"messages[{i}]")]
    if not turns:
        raise bad_request("messages have no content", "messages")
    if body.system:
        turns.insert(0, {"role": "system", "content": text_of(body.system, ("text",), "system")})
    return chat_request(
        body,
        messages=turns,
        tools=[_tool(i, tool) for i, tool in enumerate(body.tools or ())] or None,
        tool_choice=_choice(choice) if choice else None,
        parallel_tool_calls=not choice["disable_parallel_tool_use"] if "disable_parallel_tool_use" in choice else None,
        enable_thinking={"enabled": True, "disabled": False}.get(kind or ""),
        thinking_budget=thinking.get("budget_tokens") if kind == "enabled" else None,
        reasoning_effort=output.get("effort"),
        response_format=_format(output.get("format")),
        stop=body.stop_sequences or None,
    )


def _turns(message: dict[str, Any], param: str) -> Iterator[dict[str, Any]]:
    """A message as messages of a chat: results of tools are messages of their own there."""
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system"):
        raise bad_request(f"{param}.role must be user or assistant", f"{param}.role")
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    found: dict[str, Any] = {"role": role}
    texts: list[Any] = []
    for i, block in enumerate(blocks):
        place = f"{param}.content[{i}]"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            texts.append(text_of([block], ("text",), place))
        elif kind == "tool_use" and role == "assistant" and isinstance(block.get("input"), dict):
            function = {"name": block.get("name"), "arguments": json.dumps(block["input"], ensure_ascii=False)}
            found.setdefault("tool_calls", []).append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result" and role == "user":
            result = text_of(block.get("content") or "", ("text",), f"{place}.content")
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": result}
        elif kind == "thinking" and role == "assistant" and isinstance(block.get("thinking"), str):
            found["reasoning_content"] = found.get("reasoning_content", "") + block["thinking"]
        else:
            raise bad_request(f"{place} has a type or a form that is not supported", place, "unsupported_parameter")
    if texts or role == "assistant":
        yield {**found, "content": "".join(texts) if texts else None}


def _tool(i: int, tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") not in (None, "custom"):
        param = f"tools[{i}].type"
        raise bad_request(f"{param}: the client's own tools are the only ones", param, "unsupported_parameter")
    names = {"name": "name", "description": "description", "input_schema": "parameters"}
    return {"type": "function", "function": {names[k]: v for k, v in tool.items() if k in names and v is not None}}


def _choice(choice: dict[str, Any]) -> Any:
    kind = choice.get("type")
    if kind == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    if kind not in _CHOICES:
        raise bad_request("tool_choice.type must be auto, any, tool or none", "tool_choice.type")
    return _CHOICES[kind]


def _format(form: Any) -> dict[str, Any] | None:
    if form is None:
        return None
    if not isinstance(form, dict) or form.get("type") != "json_schema" or set(form) != {"type", "schema"}:
        raise bad_request("output_config.format must have the type json_schema, and a schema", "output_config")
    return {"type": "json_schema", "json_schema": {"schema": form["schema"]}}


class _Message(Translated):
    """The answer as blocks of content."""

    def __init__(self, chat: Answer, model: str) -> None:
        super().__init__(chat)
        self._head = {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}

    def begun(self, job: Job) -> Iterator[Event]:
        usage = {"input_tokens": len(job.generations[0].prompt), "output_tokens": 0}
        message: Event = {**self._head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        yield {"type": "message_start", "message": message}

    def opened(self, block: Block) -> Iterator[Event]:
        yield {"type": "content_block_start", "index": block.index, "content_block": _content(block, empty=True)}

    def grown(self, block: Block, text: str) -> Iterator[Event]:
        kind, field = _DELTAS[block.kind]
        yield {"type": "content_block_delta", "index": block.index, "delta": {"type": kind, field: text}}

    def closed(self, block: Block) -> Iterator[Event]:
        if block.kind == "thinking":
            signature = {"type": "signature_delta", "signature": ""}
            yield {"type": "content_block_delta", "index": block.index, "delta": signature}
        yield {"type": "content_block_stop", "index": block.index}

    def ended(self, reason: str | None, stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        return {
            **self._head,
            "content": [_content(block) for block in self.blocks],
            "stop_reason": "stop_sequence" if stop is not None else _REASONS.get(str(reason), "end_turn"),
            "stop_sequence": stop,
            "usage": {
                "input_tokens": usage["prompt_tokens"] - cached,
                "cache_read_input_tokens": cached,
                "cache_creation_input_tokens": 0,
                "output_tokens": usage["completion_tokens"],
            },
        }

    def last(self, answer: dict[str, Any]) -> Iterator[Event]:
        delta = {name: answer[name] for name in ("stop_reason", "stop_sequence")}
        yield {"type": "message_delta", "delta": delta, "usage": answer["usage"]}
        yield {"type": "message_stop"}

    def failure(self, error: ApiError, *, streaming: bool) -> dict[str, Any]:
        return _failure(error)


_DELTAS = {
    "thinking": ("thinking_delta", "thinking"),
    "text": ("text_delta", "text"),
    "call": ("input_json_delta", "partial_json"),
}


def _content(block: Block, *, empty: bool = False) -> dict[str, Any]:
    text = "" if empty else block.text
    if block.kind == "thinking":
        return {"type": "thinking", "thinking": text, "signature": ""}
    if block.kind == "text":
        return {"type": "text", "text": text}
    return {"type": "tool_use", "id": block.id, "name": block.name, "input": _arguments(text)}


def _arguments(text: str) -> Any:
    """The arguments. A call that was cut off has none."""
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return {}
