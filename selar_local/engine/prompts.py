"""From the arguments of a call to the `Request` that is decoded: chat template, tokenizer, grammar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local import calibration
from selar_local.chat import ChatTemplate
from selar_local.config import GenerationConfig, SamplingConfig, require
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.request import Request
from selar_local.engine.request_options import Messages, RenderOptions, Tools
from selar_local.engine.settings import as_method, configs_of
from selar_local.engine.transcript import Transcript
from selar_local.errors import NotCalibrated, PromptTooLong
from selar_local.llama.grammar import Grammar, schema_grammar
from selar_local.llama.model import LlamaModel
from selar_local.methods.base import Method, NamedTokens
from selar_local.methods.think_tokens import own_think_tokens
from selar_local.thinking import TAGS, TOOL_CALL_TAGS

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Prompts", "RenderedRequest", "has_thinking_tags", "request_notes"]

_TAIL = 64  # characters of the prompt's end: they show whether it opens or closes the thinking


@dataclass(frozen=True)
class RenderedRequest:
    """A request before it meets the tokenizer.

    template_has_switch: whether the chat template knows `thinking`; None where no template is used. thinking: as asked
    for.
    """

    text: str
    method: Method
    sampling: SamplingConfig
    generation: GenerationConfig
    thinking: bool | None
    template_has_switch: bool | None


class Prompts:
    """Makes the requests of one opened model.

    `rendered` takes as long as the chat template and any thread may call it. `request` asks the model, which must stay
    open meanwhile.
    """

    def __init__(self, model: LlamaModel, info: ModelInfo) -> None:
        """Tags of thinking and tool calls become text in what `model` says, for those who read them."""
        model.show_as_text([tag for pair in (*TAGS, TOOL_CALL_TAGS) for tag in pair])
        self._info = info
        self._template_source = model.chat_template()
        self._special_texts = {"bos_token": model.special_text("bos"), "eos_token": model.special_text("eos")}
        self._has_thinking_tags = has_thinking_tags(self._template_source, model)

    @cached_property
    def _template(self) -> ChatTemplate:
        """The model's chat template, ChatML where it has none. Parsed when first used: raw prompts need none."""
        source = self._template_source
        return ChatTemplate.chatml() if source is None else ChatTemplate(source, **self._special_texts)

    def render(self, messages: Messages, **options: Unpack[RenderOptions]) -> str:
        """The prompt text that the chat template makes of `messages`. Raises TemplateError."""
        return self._template.render(messages, **options)

    def rendered(
        self,
        prompt: str | None = None,
        *,
        messages: Messages | None = None,
        system: str | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Tools | None = None,
        method: Method | str | None = None,
        **options: Any,
    ) -> RenderedRequest:
        """The request for the arguments of `BaseEngine.stream`, as text. Raises its errors."""
        chosen = as_method(method)
        sampling, generation = configs_of(chosen, options)
        chosen = chosen.fitted(lambda k, gate_on: self._calibrated_tau(k, gate_on, sampling))
        require((prompt is None) != (messages is None), "give either a prompt or messages")
        listed = isinstance(tools, Sequence) and all(isinstance(tool, Mapping) for tool in tools)
        require(tools is None or listed, "tools must be a list of objects")
        if raw:
            plain = prompt is not None and system is None and not tools
            require(plain, "raw takes a prompt, without messages, system or tools")
            text = prompt or ""
        else:
            turns = list(messages or ())
            if system is not None:
                turns.insert(0, {"role": "system", "content": system})
            if prompt is not None:
                turns.append({"role": "user", "content": prompt})
            text = self.render(turns, thinking=thinking, tools=tools)
            if self._template_source is None:
                # ChatML was assumed. A base model mostly has no such token: it spells the text out.
                generation = replace(generation, stop=(*generation.stop, "<|im_end|>"))
        has_switch = None if raw else self._template.knows_thinking
        return RenderedRequest(chosen.prompt_text(text), chosen, sampling, generation, thinking, has_switch)

    def request(self, model: LlamaModel, rendered: RenderedRequest) -> Request:
        """The request as tokens. Raises PromptTooLong, and OptionError for a grammar that cannot be read."""
        tokens, room = tuple(model.prompt_tokens(rendered.text)), self._info.ctx_size
        require(len(tokens) > 0, "the prompt is empty")
        if len(tokens) > room:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens, the context holds {room}: "
                f"shorten it or raise the context size (trained for {self._info.n_ctx_train})"
            )
        generation = rendered.generation
        grammar = generation.grammar if generation.json_schema is None else schema_grammar(generation.json_schema)
        return Request(
            prompt=tokens,
            method=rendered.method,
            sampling=rendered.sampling,
            generation=generation,
            prompt_tail=rendered.text[-_TAIL:],
            split_thinking=rendered.template_has_switch is not None,
            constraint=None if grammar is None else Grammar(model, grammar),
            room=room - len(tokens) + 1,  # the last token needs no place in the cache
            notes=tuple(
                request_notes(rendered, model, has_tags=self._has_thinking_tags, constrained=grammar is not None)
            ),
        )

    def _calibrated_tau(self, k: int, gate_on: str, sampling: SamplingConfig) -> float:
        """The tau that ``selar-local calibrate`` found for this file. Raises NotCalibrated where there is none."""
        path = Path(self._info.path)
        found = calibration.find(path, k=k, gate_on=gate_on, sampling=sampling)
        if found is None:
            raise NotCalibrated(
                f"tau auto: {path.name} is not calibrated for this k, gate and sampling; "
                "run selar-local calibrate with them"
            )
        if found.tau is None:
            raise NotCalibrated(
                f"tau auto: the calibration of {path.name} found no threshold "
                f"({found.reason or 'no valley'}); choose a number for tau"
            )
        return found.tau


def has_thinking_tags(template: str | None, vocabulary: NamedTokens) -> bool:
    """Whether the chat template (its source) or the vocabulary has tags around a thinking."""
    return any(tag in (template or "") for pair in TAGS for tag in pair) or own_think_tokens(vocabulary) is not None


def request_notes(
    rendered: RenderedRequest, vocabulary: NamedTokens, *, has_tags: bool, constrained: bool
) -> Iterator[str]:
    """Options without an effect, in plain sentences; none for most requests.

    has_tags: see `has_thinking_tags`. constrained: a grammar binds the text.
    """
    method, thinking, has_switch = rendered.method, rendered.thinking, rendered.template_has_switch
    transcript = Transcript(rendered.text[-_TAIL:])
    if has_switch is None and thinking is not None:
        yield "thinking has no effect on a raw prompt: no chat template is used"
    elif has_switch is False and thinking and not transcript.in_thinking:
        yield "thinking has no effect: the chat template of this model has no switch for it"
    elif has_switch is False and thinking is False and has_tags and not constrained:
        yield "the thinking cannot be switched off: the chat template of this model has no switch for it"
    if constrained and method.feeds_vectors:
        yield f"{method.name} has no effect under a grammar or a JSON schema: no step explores there"
    else:
        has_thinking = has_tags or transcript.in_thinking
        yield from method.notes(vocabulary, has_thinking=has_thinking, thinking_over=transcript.closed_by_prompt)
