"""The Inspect model provider: ``inspect eval FILE --model selar/model.gguf -M method=selar -M tau=0.3 -M parallel=16``.

This module needs Inspect; it is imported when Inspect asks for the provider, or when an evaluation begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai._util.content import Content
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    StopReason,
    TopLogprob,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from selar_local.catalog import resolve
from selar_local.config import EngineConfig, SamplingConfig, from_mapping, require
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.settings import default_method
from selar_local.errors import EngineBusy, OptionError, PromptTooLong
from selar_local.evaluation.generation import Generated, generate, shared_engines
from selar_local.methods import DEFAULT_METHOD, Method, method_class

if TYPE_CHECKING:
    from selar_local.evaluation.generation import AnyEngine

logger = logging.getLogger(__name__)

#: Inspect's name of an option -> ours.
_OPTIONS = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_tokens": "max_tokens", "seed": "seed",
    "stop_seqs": "stop",
}  # fmt: skip
#: Options that Inspect itself acts on, or that ask nothing of a local model.
_INSPECTS_OWN = {
    "max_retries", "timeout", "attempt_timeout", "stream_idle_timeout", "max_connections", "adaptive_connections",
    "system_message", "max_tool_output", "cache", "cache_prompt", "fail_on_refusal", "parallel_tool_calls",
    "internal_tools", "reasoning_history", "logprobs", "top_logprobs", "response_schema",
}  # fmt: skip


@dataclass(frozen=True)
class ModelArguments:
    """What ``-M`` may say: options of the engine, the method, its options, and defaults of the sampling.

    sampling: what was given of it. thinking: ask the chat template for it, where it knows it. isolated: run llama.cpp
    in a process of its own. method_given: False where the method is the default one.
    """

    engine: EngineConfig
    method: Method
    sampling: Mapping[str, Any]
    thinking: bool | None = None
    isolated: bool = False
    method_given: bool = True

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> ModelArguments:
        """The arguments by name. Raises OptionError for one that is unknown, wrong or of another method."""
        rest = dict(arguments)
        thinking, isolated = rest.pop("thinking", None), rest.pop("isolated", False)
        require(thinking in (None, True, False), f"thinking must be true or false, not {thinking!r}")
        require(isolated in (True, False), f"isolated must be true or false, not {isolated!r}")
        named = rest.pop("method", None)
        method = method_class(named or DEFAULT_METHOD)
        engine = {"model_sampling": False, **_taken(rest, EngineConfig)}  # what a study compares is the method's own
        sampling = {name: value for name, value in _taken(rest, SamplingConfig).items() if value is not None}
        require("seed" not in sampling, "seed is no model argument: it would be the same for all samples of a problem")
        own = {one.name for one in fields(method)}
        for name in rest:
            if name not in own:
                known = sorted({*own, *(one.name for c in (EngineConfig, SamplingConfig) for one in fields(c))})
                raise OptionError(
                    f"unknown model argument {name!r} with method {method.name} "
                    f"(known: method, thinking, isolated, {', '.join(known)})"
                )
        chosen = from_mapping(method, rest)
        chosen.sampling(sampling)
        given = named is not None or bool(rest)
        return cls(from_mapping(EngineConfig, engine), chosen, sampling, thinking, bool(isolated), given)

    def fitted(self, info: ModelInfo) -> Method:
        """The method for this model: the default one is another where the model takes no vectors."""
        return self.method if self.method_given else default_method(info)


def _taken(arguments: dict[str, Any], cls: type) -> dict[str, Any]:
    """The arguments that are fields of `cls`, taken away from the others."""
    return {one.name: arguments.pop(one.name) for one in fields(cls) if one.name in arguments}


def generation_options(config: GenerateConfig) -> dict[str, Any]:
    """Inspect's options of a generation as the engine's. Raises OptionError for one that is not supported."""
    given = config.model_dump(exclude_none=True, exclude={"response_schema"})
    for name in given:
        single = name in ("num_choices", "best_of") and given[name] == 1
        if name not in _OPTIONS and name not in _INSPECTS_OWN and not single:
            raise OptionError(f"the selar provider does not support {name}")
    options = {_OPTIONS[name]: value for name, value in given.items() if name in _OPTIONS}
    if given.get("logprobs") or given.get("top_logprobs"):
        options["logprobs"] = given.get("top_logprobs") or 0
    if config.response_schema is not None:
        options["json_schema"] = config.response_schema.json_schema.model_dump(exclude_none=True, by_alias=True)
    return options


def as_messages(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """Inspect's messages as the engine's. Raises OptionError for tools, and for what is no text.

    What an assistant's turn thought is left out, as chat templates do it.
    """
    turns = []
    for message in messages:
        if message.role == "tool" or getattr(message, "tool_calls", None):
            raise OptionError("the selar provider does not support tools")
        turns.append({"role": message.role, "content": _text(message.content)})
    return turns


def _text(content: str | list[Content]) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        if isinstance(part, ContentText):
            texts.append(part.text)
        elif not isinstance(part, ContentReasoning):
            raise OptionError(f"the selar provider reads text only, not {part.type}")
    return "\n".join(texts)


class MethodAPI(ModelAPI):
    """What the providers have in common: a method and its options among the model's arguments."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - as Inspect's own
        **model_args: Any,
    ) -> None:
        """model_args: see `ModelArguments`. Raises OptionError."""
        super().__init__(model_name, base_url, api_key, [], config)
        self.arguments = ModelArguments.of(model_args)
        generation_options(config)

    def output(
        self, text: str, thinking: str, stop: StopReason, logprobs: Logprobs | None = None, *,
        usage: ModelUsage, seconds: float, **facts: Any,
    ) -> ModelOutput:  # fmt: skip
        """An answer as Inspect has it. facts: for the log."""
        parts: list[Content] = [ContentReasoning(reasoning=thinking), ContentText(text=text)]
        message = ChatMessageAssistant(content=parts if thinking else text, model=self.model_name, source="generate")
        # Where a thinking was opened, the first word of an answer tells that it was closed.
        facts |= {"thinking_closed": bool(text) or not thinking, "seconds": seconds}
        return ModelOutput(
            model=self.model_name,
            choices=[ChatCompletionChoice(message=message, stop_reason=stop, logprobs=logprobs)],
            usage=usage,
            time=seconds,
            metadata=facts,
        )


class SelarAPI(MethodAPI):
    """A GGUF model with a latent-reasoning method, decoded in this process.

    ``selar/MODEL``: MODEL is a path, a bundled name or ``hf:owner/repo[:file-or-quant]``. The engine opens with the
    first request; models of the same file and engine options share it.
    """

    _path: Path | None = None
    _said = False  # that the method is not the default one

    def max_connections(self) -> int:
        """As many as the engine decodes together."""
        return self.arguments.engine.parallel

    def connection_key(self) -> str:
        """Models that share an engine share its places."""
        return f"{self.model_name} {self.arguments.engine} {self.arguments.isolated}"

    def should_retry(self, ex: Exception) -> bool:
        """A full queue empties."""
        return isinstance(ex, EngineBusy)

    def _engine(self) -> AnyEngine:
        if self._path is None:
            self._path = resolve(self.model_name)
        return shared_engines().get(self._path, self.arguments.engine, isolated=self.arguments.isolated)

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """One answer. Raises OptionError for what is not supported, and the engine's errors.

        A prompt that the context cannot hold is an empty answer that ended for `model_length`.
        """
        if tools:
            raise OptionError("the selar provider does not support tools")
        given = self.arguments
        options = {**given.sampling, **generation_options(config)}
        messages = as_messages(input)
        engine = await asyncio.to_thread(self._engine)
        prompt: dict[str, Any] = {"messages": messages}
        if not engine.info.chat_template and len(messages) == 1 and messages[0]["role"] == "user":
            prompt = {"prompt": messages[0]["content"], "raw": True}  # a base model continues it
        try:
            method = self._method(engine.info)
            made = await generate(engine, {**prompt, "method": method, "thinking": given.thinking, **options})
        except PromptTooLong as error:
            return ModelOutput.from_content(self.model_name, "", "model_length", str(error))
        return self._output(engine, made)

    def _method(self, info: ModelInfo) -> Method:
        method = self.arguments.fitted(info)
        if method != self.arguments.method and not self._said:
            self._said = True
            logger.warning(
                "%s answers with %s: soft methods cannot be used: %s", info.name, method.name, info.no_vectors
            )
        return method

    def _output(self, engine: AnyEngine, made: Generated) -> ModelOutput:
        result, usage = made.result, made.result.usage
        return self.output(
            result.text, result.thinking, _stop(made), _logprobs(engine, made),
            usage=ModelUsage(
                input_tokens=usage.prompt_tokens - usage.cached_tokens,
                input_tokens_cache_read=usage.cached_tokens,
                output_tokens=usage.completion_tokens,
                total_tokens=usage.prompt_tokens + usage.completion_tokens,
                reasoning_tokens=usage.thinking_tokens,
            ),
            method=made.method.name,
            # As given, unless the model's calibration filled something in.
            **({} if made.method == self.arguments.method else {"options": asdict(made.method)}),
            explored_steps=usage.explored_steps, latent_steps=usage.latent_steps,
            mismatched_steps=usage.mismatched_steps, entropies=list(made.entropies),
            finish_reason=result.finish_reason, context_full=result.context_full, started=made.started,
            seconds=result.timings.prefill_seconds + result.timings.decode_seconds, seed=result.seed,
        )  # fmt: skip


def _stop(made: Generated) -> StopReason:
    if made.result.finish_reason == "stop":
        return "stop"
    return "model_length" if made.result.context_full else "max_tokens"


def _logprobs(engine: AnyEngine, made: Generated) -> Logprobs | None:
    if not made.result.logprobs:
        return None

    def piece(token: int) -> dict[str, Any]:
        data = engine.token_bytes(token)
        return {"token": data.decode("utf-8", "replace"), "bytes": list(data)}

    return Logprobs(
        content=[
            Logprob(
                **piece(token),
                logprob=values.token,
                top_logprobs=[TopLogprob(**piece(other), logprob=value) for other, value in values.top],
            )
            for token, values in zip(made.result.tokens, made.result.logprobs, strict=True)
        ]
    )
