"""What requests may hold. Unknown fields are ignored; fields that we know and cannot honour are refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from selar_local.server.errors import bad_request, invalid

__all__ = ["ChatRequest", "Common", "CompletionRequest", "Function", "ResponseFormat", "Tool", "parse"]

MAX_STOPS = 16
MAX_CHOICES = 16
_STOP_LENGTH = 1024
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _stops(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or not all(isinstance(s, str) and 0 < len(s) <= _STOP_LENGTH for s in stops):
        raise ValueError(f"must be a text or a list of texts of 1 to {_STOP_LENGTH} characters")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"at most {MAX_STOPS} texts")
    return stops


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not messages:
        raise ValueError("there are no messages")
    return [_message(i, message) for i, message in enumerate(messages)]


def _message(i: int, message: dict[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise bad_request(f"messages[{i}].role must be one of {', '.join(_ROLES)}", f"messages[{i}].role")
    if content is None and role == "assistant" and message.get("tool_calls"):
        return message
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            text = f"messages[{i}].content must be a text or a list of parts of type text"
            raise bad_request(text, f"messages[{i}].content")
    return {**message, "role": "system"} if role == "developer" else message


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


class StreamOptions(_Model):
    """Options of a streamed answer."""

    include_usage: bool = False


class Common(_Model):
    """What both endpoints share."""

    model: str | None = None
    max_tokens: Annotated[int, Field(ge=-1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: Annotated[int, Field(ge=-1, lt=2**63)] | None = None
    stop: Annotated[list[str], BeforeValidator(_stops)] = []
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_last_n: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    logit_bias: dict[str, Any] | list[str] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    selar: dict[str, Any] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse_unsupported(self) -> None:
        """Raises ApiError for a field that would change the answer if we could do it."""


class JsonSchemaFormat(_Model):
    """The schema of a `response_format`. `schema` is taken by pydantic itself."""

    name: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}


class ResponseFormat(_Model):
    """What form the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class Function(_Model):
    """A function that the model may call. What else it says is the chat template's to read."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Model):
    """A tool: a function, nothing else is known."""

    model_config = ConfigDict(extra="allow")

    type: Literal["function"]
    function: Function


class ChatRequest(Common):
    """The body of ``POST /v1/chat/completions``."""

    messages: Annotated[list[dict[str, Any]], AfterValidator(_messages)]
    max_completion_tokens: Annotated[int, Field(ge=-1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    thinking_budget: Annotated[int, Field(ge=-1)] | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    modalities: list[str] | None = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        for name in ("audio", "functions", "function_call"):
            if getattr(self, name) not in (None, [], {}, "none", "auto"):
                raise bad_request(f"{name} is not supported", name, "unsupported_parameter")
        if self.modalities not in (None, [], ["text"]):
            raise bad_request("modalities: text is all there is", "modalities", "unsupported_parameter")
        if self.top_logprobs is not None and not self.logprobs:
            raise bad_request("top_logprobs needs logprobs: true", "top_logprobs")
        if self.add_generation_prompt not in (None, not self.continue_final_message):
            text = "add_generation_prompt must be the opposite of continue_final_message"
            raise bad_request(text, "add_generation_prompt", "unsupported_parameter")


def _prompts(value: Any) -> Any:
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, str) for p in prompts):
        raise ValueError("must be a text or a list of texts; token ids are not supported")
    return prompts


class CompletionRequest(Common):
    """The body of ``POST /v1/completions``."""

    prompt: Annotated[list[str], BeforeValidator(_prompts)]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    def refuse_unsupported(self) -> None:
        super().refuse_unsupported()
        for name in ("echo", "suffix"):
            if getattr(self, name):
                raise bad_request(f"{name} is not supported", name, "unsupported_parameter")
        if self.best_of not in (None, self.n or 1):
            raise bad_request("best_of is not supported", "best_of", "unsupported_parameter")


def parse(kind: type[Any], body: bytes) -> Any:
    """The request in a body. Raises ApiError."""
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    request.refuse_unsupported()
    return request
