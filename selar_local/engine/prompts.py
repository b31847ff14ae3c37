"""From the arguments of a call to the `Request` that is decoded: chat template, tokenizer."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local import calibration
from selar_local.config import GenerationConfig, SamplingConfig, require
from selar_local.engine.constraints import Constraint
from selar_local.engine.dialects import Dialects
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.plain_content import contents, cut_at, marked
from selar_local.engine.rendered_request import RenderedRequest, request_notes
from selar_local.engine.request import Request
from selar_local.engine.request_options import Messages, Prompt, RenderOptions, Tools
from selar_local.engine.settings import as_method, configs_of, default_method, require_usable
from selar_local.engine.thinking_options import thinking_options
from selar_local.errors import NotCalibrated, PromptTooLong
from selar_local.formats import HERMES
from selar_local.llama.breakers import breakers_of
from selar_local.llama.model import LlamaModel
from selar_local.methods.adjustment import Breakers, Changes
from selar_local.methods.base import Method
from selar_local.templates import ChatTemplate

if TYPE_CHECKING:
    from typing_extensions import Unpack


class LogitChanges:
    """Makes the changes of one model's requests. It keeps the breakers of the last request that had DRY."""

    def __init__(self) -> None:
        self._breakers: dict[tuple[str, ...], Breakers] = {}

    def of(self, sampling: SamplingConfig, generation: GenerationConfig, model: LlamaModel) -> Changes:
        """Raises OptionError for a token that the model does not have."""
        bias = sampling.biases()
        for name, tokens in (("logit_bias", bias), ("stop_token_ids", generation.stop_token_ids)):
            for token in tokens:
                require(token < model.n_vocab, f"{name} has token {token}, the model has {model.n_vocab} tokens")
        ends = model.end_tokens if generation.ignore_eos or generation.min_tokens else ()
        if generation.ignore_eos:
            bias |= dict.fromkeys(ends, -math.inf)
        forbidden = sum(value == -math.inf for value in bias.values())
        require(forbidden < model.n_vocab, "logit_bias forbids every token of the model")
        return Changes(
            bias=bias,
            ends=(*ends, *generation.stop_token_ids),
            not_before=generation.min_tokens,
            breakers=self._breakers_of(sampling, model) if sampling.dry_multiplier > 0 else {},
        )

    def _breakers_of(self, sampling: SamplingConfig, model: LlamaModel) -> Breakers:
        texts = () if sampling.dry_sequence_breakers == ("none",) else sampling.dry_sequence_breakers
        if texts not in self._breakers:
            self._breakers = {texts: breakers_of(model, texts)}
        return self._breakers[texts]


_MAY_BE_SPECIAL = re.compile(r"[<\[|｜]|\w_\w")  # what the texts of control tokens have
_SHORT = 32  # characters for each token of the context: such a text may fit
_LONG = 50_000  # characters from which on one text at a time is tokenised: the short ones do not wait for it
_TOOLS_AS_TEXT = "the chat template of this model cannot show tools: they are in the system message"
_MUCH_TOO_LONG = 4  # times the context: the tokens of such a prompt are not counted to the end


class Prompts:
    """Makes the requests of one opened model.

    `rendered` takes as long as the chat template and any thread may call it. `request` asks the model, which must stay
    open meanwhile.
    """

    def __init__(self, model: LlamaModel, info: ModelInfo, chat_template: str | None = None) -> None:
        """chat_template: as `Dialects`. Raises TemplateError.

        The markers of the model's formats become text in what `model` says, for the readers of these formats.
        """
        self._info = info
        self._dialects = Dialects(model, chat_template)
        model.show_as_text(self._dialects.markers | set(HERMES.markers))
        self._long_texts = threading.Lock()
        self._logit_changes = LogitChanges()
        self._model_notes = () if info.no_vectors is None else (f"soft methods cannot be used: {info.no_vectors}",)

    def render(self, messages: Messages, **options: Unpack[RenderOptions]) -> str:
        """The prompt text that the chat template makes of `messages`. Raises TemplateError and OptionError."""
        rest: dict[str, Any] = dict(options)
        asked = {name: rest.pop(name, None) for name in ("thinking_budget", "reasoning_effort", "template_args")}
        require_tools(options.get("tools"))
        dialect = self._dialects.of(options.get("tools"))
        thinking = thinking_options(rest.pop("thinking", None), GenerationConfig(**asked), dialect)
        if rest.get("continue_final_message") is None:
            rest["continue_final_message"] = rest.get("add_generation_prompt", True) and _is_begun(messages)
        return dialect.template.render(messages, **thinking.rendering, **rest)

    def rendered(
        self,
        prompt: Prompt | None = None,
        *,
        messages: Messages | None = None,
        system: str | None = None,
        raw: bool = False,
        thinking: bool | None = None,
        tools: Tools | None = None,
        continue_final_message: bool | None = None,
        method: Method | str | None = None,
        **options: Any,
    ) -> RenderedRequest:
        """The request for the arguments of `BaseEngine.stream`, as text. Raises its errors."""
        chosen = default_method(self._info) if method is None else as_method(method)
        require_usable(chosen, self._info)
        sampling, generation = configs_of(chosen, options, self._info.sampling)
        chosen = chosen.fitted(lambda k, gate_on: self._calibrated_tau(k, gate_on, sampling))
        require((prompt is None) != (messages is None), "give either a prompt or messages")
        require_tools(tools)
        if raw:
            plain = system is None and not tools and not continue_final_message
            require(prompt is not None and plain, "raw takes a prompt, without messages, system or tools")
            return _raw(prompt or "", RenderedRequest("", chosen, sampling, generation, thinking, None))
        require(prompt is None or isinstance(prompt, str), "a prompt of token ids must be raw")
        require(not isinstance(prompt, str) or bool(prompt.strip()), "the prompt is empty")
        turns = list(messages or ())
        if system is not None:
            turns.insert(0, {"role": "system", "content": system})
        if prompt is not None:
            turns.append({"role": "user", "content": prompt})
        self._require_room(len(turns), "at least ")  # a token each, or more
        dialect = self._dialects.of(tools)
        thinking, rendering, generation, note = thinking_options(thinking, generation, dialect)
        continues = _is_begun(turns) if continue_final_message is None else continue_final_message
        rendering |= {"tools": tools, "continue_final_message": continues}
        text = chosen.prompt_text(dialect.template.render(turns, **rendering))
        begun = _begun(text, dialect.template, chosen, turns, rendering) if continues else ""
        has_switch = dialect.template.variables.switch_thinking
        return RenderedRequest(
            text, chosen, sampling, generation, thinking, has_switch, tools, turns, rendering, begun, note
        )

    def request(self, model: LlamaModel, rendered: RenderedRequest, constraint: Constraint | None = None) -> Request:
        """The request as tokens. constraint: what its grammar or schema makes. Raises PromptTooLong."""
        dialect, room = self._dialects.of(rendered.tools), self._info.ctx_size
        self._require_room(_fewest_tokens(rendered.text, model, room), "at least ")
        tokens = rendered.tokens
        if tokens is None:
            with self._long_texts if len(rendered.text) > _LONG else nullcontext():
                tokens = tuple(model.prompt_tokens(*self._parts(rendered, model), most=_MUCH_TOO_LONG * room))
        known = all(type(token) is int and 0 <= token < model.n_vocab for token in tokens)
        require(known, f"the prompt has ids of no token: they are whole numbers below {model.n_vocab}")
        require(len(tokens) > 0, "the prompt is empty")
        self._require_room(len(tokens), "at least " if len(tokens) > _MUCH_TOO_LONG * room else "")
        return Request(
            prompt=tokens,
            method=rendered.method,
            sampling=rendered.sampling,
            generation=rendered.generation,
            prompt_tail=rendered.tail,
            begun=rendered.begun,
            # Where ChatML was assumed, a base model mostly has no such token: it spells the text out.
            turn_end="<|im_end|>" if dialect.source is None and rendered.messages is not None else "",
            closing=dialect.closing,
            split_thinking=rendered.template_has_switch is not None,
            form=dialect.form_for(rendered.tools),
            tools=rendered.tools if constraint is None else None,
            constraint=constraint,
            changes=self._logit_changes.of(rendered.sampling, rendered.generation, model),
            room=room - len(tokens) + 1,  # the last token needs no place in the cache
            notes=(
                *self._model_notes,
                *((_TOOLS_AS_TEXT,) if dialect.tools_in_text(rendered.tools) else ()),
                *request_notes(
                    rendered,
                    model,
                    form=dialect.form,
                    has_tags=dialect.thinks,
                    constrained=constraint is not None,
                ),
            ),
        )

    def _parts(self, rendered: RenderedRequest, model: LlamaModel) -> list[str]:
        """The prompt, cut where what users wrote would else be read as a special token."""
        if rendered.messages is None:
            return [rendered.text]
        if not any(_MAY_BE_SPECIAL.search(text) for text in contents(rendered.messages, rendered.tools)):
            return [rendered.text]
        specials = [text for text in {*model.control_texts, *self._dialects.markers} if len(text) > 1]
        messages, tools, mark = marked(rendered.messages, specials, rendered.tools)
        if not mark:
            return [rendered.text]
        template = self._dialects.of(rendered.tools).template
        text = template.render(messages, **{**rendered.rendering, "tools": tools})
        return cut_at(mark, rendered.method.prompt_text(text))

    def _require_room(self, tokens: int, bound: str = "") -> None:
        if tokens > self._info.ctx_size:
            raise PromptTooLong(
                f"the prompt is too long: it has {bound}{tokens} tokens, the context holds {self._info.ctx_size}; "
                f"shorten it or raise the context size (trained for {self._info.n_ctx_train})",
                tokens,
                self._info.ctx_size,
            )

    def _calibrated_tau(self, k: int, gate_on: str, sampling: SamplingConfig) -> float:
        """The tau that ``selar-local calibrate`` found for this file. Raises NotCalibrated where there is none."""
        path = Path(self._info.path)
        found = calibration.find(path, k=k, gate_on=gate_on, sampling=sampling)
        if found is None:
            raise NotCalibrated(
                f"tau auto: {path.name} is not calibrated for k {k}, gate {gate_on} and this sampling; "
                f"run: selar-local calibrate {path.name}, with the same options"
            )
        if found.tau is None:
            raise NotCalibrated(
                f"tau auto: the calibration of {path.name} found no threshold "
                f"({found.reason or 'no valley'}); choose a number for tau"
            )
        return found.tau


def _fewest_tokens(text: str, model: LlamaModel, room: int) -> int:
    """A lower bound of a long text's tokens. It spares the tokenizer a text that cannot fit; 0 for most texts."""
    if len(text) <= _SHORT * room:
        return 0
    return len(text.encode("utf-8", "replace")) // model.longest_piece


def require_tools(tools: Tools | None) -> None:
    """Raises OptionError for anything but tools as OpenAI's API has them, with or without their type."""
    listed = isinstance(tools, Sequence) and all(isinstance(tool, Mapping) for tool in tools)
    require(tools is None or listed, "tools must be a list of objects")
    for tool in tools or ():
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, Mapping) else None
        require(isinstance(name, str) and bool(name), "each of the tools must be a function with a name")
        parameters = function.get("parameters")
        require(
            parameters is None or isinstance(parameters, Mapping),
            f"the parameters of the tool {name} must be an object",
        )


def _raw(prompt: Prompt, request: RenderedRequest) -> RenderedRequest:
    """The request with a prompt that is continued as it is. Raises OptionError."""
    for name in ("template_args", "reasoning_effort"):
        given = getattr(request.generation, name)
        require(not given, f"{name} has no place in a raw prompt: it has no chat template")
    method = request.method
    if isinstance(prompt, str):
        return replace(request, text=method.prompt_text(prompt))
    require(not method.prompt_text(""), f"{method.name} adds to the prompt: give it as a text")
    return replace(request, tokens=tuple(prompt))


def _is_begun(messages: Messages) -> bool:
    """Whether the last message is the beginning of an answer, as clients send it: a text of the assistant."""
    last = messages[-1] if messages else {}
    return last.get("role") == "assistant" and bool(last.get("content")) and not last.get("tool_calls")


def _begun(text: str, template: ChatTemplate, method: Method, turns: Messages, rendering: Mapping[str, Any]) -> str:
    """How the answer that is to be continued begins in the prompt: what a prompt for a new one has not."""
    new = template.render(turns[:-1], **{**rendering, "continue_final_message": False}) if turns[:-1] else ""
    pairs = zip(method.prompt_text(new), text, strict=False)
    return text[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :]
