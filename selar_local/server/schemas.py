"""What requests may hold."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from selar_local.server.errors import bad_request, invalid
from selar_local.server.fields import declared

MAX_STOPS = 16
MAX_CHOICES = 16
_STOP_LENGTH = 1024
_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def _whole(value: Any) -> Any:
    """24 for 24.0, as JSON has no whole numbers of its own."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


def _stops(value: Any) -> Any:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) and len(s) <= _STOP_LENGTH for s in stops):
        raise ValueError(f"must be a text or a list of texts of at most {_STOP_LENGTH} characters")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"at most {MAX_STOPS} texts")
    return [stop for stop in stops if stop]


def _biases(value: Any) -> Any:
    """A list of pairs, as llama-server takes it, as an object."""
    pairs = isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value)
    return {str(token): bias for token, bias in value} if pairs else value


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not messages:
        raise ValueError("there are no messages")
    return [_message(i, message) for i, message in enumerate(messages)]


def _message(i: int, message: dict[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise bad_request(f"messages[{i}].role must be one of {', '.join(_ROLES)}", f"messages[{i}].role")
    if content is None and role == "assistant":  # its calls are the message, or it has said nothing
        return message if message.get("tool_calls") else {**message, "content": ""}
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

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False
    include_obfuscation: bool = False  # changes nothing: our chunks carry no padding


class JsonSchemaFormat(_Model):
    """The schema of a `response_format`. `schema` is taken by pydantic itself."""

    name: str | None = None
    strict: bool | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(_Model):
    """What form the answer must have."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None  # llama.cpp's, of a json_object


class Named(_Model):
    """A body whose fields are declared, all of them."""

    model: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _declared(cls, body: Any) -> Any:
        return declared(cls.model_fields, body) if isinstance(body, dict) else body

    def check_together(self) -> None:
        """Raises ApiError for fields that do not fit together."""


class Common(Named):
    """What the endpoints that generate share."""

    max_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Whole | None = None
    min_p: float | None = None
    seed: Annotated[Whole, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: Annotated[list[str], BeforeValidator(_stops)] = []
    n: Annotated[Whole, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_last_n: Whole | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: Whole | None = None
    dry_penalty_last_n: Whole | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    logit_bias: Annotated[dict[str, Any] | list[str] | None, BeforeValidator(_biases)] = None
    min_tokens: Whole | None = None
    ignore_eos: bool | None = None
    thinking_budget: Annotated[Whole, Field(ge=-1)] | None = None
    stop_token_ids: list[Whole] | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    response_format: ResponseFormat | None = None
    selar: dict[str, Any] | None = None

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


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
    max_completion_tokens: Annotated[Whole, Field(ge=-1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    enable_thinking: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None

    def check_together(self) -> None:
        if self.top_logprobs is not None and not self.logprobs:
            raise bad_request("top_logprobs needs logprobs: true", "top_logprobs")
        if None not in (self.add_generation_prompt, self.continue_final_message) and (
            self.add_generation_prompt is self.continue_final_message
        ):
            text = "add_generation_prompt must be the opposite of continue_final_message"
            raise bad_request(text, "add_generation_prompt", "unsupported_parameter")


def _prompts(value: Any) -> Any:
    one = isinstance(value, str) or (isinstance(value, list) and value and all(type(v) in (int, float) for v in value))
    prompts = [value] if one else value
    if not isinstance(prompts, list) or not prompts or not all(isinstance(p, (str, list)) for p in prompts):
        raise ValueError("must be a text, a list of token ids, or a list of texts or of such lists")
    return prompts


class CompletionRequest(Common):
    """The body of ``POST /v1/completions``."""

    prompt: Annotated[list[str | list[Whole]], BeforeValidator(_prompts)]
    logprobs: Annotated[Whole, Field(ge=0, le=20)] | None = None
    echo: bool | None = None
    best_of: Whole | None = None

    def check_together(self) -> None:
        raw = (self.selar or {}).get("raw", True)
        if self.echo and not raw:
            raise bad_request("echo needs a prompt that is continued as it is: selar.raw must be true", "echo")
        if self.echo and self.logprobs is not None and self.stream:
            raise bad_request("echo with logprobs cannot be streamed", "stream", "unsupported_parameter")
        if self.best_of not in (None, self.n or 1):
            raise bad_request("best_of is not supported", "best_of", "unsupported_parameter")


def parse(kind: type[Any], body: bytes) -> Any:
    """The request in a body. Raises ApiError."""
    try:
        request = kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid(error) from None
    request.check_together()
    return request
