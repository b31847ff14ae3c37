"""``POST /v1/completions``."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from selar_local.engine.events import Logprobs, Result, TokenEvent
from selar_local.methods import Method
from selar_local.server.arguments import RequestSettings, generations, settings_of
from selar_local.server.bridge import Job
from selar_local.server.collecting import Collector, TokenOf, ending, event_facts, logprob_entry, usage
from selar_local.server.echo import echoed_logprobs, echoed_text, no_logprobs
from selar_local.server.json_schema import answer_schema
from selar_local.server.responses import Answer, Generating, read_body
from selar_local.server.schemas import CompletionRequest, parse
from selar_local.server.service import Service


async def completions(request: Request) -> Response:
    """Continue a text."""
    service: Service = request.app.state.service
    body: CompletionRequest = parse(CompletionRequest, await read_body(request, service.config.max_body_bytes))
    service.check_model(body.model)
    settings = settings_of(body, service.defaults, body.max_tokens, raw=True)
    given: dict[str, Any] = {"raw": settings.raw, "thinking": settings.thinking}
    if settings.thinking is None and not settings.raw:
        given["thinking"] = service.defaults.thinking
    if body.logprobs is not None:
        given["logprobs"] = body.logprobs
        if body.echo:
            given["prompt_logprobs"] = body.logprobs
    schema, form = answer_schema(body)
    if schema is not None:
        given["json_schema"] = schema
    answer = _TextAnswer(service, body, settings)
    requests = generations(body, settings, [{**given, "prompt": prompt} for prompt in body.prompt])
    job = service.begin(requests, events=bool(body.stream) or body.logprobs is not None)
    params = settings.params | {"prompt": "prompt", "json_schema": form}
    return Generating(job, answer, params, stream=bool(body.stream), timeout=service.config.request_timeout)


class _Choice:
    """One text as it grows."""

    def __init__(self, index: int, token_of: TokenOf, *, logprobs: bool, echo: bool, events: bool) -> None:
        self.index = index
        self.collector = Collector()
        self.text = ""
        self._echo = echo
        self.reasoning = ""
        self.logprobs = no_logprobs() if logprobs else None
        self._token_of = token_of
        self._events = events

    def feed(self, event: TokenEvent) -> dict[str, Any] | None:
        """A step: the choice of its chunk, None where there is nothing to tell."""
        offset = self.collector.shown
        text, thinking = self.collector.feed(event)
        entry = logprob_entry(event, self._token_of, ending=self._echo)  # each token counts for those who score
        chunk = self._told(text, thinking)
        if entry is not None:
            chunk["logprobs"] = no_logprobs()
            top = {t["token"]: t["logprob"] for t in reversed(entry["top_logprobs"])}
            if top:  # as OpenAI does: one more where the drawn token is not among the first
                top.setdefault(entry["token"], entry["logprob"])
            for logprobs in (chunk["logprobs"], self.logprobs or no_logprobs()):
                logprobs["tokens"].append(entry["token"])
                logprobs["token_logprobs"].append(entry["logprob"])
                logprobs["top_logprobs"].append(dict(top))
                logprobs["text_offset"].append(offset)
        if self._events:
            chunk["selar"] = event_facts(event, self._token_of)
        return chunk if text or thinking or entry or self._events else None

    def finish(self, result: Result, method: Method) -> dict[str, Any]:
        """The end: the choice of the last chunk."""
        chunk = {**self._told(*self.collector.finish(result)), "finish_reason": result.finish_reason}
        chunk |= ending(result, method, events=self._events)
        return chunk

    def _told(self, text: str, thinking: str) -> dict[str, Any]:
        self.text += text
        self.reasoning += thinking
        chunk: dict[str, Any] = {"index": self.index, "text": text, "logprobs": None, "finish_reason": None}
        return {**chunk, "reasoning_content": thinking} if thinking else chunk


class _TextAnswer(Answer):
    def __init__(self, service: Service, body: CompletionRequest, settings: RequestSettings) -> None:
        self._body = body
        self._token_of = service.token
        self._method = settings.arguments["method"]
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}", "object": "text_completion", "created": int(time.time()),
            "model": service.model, "system_fingerprint": service.fingerprint,
        }  # fmt: skip
        self._choices = [
            _Choice(i, service.token, logprobs=body.logprobs is not None, echo=bool(body.echo), events=settings.events)
            for i in range(len(body.prompt) * (body.n or 1))
        ]

    async def whole(self, job: Job) -> dict[str, Any]:
        choices: dict[int, dict[str, Any]] = {}
        async for index, news in job:
            choice = self._choices[index]
            if isinstance(news, TokenEvent):
                choice.feed(news)
                continue
            end = {**choice.finish(news, self._method), "text": choice.text, "logprobs": choice.logprobs}
            if self._body.echo:
                prompt = job.generations[index].prompt
                end |= await asyncio.to_thread(self._echoed, choice, prompt, news.prompt_logprobs)
            choices[index] = {**end, "reasoning_content": choice.reasoning} if choice.reasoning else end
        return {**self._head, "choices": [choices[i] for i in sorted(choices)], "usage": self._usage()}

    def _echoed(self, choice: _Choice, prompt: Sequence[int], logprobs: Sequence[Logprobs | None]) -> dict[str, Any]:
        text = self._prompt_text(choice.index)
        if choice.logprobs is None:
            return {"text": text + choice.text}
        lists = echoed_logprobs(prompt, logprobs, choice.logprobs, len(text), self._token_of)
        return {"text": text + choice.text, "logprobs": lists}

    def _prompt_text(self, index: int) -> str:
        return echoed_text(self._body.prompt[index // (self._body.n or 1)], self._token_of)

    async def chunks(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        more = {"usage": None} if self._body.include_usage else {}
        for choice in self._choices if self._body.echo else ():
            text = await asyncio.to_thread(self._prompt_text, choice.index)
            first = {"index": choice.index, "text": text, "logprobs": None, "finish_reason": None}
            yield {**self._head, "choices": [first], **more}
        async for index, news in job:
            choice = self._choices[index]
            chunk = choice.feed(news) if isinstance(news, TokenEvent) else choice.finish(news, self._method)
            if chunk is not None:
                yield {**self._head, "choices": [chunk], **more}
        if self._body.include_usage:
            yield {**self._head, "choices": [], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        return usage([choice.collector for choice in self._choices], self._body.n or 1)
