"""Errors as OpenAI's API writes them, with the status that belongs to each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from selar_local.errors import (
    DecodeError,
    EngineBusy,
    EngineClosed,
    EngineCrashed,
    NotCalibrated,
    OptionError,
    PromptTooLong,
    SelarError,
    TemplateError,
    UnsupportedModel,
)

_TYPES = {401: "authentication_error", 403: "permission_error", 408: "timeout_error", 429: "rate_limit_error"}
_TYPES |= {500: "server_error", 503: "service_unavailable_error", 504: "timeout_error"}
_RETRY_SECONDS = "1"


class Expired(SelarError):
    """The request took longer than it may."""


class ApiError(Exception):
    """A refused or failed request: its status and what the body says."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
        kind: str | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """kind: the error's type, where it is not that of the status. facts: what else the error says."""
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = headers or {}
        self.kind = kind or _TYPES.get(status, "invalid_request_error")
        self.facts = facts

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        return {
            "error": {"message": str(self), "type": self.kind, "param": self.param, "code": self.code, **self.facts}
        }


def bad_request(message: str, param: str | None = None, code: str | None = "invalid_value") -> ApiError:
    """A 400."""
    return ApiError(400, message, param=param, code=code)


def invalid(error: Any) -> ApiError:
    """The 400 for a pydantic ValidationError: its first finding. What was sent is not repeated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return ApiError(400, "the body is not valid JSON in UTF-8, or nested too deeply", code="invalid_json")
    param = ""
    for part in first["loc"]:
        param += f"[{part}]" if isinstance(part, int) else f"{'.' if param else ''}{part}"
    message = first["msg"].removeprefix("Value error, ")
    return bad_request(f"{param}: {message}" if param else message, param or None)


def api_error(error: SelarError, params: dict[str, str] | None = None) -> ApiError:
    """The answer to an engine's error. params: the request's name of an option, where it is another."""
    text, params = str(error), params or {}
    if isinstance(error, OptionError):
        name = "prompt" if text.startswith("the prompt") else text.split(" ", 1)[0].strip(":")
        return bad_request(text, params.get(name))
    if isinstance(error, PromptTooLong):
        # OpenAI's code; type and facts are llama-server's. Clients also look for the words of other servers.
        text += f". It exceeds the available context size: the maximum context length is {error.room} tokens"
        return ApiError(
            400, text, param=params.get("prompt"), code="context_length_exceeded", kind="exceed_context_size_error",
            facts={"n_prompt_tokens": error.tokens, "n_ctx": error.room},
        )  # fmt: skip
    if isinstance(error, TemplateError):
        return bad_request(text, params.get("prompt"), "template_error")
    if isinstance(error, UnsupportedModel):
        return bad_request(text, "selar.method", "unsupported_method")
    if isinstance(error, NotCalibrated):
        return bad_request(text, "selar.tau", "not_calibrated")
    if isinstance(error, EngineBusy):
        return ApiError(429, text, code="engine_busy", headers={"Retry-After": _RETRY_SECONDS})
    if isinstance(error, EngineClosed):
        return ApiError(503, "the server is closing", code="closing")
    if isinstance(error, Expired):
        return ApiError(504, text, code="timeout")
    codes = {DecodeError: "decode_error", EngineCrashed: "engine_crashed"}
    return ApiError(500, text, code=codes.get(type(error), "server_error"))
