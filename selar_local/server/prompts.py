"""Prompts without an answer: a text's tokens, tokens' text, and what the chat template makes of messages."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from selar_local.errors import SelarError
from selar_local.server.arguments import settings_of, template_options
from selar_local.server.errors import ApiError, api_error, bad_request
from selar_local.server.responses import json_response, read_body
from selar_local.server.schemas import ChatRequest, Named, parse
from selar_local.server.service import Service
from selar_local.server.tools import plan_tools


class TokenizeRequest(Named):
    """A text. `parse_special: false` is not offered."""

    content: str
    add_special: bool = False
    parse_special: Literal[True] = True
    with_pieces: bool = False


class DetokenizeRequest(Named):
    """Tokens."""

    tokens: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=1_000_000)]


async def tokenize(request: Request) -> Response:
    """The tokens of a text; special ones are read in it."""
    service: Service = request.app.state.service
    body: TokenizeRequest = parse(TokenizeRequest, await read_body(request, service.config.max_body_bytes))

    def tokens() -> list[Any]:
        added, found = service.engine.tokenize(""), list(service.engine.tokenize(body.content))
        if not body.add_special and added and found[: len(added)] == list(added):
            del found[: len(added)]
        return [_piece(service, token) for token in found] if body.with_pieces else found

    return json_response({"tokens": await asyncio.to_thread(tokens)})


async def detokenize(request: Request) -> Response:
    """The text of tokens; control tokens have none."""
    service: Service = request.app.state.service
    body: DetokenizeRequest = parse(DetokenizeRequest, await read_body(request, service.config.max_body_bytes))
    beyond = next((token for token in body.tokens if token >= service.engine.info.n_vocab), None)
    if beyond is not None:
        raise bad_request(f"token {beyond} lies outside the vocabulary", "tokens")

    def text() -> str:
        return b"".join(service.token(token)[0] for token in body.tokens).decode("utf-8", "replace")

    return json_response({"content": await asyncio.to_thread(text)})


async def apply_template(request: Request) -> Response:
    """The prompt that the chat template makes of a chat request."""
    service: Service = request.app.state.service
    body: ChatRequest = parse(ChatRequest, await read_body(request, service.config.max_body_bytes))
    shown = plan_tools(body).shown
    try:
        return json_response({"prompt": await asyncio.to_thread(prompt_text, service, body, shown)})
    except SelarError as error:
        raise api_error(error, {"prompt": "messages"}) from None


async def embeddings(request: Request) -> Response:
    """Refused by name."""
    raise ApiError(404, "this server generates text: it has no embeddings", code="unsupported_endpoint")


def prompt_text(service: Service, body: ChatRequest, tools: list[dict[str, Any]] | None) -> str:
    """The prompt of a chat request. Takes the time of the template. Raises its errors."""
    settings = settings_of(body, service.defaults, None, raw=False)
    options = template_options(body, settings, service.defaults, forced=False)
    return service.engine.render(body.messages, tools=tools, **options)


def prompt_tokens(service: Service, body: ChatRequest, tools: list[dict[str, Any]] | None) -> tuple[int, ...]:
    """The tokens of the prompt of a chat request."""
    return service.engine.tokenize(prompt_text(service, body, tools))


def _piece(service: Service, token: int) -> dict[str, Any]:
    """A token with its text, or its bytes where it is no whole text."""
    data = service.token(token)[0]
    try:
        return {"id": token, "piece": data.decode()}
    except UnicodeDecodeError:
        return {"id": token, "piece": list(data)}
