"""The ASGI application over an engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from selar_local.engine.settings import default_method
from selar_local.errors import SelarError
from selar_local.server.access import CLIENT_LEFT, Door
from selar_local.server.anthropic_messages import count_tokens, messages, refused_message
from selar_local.server.chat import chat_completions
from selar_local.server.completions import completions
from selar_local.server.config import Defaults, RequestLine, ServerConfig
from selar_local.server.errors import ApiError, api_error
from selar_local.server.metrics import CONTENT_TYPE
from selar_local.server.openai_responses import responses
from selar_local.server.options import model_served, offered
from selar_local.server.prompts import apply_template, detokenize, embeddings, tokenize
from selar_local.server.responses import error_response, json_response
from selar_local.server.service import Service
from selar_local.server.ui import page_routes

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.isolated import IsolatedEngine


def create_app(
    engine: Engine | IsolatedEngine,
    config: ServerConfig | None = None,
    defaults: Defaults | None = None,
    on_request: Callable[[RequestLine], None] | None = None,
) -> Starlette:
    """The application. The engine stays the caller's, who closes it. on_request: called after each answered request."""
    config = config or ServerConfig()
    service = Service(engine, config, defaults or Defaults(default_method(engine.info)))
    page = page_routes() if config.ui else {"/": _no_page}
    routes = [
        *(route for base in ("/v1", "") for route in _endpoints(base)),  # some clients leave /v1 out
        Route("/v1/selar", _selar),
        Route("/v1/selar/model", _selar_model),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/detokenize", detokenize, methods=["POST"]),
        Route("/apply-template", apply_template, methods=["POST"]),
        Route("/health", _health),
        Route("/metrics", _metrics),
        *(Route(path, endpoint) for path, endpoint in page.items()),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=list(config.cors_origins),
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=["Retry-After"],
    )
    door = Middleware(
        Door,
        config=config,
        metrics=service.metrics,
        paths=frozenset(route.path for route in routes),
        public=frozenset(page),
        refused=_refused,
        on_request=on_request,
    )
    app = Starlette(
        routes=routes,
        # CORS is the outermost: a web page must be able to read a refusal, too.
        middleware=[cors, door] if config.cors_origins else [door],
        exception_handlers={
            ApiError: _on_api_error,
            SelarError: _on_engine_error,
            HTTPException: _on_http_error,
            ClientDisconnect: _on_disconnect,
        },
    )
    app.router.redirect_slashes = False
    app.state.service = service
    return app


def _endpoints(base: str) -> list[Route]:
    """Those of OpenAI's and Anthropic's APIs."""
    return [
        Route(f"{base}/chat/completions", chat_completions, methods=["POST"]),
        Route(f"{base}/completions", completions, methods=["POST"]),
        Route(f"{base}/responses", responses, methods=["POST"]),
        Route(f"{base}/messages", messages, methods=["POST"]),
        Route(f"{base}/messages/count_tokens", count_tokens, methods=["POST"]),
        Route(f"{base}/embeddings", embeddings, methods=["POST"]),
        Route(f"{base}/models", _models),
        Route(f"{base}/models/{{model:path}}", _model),
    ]


async def _no_page(request: Request) -> Response:
    return PlainTextResponse(
        "This is the API of selar-local: /v1 is the base URL for clients of OpenAI's API.\n"
        "There is no chat page here: start the server with `selar-local serve --ui` to get it.\n"
    )


async def _models(request: Request) -> Response:
    service: Service = request.app.state.service
    names = (service.model, *service.config.aliases)
    return json_response({"object": "list", "data": [{**_description(service), "id": name} for name in names]})


async def _model(request: Request) -> Response:
    service: Service = request.app.state.service
    service.require_model(request.path_params["model"])
    return json_response(_description(service))


def _description(service: Service) -> dict[str, Any]:
    info = service.engine.info
    facts = {
        "name": info.name, "architecture": info.architecture, "description": info.description,
        "n_params": info.n_params, "ctx_size": info.ctx_size, "n_ctx_train": info.n_ctx_train,
        "method": service.defaults.method.name,
    }  # fmt: skip
    return {
        "id": service.model, "object": "model", "created": service.created, "owned_by": "selar-local", "selar": facts,
    }  # fmt: skip


async def _selar(request: Request) -> Response:
    return json_response(offered(request.app.state.service))


async def _selar_model(request: Request) -> Response:
    # The first answer reads the whole file for its hash.
    return json_response(await asyncio.to_thread(model_served, request.app.state.service))


async def _health(request: Request) -> Response:
    service: Service = request.app.state.service
    return json_response({"status": "ok"}) if service.open else json_response({"status": "closing"}, 503)


async def _metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    return Response(service.metrics.text(*service.load), headers={"content-type": CONTENT_TYPE})


def _refused(path: str, error: ApiError) -> Response:
    """The error in the form of the path's API."""
    in_messages = path.removeprefix("/v1").startswith("/messages")
    return refused_message(error) if in_messages else error_response(error)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _refused(request.url.path, error)


async def _on_engine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, SelarError)
    return _refused(request.url.path, api_error(error))


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = {
        404: ("there is no such endpoint", "not_found"),
        405: ("this path does not take this HTTP method", "method_not_allowed"),
    }
    text, code = known.get(error.status_code, ("the request is not valid", None))
    failed = ApiError(error.status_code, text, code=code, headers=dict(error.headers or {}))
    return _refused(request.url.path, failed)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_LEFT)  # nobody reads it
