"""From what a caller asks for to the `Request` that is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from selar_local import calibration, methods
from selar_local.chat import ChatTemplate
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig, from_mapping, require
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.notes import has_thinking_tags, request_notes
from selar_local.engine.request import Constraint, Request
from selar_local.engine.request_options import Messages, Tools
from selar_local.errors import NotCalibrated, OptionError, PromptTooLong
from selar_local.methods import DEFAULT_METHOD, METHODS, Method, method_class
from selar_local.methods.base import NamedTokens

__all__ = ["PromptVocabulary", "RequestMaker"]


_TAIL = 64  # characters of the prompt's end: they show whether it opens or closes the thinking


class PromptVocabulary(NamedTokens, Protocol):
    """What prompts need of the model's vocabulary."""

    def prompt_tokens(self, text: str) -> list[int]:
        """Token ids of a whole prompt: special tokens parsed, BOS added where the file asks for it."""


class RequestMaker:
    """Makes requests for one opened model. Used by any thread."""

    def __init__(
        self,
        info: ModelInfo,
        vocabulary: PromptVocabulary,
        template: str | None,
        special_texts: Mapping[str, str],
        constrain: Callable[[GenerationConfig], Constraint | None] = lambda generation: None,
    ) -> None:
        """template: the source of the model's chat template. special_texts: `bos_token` and `eos_token` for it.

        constrain: the grammar of a request, if it has one.
        """
        self._info = info
        self._vocabulary = vocabulary
        self._template_source = template
        self._special_texts = special_texts
        self._constrain = constrain

    @cached_property
    def _template(self) -> ChatTemplate:
        """The model's chat template, ChatML where it has none. Parsed when first used: raw prompts need none."""
        source = self._template_source
        return ChatTemplate.chatml() if source is None else ChatTemplate(source, **self._special_texts)

    @cached_property
    def _has_thinking_tags(self) -> bool:
        return has_thinking_tags(self._template_source, self._vocabulary)

    def make(
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
    ) -> Request:
        """The request for the arguments of `BaseEngine.stream`, which names the errors."""
        chosen = method if isinstance(method, Method) else method_class(method or DEFAULT_METHOD)()
        sampling, generation = _configs(chosen, options)
        chosen = chosen.fitted(lambda k, gate_on: self._calibrated_tau(k, gate_on, sampling))
        text = chosen.prompt_text(self._text(prompt, messages, system, raw, thinking, tools))
        if not raw and self._template_source is None:
            # ChatML was assumed: a base model mostly has no such token, it spells the text out.
            generation = replace(generation, stop=(*generation.stop, "<|im_end|>"))
        tokens, tail = self._tokens(text), text[-_TAIL:]
        constraint = self._constrain(generation)
        notes = request_notes(
            chosen,
            self._vocabulary,
            tail,
            thinking=thinking,
            has_switch=None if raw else self._template.knows_thinking,
            has_tags=self._has_thinking_tags,
            constrained=constraint is not None,
        )
        return Request(
            prompt=tokens,
            method=chosen,
            sampling=sampling,
            generation=generation,
            prompt_tail=tail,
            split_thinking=not raw,
            logprobs=generation.logprobs,
            constraint=constraint,
            room=self._info.ctx_size - len(tokens) + 1,  # the last token needs no place in the cache
            notes=tuple(notes),
        )

    def render(
        self,
        messages: Messages,
        *,
        thinking: bool | None = None,
        tools: Tools | None = None,
        add_generation_prompt: bool = True,
    ) -> str:
        """The prompt text the model's chat template makes of `messages`. Raises TemplateError."""
        return self._template.render(
            messages, thinking=thinking, tools=tools, add_generation_prompt=add_generation_prompt
        )

    def _calibrated_tau(self, k: int, gate_on: str, sampling: SamplingConfig) -> float:
        """What ``selar-local calibrate`` found for this file. Raises NotCalibrated where there is nothing."""
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

    def _text(
        self,
        prompt: str | None,
        messages: Messages | None,
        system: str | None,
        raw: bool,
        thinking: bool | None,
        tools: Tools | None,
    ) -> str:
        require((prompt is None) != (messages is None), "give either a prompt or messages")
        listed = isinstance(tools, Sequence) and all(isinstance(tool, Mapping) for tool in tools)
        require(tools is None or listed, "tools must be a list of objects")
        if raw:
            plain = prompt is not None and system is None and not tools
            require(plain, "raw takes a prompt, without messages, system or tools")
            return prompt or ""
        turns: list[Mapping[str, Any]] = list(messages or [])
        if system is not None:
            turns.insert(0, {"role": "system", "content": system})
        if prompt is not None:
            turns.append({"role": "user", "content": prompt})
        return self.render(turns, thinking=thinking, tools=tools)

    def _tokens(self, text: str) -> tuple[int, ...]:
        tokens, room = tuple(self._vocabulary.prompt_tokens(text)), self._info.ctx_size
        require(len(tokens) > 0, "the prompt is empty")
        if len(tokens) > room:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens, the context holds {room}: "
                f"shorten it or raise the context size (trained for {self._info.n_ctx_train})"
            )
        return tokens


def _configs(method: Method, options: Mapping[str, Any]) -> tuple[SamplingConfig, GenerationConfig]:
    names = {f.name for f in fields(GenerationConfig)}
    known = names | {f.name for f in fields(SamplingConfig)}
    for name, value in options.items():
        if name not in known:
            raise OptionError(_unknown(name, value, type(method), known))
    generation = from_mapping(GenerationConfig, {k: v for k, v in options.items() if k in names})
    return method.sampling({k: v for k, v in options.items() if k not in names}), generation


def _unknown(name: str, value: object, chosen: type[Method], known: set[str]) -> str:
    """What to say about an option that a request does not have: where it belongs, else what there is."""
    owners = [cls for cls in (chosen, *METHODS.values()) if name in {f.name for f in fields(cls)}]
    if chosen in owners:
        owners = [chosen]
    if owners:
        public = [f"sl.{cls.__name__}" if cls.__name__ in methods.__all__ else cls.__name__ for cls in owners]
        calls = " or ".join(f"method={cls}({name}={value!r})" for cls in public)
        return f"unknown option {name!r}: it is an option of a method, give {calls}"
    if name in {f.name for f in fields(EngineConfig)}:
        return f"unknown option {name!r}: it is an option of sl.load"
    return f"unknown option {name!r} (known: {', '.join(sorted(known))})"
