"""The Inspect model that answers through running servers: ``selar-servers/MODEL``, for `selar-local eval --url`.

This module needs Inspect.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, ModelUsage
from inspect_ai.tool import ToolChoice, ToolInfo

from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.evaluation.generation import METER
from selar_local.evaluation.provider import MethodAPI, as_messages, generation_options
from selar_local.evaluation.records import BINS
from selar_local.evaluation.servers import Server, servers_in_use

_BUSY, _TOO_LONG, _FAILED = 429, "context_length_exceeded", 500
_READ = 600  # seconds without a byte after which a server is lost; ours send one every 15
_PAUSE = 1.0  # seconds until a busy server is asked again


class _Lost(Exception):
    """The server died, or stopped, while it answered; the message says how."""


class _Refused(Exception):
    """The server's error: status, code and message."""

    def __init__(self, status: int, code: str | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class _Heard:
    """What has come of an answer."""

    text: str = ""
    thinking: str = ""
    finish_reason: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    bins: list[int] = field(default_factory=lambda: [0] * BINS)


class ServersAPI(MethodAPI):
    """Hands each request to the server with the most room, and to another one where that dies."""

    def max_connections(self) -> int:
        """As many as all servers answer at once."""
        return servers_in_use().parallel

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer. Raises OptionError for what is refused, SelarError where no server is left."""
        if tools:
            raise OptionError("the selar-servers provider does not support tools")
        servers = servers_in_use()  # Inspect may keep this object for another study
        body = self._body(as_messages(input), generation_options(config), ours=servers.ours)
        while True:
            with servers.place() as server:
                try:
                    return await self._ask(server, body, servers.key)
                except _Lost as lost:
                    servers.lose(server, str(lost))
                except _Refused as error:
                    if error.code == _TOO_LONG:
                        return ModelOutput.from_content(self.model_name, "", "model_length", str(error))
                    if error.status >= _FAILED:
                        servers.lose(server, str(error))
                    elif error.status != _BUSY:
                        raise OptionError(f"{server.host} refuses the request: {error}") from None
            await asyncio.sleep(_PAUSE)

    def _body(self, messages: list[dict[str, str]], options: Mapping[str, Any], *, ours: bool) -> dict[str, Any]:
        """The request: all options are in it, so that a server's own defaults do not matter."""
        method = self.arguments.method
        sampling = method.sampling({**self.arguments.sampling, "seed": options.get("seed")})
        chosen, own = asdict(sampling), {}
        greedy = chosen.pop("greedy")
        if ours:
            thinking = {} if self.arguments.thinking is None else {"thinking": self.arguments.thinking}
            own = {"selar": {"method": method.name, **asdict(method), "greedy": greedy, "events": True, **thinking}}
        else:
            off = asdict(SamplingConfig()) | {"top_k": 0}
            chosen = {name: value for name, value in chosen.items() if name in _PLAIN or value != off[name]}
            chosen |= {"temperature": 0} if greedy else {}
        stop = list(options.get("stop") or ())
        return {
            "messages": messages, **chosen, "max_tokens": options.get("max_tokens"), **({"stop": stop} if stop else {}),
            "stream": True, "stream_options": {"include_usage": True}, **own,
        }  # fmt: skip

    async def _ask(self, server: Server, body: Mapping[str, Any], key: str | None) -> ModelOutput:
        started, begun = time.time(), time.perf_counter()
        heard = _Heard()
        normalised = self.arguments.method.entropy_unit == "normalised"
        try:
            async for chunk in _chunks(server, {**body, "model": server.model}, key):
                _take(chunk, heard, normalised)
        except httpx.TransportError as error:
            raise _Lost(str(error) or type(error).__name__) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _Lost(f"its answer cannot be read: {error!r}") from error
        if heard.finish_reason not in ("stop", "length") or not heard.usage:
            raise _Lost("it ended before the answer did")
        METER.answers += 1
        usage = heard.usage
        facts = {"method": self.arguments.method.name, "explored_steps": 0, "latent_steps": 0, **heard.facts}
        return self.output(
            heard.text, heard.thinking, "stop" if heard.finish_reason == "stop" else "max_tokens",
            usage=ModelUsage(
                input_tokens=usage["prompt_tokens"],
                output_tokens=usage["completion_tokens"],
                total_tokens=usage["prompt_tokens"] + usage["completion_tokens"],
            ),
            seconds=time.perf_counter() - begun, started=started, server=server.host,
            entropies=heard.bins if any(heard.bins) else [], finish_reason=heard.finish_reason, **facts,
        )  # fmt: skip


#: Options of sampling that every server knows.
_PLAIN = ("temperature", "top_p", "seed")
_FACTS = ("method", "explored_steps", "latent_steps", "mismatched_steps", "seed", "notes")


_tls = functools.cache(ssl.create_default_context)


async def _chunks(server: Server, body: Mapping[str, Any], key: str | None) -> AsyncIterator[dict[str, Any]]:
    """The chunks of a streamed answer. Raises _Refused."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(_READ, connect=10)
    async with (
        httpx.AsyncClient(headers=headers, timeout=timeout, verify=_tls()) as client,
        client.stream("POST", f"{server.url}/chat/completions", json=body) as answer,
    ):
        if answer.is_error:
            raise _refusal(answer.status_code, (await answer.aread()).decode("utf-8", "replace"))
        async for line in answer.aiter_lines():
            name, _, data = line.partition(": ")
            if name == "data" and data != "[DONE]":
                chunk = json.loads(data)
                if "error" in chunk:
                    raise _refusal(_FAILED, data)
                yield chunk


def _take(chunk: Mapping[str, Any], heard: _Heard, normalised: bool) -> None:
    """What a chunk adds."""
    heard.usage = chunk.get("usage") or heard.usage
    for choice in chunk["choices"][:1]:
        delta, said = choice.get("delta") or {}, choice.get("selar") or {}
        heard.text += delta.get("content") or ""
        heard.thinking += delta.get("reasoning_content") or ""
        heard.finish_reason = choice.get("finish_reason") or heard.finish_reason
        if "explored_steps" in said:
            heard.facts = {name: said[name] for name in _FACTS if name in said}
        elif said:
            METER.tokens += 1
            if normalised and said.get("entropy") is not None:
                heard.bins[min(int(said["entropy"] * BINS), BINS - 1)] += 1


def _refusal(status: int, text: str) -> _Refused:
    """From the body of an error; a program that has none of OpenAI's form says it as text."""
    try:
        error = json.loads(text)["error"]
        return _Refused(status, error.get("code"), str(error["message"])[:300])
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Refused(status, None, f"{status} {text[:200]}".strip())
