"""From a request to the arguments of `Engine.stream`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, fields, replace
from typing import Any

from selar_local.config import SamplingConfig, from_mapping
from selar_local.errors import OptionError
from selar_local.methods import Method, method_class
from selar_local.options import described
from selar_local.server.config import Defaults
from selar_local.server.errors import bad_request
from selar_local.server.schemas import ChatRequest, Common
from selar_local.templates.variables import SWITCHES

_SEEDS = 2**63
_SAMPLING = tuple(one.name for one in described(SamplingConfig) if one.name not in ("greedy", "seed"))
_GENERATION = ("min_tokens", "ignore_eos", "stop_token_ids", "grammar")
_THINKING = ("thinking_budget", "reasoning_effort")


@dataclass(frozen=True)
class RequestSettings:
    """What a request and the server's defaults come to.

    arguments: for `Engine.stream`, without the seed. thinking: what the request says under `selar`.
    """

    arguments: dict[str, Any]
    seed: int
    thinking: bool | None
    events: bool
    raw: bool

    @property
    def params(self) -> dict[str, str]:
        """What a request calls the options that an engine's error names."""
        names = {f.name: f"selar.{f.name}" for f in fields(self.arguments["method"])}
        names |= {"template_args": "chat_template_kwargs"}
        same = (*_SAMPLING, *_GENERATION, *_THINKING, "seed", "max_tokens", "stop", "logprobs")
        return names | {name: name for name in same}


def settings_of(request: Common, defaults: Defaults, max_tokens: int | None, *, raw: bool) -> RequestSettings:
    """The settings of a request. raw: what the endpoint does by default. Raises ApiError."""
    own = dict(request.selar or {})
    thinking = _switch(own, "thinking", None)
    events, is_raw = _switch(own, "events", False), _switch(own, "raw", raw) if raw else False
    greedy = _switch(own, "greedy", None)
    keep_form = _switch(own, "keep_form", defaults.generation.keep_form)
    method = _method(own, defaults)
    given = dict(defaults.sampling)
    given.update({name: getattr(request, name) for name in _SAMPLING if getattr(request, name) is not None})
    if greedy is not None:
        given["greedy"] = greedy
    default_seed = given.pop("seed", None)
    asked = None if request.seed == -1 else request.seed
    seed = next((s for s in (asked, default_seed) if s is not None), secrets.randbits(32)) % _SEEDS
    generation = defaults.generation
    arguments = {
        **given,
        "method": method,
        "keep_form": keep_form,
        "max_tokens": generation.max_tokens if max_tokens is None else max_tokens,
        "stop": tuple(request.stop) or generation.stop,
        "thinking_budget": generation.thinking_budget if request.thinking_budget is None else request.thinking_budget,
        **{name: getattr(request, name) for name in _GENERATION if getattr(request, name) is not None},
    }
    return RequestSettings(arguments, seed, thinking, bool(events), bool(is_raw))


def template_options(
    request: ChatRequest, settings: RequestSettings, defaults: Defaults, *, forced: bool
) -> dict[str, Any]:
    """The arguments that say how the chat template renders the request, and how much is thought. Raises ApiError.

    forced: the form of the answer is: no thinking fits before it.
    """
    own = request.chat_template_kwargs or {}
    asked = {"selar.thinking": settings.thinking, "enable_thinking": request.enable_thinking}
    asked |= {f"chat_template_kwargs.{name}": own[name] for name in SWITCHES if isinstance(own.get(name), bool)}
    given = {name: value for name, value in asked.items() if value is not None}
    if forced and any(given.values()):
        param = next(name for name, value in given.items() if value)
        raise bad_request("thinking and a forced form of the answer exclude each other", param)
    if len(set(given.values())) > 1:
        raise bad_request(f"{' and '.join(given)} say different things", next(iter(given)))
    off = forced or request.reasoning_effort == "none"
    general = dict(defaults.generation.template_args or {})
    if given or off:
        general = {name: value for name, value in general.items() if name not in SWITCHES}
    effort = request.reasoning_effort
    return {
        "reasoning_effort": defaults.generation.reasoning_effort if effort is None else effort,
        "thinking": next(iter(given.values()), False if off else defaults.thinking),
        "template_args": {**general, **own} or None,
        "continue_final_message": _continues(request),
    }


def _continues(request: ChatRequest) -> bool | None:
    """Whether the last message is to be continued; None: as the engine does it."""
    if request.continue_final_message is None and request.add_generation_prompt is not None:
        return not request.add_generation_prompt
    return request.continue_final_message


def generations(request: Common, settings: RequestSettings, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The arguments of every generation: `n` of each input, their seeds one after the other."""
    return [
        {**settings.arguments, **given, "seed": (settings.seed + i) % _SEEDS}
        for given in inputs
        for i in range(request.n or 1)
    ]


def _switch(own: dict[str, Any], name: str, default: bool | None) -> bool | None:
    value = own.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise bad_request(f"selar.{name} must be true or false", f"selar.{name}")
    return default if value is None else value


def _method(own: dict[str, Any], defaults: Defaults) -> Method:
    """The method with the options left in the request's `selar` object."""
    name = own.pop("method", None)
    if name is not None and not isinstance(name, str):
        raise bad_request("selar.method must be a name", "selar.method")
    try:
        cls = type(defaults.method) if name is None else method_class(name)
    except OptionError as error:
        raise bad_request(str(error), "selar.method") from None
    known = [one.name for one in described(cls) if one.flags]
    for option in own:
        if option not in known:
            names = ", ".join(["method", "thinking", "events", "raw", "greedy", "keep_form", *known])
            text = f"selar.{option[:100]}: the method {cls.name} has no such option (known: {names})"
            raise bad_request(text, f"selar.{option[:100]}", "unknown_parameter")
    try:
        return replace(defaults.method, **own) if cls is type(defaults.method) else from_mapping(cls, own)
    except OptionError as error:
        raise bad_request(str(error), _named(str(error), own)) from None


def _named(message: str, own: dict[str, Any]) -> str:
    name = message.split(" ", 1)[0]
    return f"selar.{name}" if name in own else "selar"
