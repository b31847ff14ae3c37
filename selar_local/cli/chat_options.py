"""``/set`` and ``/show``: the options of a conversation by the names and flags of the command line."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from selar_local.config import ChatConfig, EngineConfig, GenerationConfig, SamplingConfig, opt
from selar_local.engine.conversation import Conversation
from selar_local.errors import OptionError
from selar_local.options import Option, described, shown

_DEFAULTS = ("default", "none")
_OVERFLOW = ChatConfig.__dataclass_fields__["overflow"]


@dataclass(frozen=True)
class _TurnOptions:
    """Options of a conversation that are neither sampling nor generation."""

    thinking: bool | None = opt(None, "ask the chat template for thinking", "--thinking/--no-thinking")
    overflow: str = field(default=ChatConfig.overflow, metadata=_OVERFLOW.metadata)


class Found(NamedTuple):
    """An option of a class, under one of its names. negative: the name is a flag that switches it off."""

    cls: type
    option: Option
    negative: bool = False

    @property
    def values(self) -> tuple[str, ...]:
        """The values, where they can be listed."""
        return ("on", "off") if self.option.kind == "boolean" else self.option.choices


def options_of(conversation: Conversation) -> list[Found]:
    """All that ``/set`` knows."""
    classes = (type(conversation.method), SamplingConfig, GenerationConfig, _TurnOptions)
    return [Found(cls, option) for cls in classes for option in described(cls) if option.flags]


def find_option(conversation: Conversation, name: str) -> Found:
    """The option called `name`, which may be any of its flags, with or without hyphens. Raises OptionError."""
    wanted = name.lstrip("-").replace("-", "_")
    options = options_of(conversation)
    for found in options:
        if found.option.name == wanted:
            return found
    for found in options:
        flags = _flags(found.option)
        if wanted in flags:
            return found._replace(negative=flags[wanted])
    if any(wanted == option.name or wanted in _flags(option) for option in described(EngineConfig)):
        raise OptionError(f"{name} is fixed when the model is loaded")
    if wanted in ("system", "method"):
        raise OptionError(f"/{wanted} sets it")
    known = ", ".join(found.option.name for found in options)
    raise OptionError(f"no option {name!r} with method {conversation.method.name} (there are: {known})")


def _flags(option: Option) -> dict[str, bool]:
    """The flags without hyphens, and whether they switch the option off."""
    pairs = [flag.split("/") for flag in option.flags]
    return {flag.lstrip("-").replace("-", "_"): off > 0 for pair in pairs for off, flag in enumerate(pair)}


def set_option(conversation: Conversation, text: str) -> str:
    """Obey ``/set text``; returns what to tell the person. Raises OptionError."""
    name, value = _parsed(text)
    found = find_option(conversation, name)
    if found.negative:
        if value:
            raise OptionError(f"{name} takes no value")
        value = "off"
    if value:
        _change(conversation, found, value)
    greedy = " (greedy)" if found.option.name == "temperature" and conversation.sampling.greedy else ""
    return f"{found.option.name} = {shown(_value(conversation, found))}{greedy}"


def _parsed(text: str) -> tuple[str, str]:
    found = re.match(r"([^\s=]+)\s*=?\s*(.*)", text, re.DOTALL)
    if found is None:
        raise OptionError("use it as in: /set tau 0.4")
    return found[1], found[2].strip()


def _change(conversation: Conversation, found: Found, text: str) -> None:
    name = found.option.name
    value = found.option.parse(text)
    if found.cls is _TurnOptions:
        setattr(conversation, name, value)
    elif found.cls in (SamplingConfig, GenerationConfig):
        conversation.set(**{name: None if text.lower() in _DEFAULTS else value})
    else:
        conversation.method = replace(conversation.method, **{name: value})


def _value(conversation: Conversation, found: Found) -> Any:
    places = {SamplingConfig: conversation.sampling, GenerationConfig: conversation.generation}
    place: Any = conversation if found.cls is _TurnOptions else places.get(found.cls, conversation.method)
    return getattr(place, found.option.name)


def describe(conversation: Conversation) -> list[str]:
    """The options in force, a line for each kind."""
    parts = (
        (f"method {conversation.method.name}", asdict(conversation.method)),
        ("sampling", conversation.sampling.as_dict()),
        ("length", asdict(conversation.generation)),
        ("chat", {"thinking": conversation.thinking, "overflow": conversation.overflow}),
    )
    lines = [
        f"{title}: {', '.join(f'{k} {shown(v)}' for k, v in values.items()) or 'no options'}" for title, values in parts
    ]
    return [*lines, f"system message: {conversation.system or 'none'}"]
