"""From what a caller asks for to the `Request` that is decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from selar_local import calibration
from selar_local.config import GenerationConfig, SamplingConfig, from_mapping, require
from selar_local.engine.model_info import ModelInfo
from selar_local.engine.request import Constraint, Request
from selar_local.errors import NotCalibrated, OptionError, PromptTooLong
from selar_local.methods import DEFAULT_METHOD, Method, method_class

__all__ = ["Messages", "RequestMaker", "Tools"]

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]


class RequestMaker:
    """Makes requests for one opened model. Used by any thread."""

    def __init__(
        self,
        info: ModelInfo,
        has_template: bool,
        render: Callable[..., str],
        tokenize: Callable[[str], tuple[int, ...]],
        constrain: Callable[[GenerationConfig], Constraint | None],
    ) -> None:
        self._info = info
        self._has_template = has_template
        self._render = render
        self._tokenize = tokenize
        self._constrain = constrain

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
        """The request for the arguments of `Engine.stream`, which names the errors."""
        chosen = method if isinstance(method, Method) else method_class(method or DEFAULT_METHOD)()
        sampling, generation = _options(chosen, options)
        chosen = chosen.fitted(lambda k, gate_on: self._calibrated_tau(k, gate_on, sampling))
        text = chosen.prompt_text(self._text(prompt, messages, system, raw, thinking, tools))
        if not raw and not self._has_template:
            # ChatML was assumed: a base model mostly has no such token, it spells the text out.
            generation = replace(generation, stop=(*generation.stop, "<|im_end|>"))
        tokens = self._tokens(text)
        return Request(
            prompt=tokens,
            method=chosen,
            sampling=sampling,
            generation=generation,
            prompt_tail=text[-64:],
            split_thinking=not raw,
            logprobs=generation.logprobs,
            constraint=self._constrain(generation),
            room=self._info.ctx_size - len(tokens) + 1,  # the last token needs no place in the cache
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
        return self._render(turns, thinking=thinking, tools=tools)

    def _tokens(self, text: str) -> tuple[int, ...]:
        tokens, room = self._tokenize(text), self._info.ctx_size
        require(len(tokens) > 0, "the prompt is empty")
        if len(tokens) > room:
            raise PromptTooLong(
                f"the prompt has {len(tokens)} tokens, the context holds {room}: "
                f"shorten it or raise the context size (trained for {self._info.n_ctx_train})"
            )
        return tokens


def _options(method: Method, options: Mapping[str, Any]) -> tuple[SamplingConfig, GenerationConfig]:
    names = {f.name for f in fields(GenerationConfig)}
    known = names | {f.name for f in fields(SamplingConfig)}
    for name in options:
        if name not in known:
            raise OptionError(f"unknown option {name!r} (known: {', '.join(sorted(known))})")
    generation = from_mapping(GenerationConfig, {k: v for k, v in options.items() if k in names})
    return method.sampling({k: v for k, v in options.items() if k not in names}), generation
