"""``POST /v1/chat/completions``."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from selar_local.engine.events import Result, TokenEvent
from selar_local.formats import Delta
from selar_local.methods import Method
from selar_local.server.arguments import RequestSettings, generations, settings_of, template_options
from selar_local.server.bridge import Job
from selar_local.server.collecting import Collector, TokenOf, ending, event_facts, logprob_entry, usage
from selar_local.server.responses import Answer, Generating, read_body
from selar_local.server.schemas import ChatRequest, parse
from selar_local.server.service import Service
from selar_local.server.tools import CallStream, ToolPlan, plan_tools


async def chat_completions(request: Request) -> Response:
    """Answer a conversation."""
    service: Service = request.app.state.service
    body: ChatRequest = parse(ChatRequest, await read_body(request, service.config.max_body_bytes))
    return chat_response(service, body)


def chat_response(
    service: Service,
    body: ChatRequest,
    translated: Callable[[Answer], Answer] = lambda answer: answer,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Response:
    """The answer to a chat request. translated: makes it that of another API. names: its names of our fields.

    Raises ApiError, EngineBusy.
    """
    service.check_model(body.model)
    limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    settings = settings_of(body, service.defaults, limit, raw=False)
    plan = plan_tools(body)
    forced = plan.schema is not None or body.grammar is not None
    rendering = template_options(body, settings, service.defaults, forced=forced)
    given: dict[str, Any] = {"messages": body.messages, "tools": plan.shown, **rendering}
    if plan.schema is not None:
        given["json_schema"] = plan.schema
    if body.logprobs:
        given["logprobs"] = body.top_logprobs or 0
    answer = translated(_ChatAnswer(service, body, settings, plan, forced=forced))
    job = service.begin(generations(body, settings, [given]), events=bool(body.stream or body.logprobs))
    params = settings.params | {"prompt": "messages", "json_schema": plan.field}
    params = {option: names.get(name, name) for option, name in params.items()}
    return Generating(job, answer, params, stream=bool(body.stream), timeout=service.config.request_timeout)


class _Choice:
    """One answer as it grows."""

    def __init__(self, index: int, plan: ToolPlan, token_of: TokenOf, *, forced: bool, events: bool) -> None:
        self.index = index
        self.collector = Collector(forced=forced)
        self.content = ""
        self.reasoning = ""
        self._calls = CallStream(several=plan.several)
        self.logprobs: list[dict[str, Any]] = []
        self._plan = plan
        self._forced = None if plan.reader is None else plan.reader(plan.shown or ())
        self._token_of = token_of
        self._events = events

    def feed(self, event: TokenEvent) -> dict[str, Any] | None:
        """A step: the choice of its chunk, None where there is nothing to tell."""
        text, thinking = self.collector.feed(event)
        deltas: Iterable[Delta] = event.calls
        if self._forced is not None:
            text, deltas = self._forced.feed(text)
        delta = self._delta(text, thinking, self._calls.feed(deltas))
        chunk: dict[str, Any] = {"index": self.index, "delta": delta, "finish_reason": None}
        entry = logprob_entry(event, self._token_of)
        if entry is not None:
            self.logprobs.append(entry)
            chunk["logprobs"] = {"content": [entry], "refusal": None}
        if self._events:
            chunk["selar"] = event_facts(event, self._token_of)
        return chunk if chunk["delta"] or len(chunk) > 3 else None

    def finish(self, result: Result, method: Method) -> dict[str, Any]:
        """The end: the choice of the last chunk."""
        text, thinking = self.collector.finish(result)
        reason = result.finish_reason
        calls: list[dict[str, Any]] = []
        if self._forced is not None:
            said, begun = self._forced.feed(text)
            text, rest = self._forced.finish()
            text, calls = said + text, self._calls.feed([*begun, *rest])
        elif self._plan.names:
            calls = self._calls.finish(result)
        reason = "tool_calls" if self._calls.calls and reason == "stop" else reason
        delta = self._delta(text, thinking, calls)
        chunk: dict[str, Any] = {"index": self.index, "delta": delta, "finish_reason": reason}
        chunk |= ending(result, method, events=self._events)
        if result.stop_string is not None:
            chunk["stop_reason"] = result.stop_string
        return chunk

    def _delta(self, text: str, thinking: str, calls: list[dict[str, Any]]) -> dict[str, Any]:
        self.content += text
        self.reasoning += thinking
        parts = {"reasoning_content": thinking, "content": text, "tool_calls": calls}
        return {name: part for name, part in parts.items() if part}

    def message(self) -> dict[str, Any]:
        """The whole message."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self._calls.calls:
            message["content"] = self.content if self.content.strip() else None
            message["tool_calls"] = self._calls.calls
        return message


class _ChatAnswer(Answer):
    def __init__(
        self, service: Service, body: ChatRequest, settings: RequestSettings, plan: ToolPlan, *, forced: bool
    ) -> None:
        self._body = body
        self._method = settings.arguments["method"]
        self._head = {
            "id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": service.model,
            "system_fingerprint": service.fingerprint,
        }  # fmt: skip
        self._choices = [
            _Choice(i, plan, service.token, forced=forced, events=settings.events) for i in range(body.n or 1)
        ]

    async def whole(self, job: Job) -> dict[str, Any]:
        choices: dict[int, dict[str, Any]] = {}
        async for index, news in job:
            choice = self._choices[index]
            if isinstance(news, TokenEvent):
                choice.feed(news)
                continue
            end = choice.finish(news, self._method)
            end.pop("delta")
            logprobs = {"content": choice.logprobs, "refusal": None} if self._body.logprobs else None
            choices[index] = {**end, "message": choice.message(), "logprobs": logprobs}
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choices[i] for i in sorted(choices)],
            "usage": self._usage(),
        }

    async def chunks(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        for choice in self._choices:
            delta = {"role": "assistant", "content": ""}
            yield self._chunk({"index": choice.index, "delta": delta, "finish_reason": None})
        async for index, news in job:
            choice = self._choices[index]
            chunk = choice.feed(news) if isinstance(news, TokenEvent) else choice.finish(news, self._method)
            if chunk is not None:
                yield self._chunk(chunk)
        if self._body.include_usage:
            yield {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()}

    def _chunk(self, choice: dict[str, Any]) -> dict[str, Any]:
        chunk = {**self._head, "object": "chat.completion.chunk", "choices": [choice]}
        return {**chunk, "usage": None} if self._body.include_usage else chunk

    def _usage(self) -> dict[str, Any]:
        return usage([choice.collector for choice in self._choices], len(self._choices))
