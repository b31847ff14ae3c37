"""Command-line options made from the configuration classes, so that flags, help and defaults cannot drift."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, make_dataclass
from dataclasses import field as declared
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import click

from selar_local.cli.grouped_help import NO_BREAK, option
from selar_local.cli.option_sources import is_typed, named
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import DEFAULT_METHOD, METHODS, Method, method_class

__all__ = [
    "Described",
    "as_usage",
    "build",
    "build_method",
    "build_sampling",
    "config_options",
    "described",
    "flag_of",
    "method_option",
    "method_options",
    "parse_value",
    "shown",
    "some_of",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_DEFAULT_IN_WORDS = re.compile(r" \(default: (.*)\)$")
_LONG_CHOICE = 32  # characters of choices beside the flag; longer lists go into the help text


class _NumberOrText(click.ParamType):  # type: ignore[type-arg]
    """A number where it can be read as one, else text: `0.4` or `auto`, `151668` or `</think>`."""

    name = "number|text"

    def __init__(self, number: type) -> None:
        self._number = number

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._number(value)
        except ValueError:
            return value


_type_hints = lru_cache(typing.get_type_hints)  # they are asked for at every option


def _hints(cls: type, field: Field[Any]) -> list[Any]:
    """The field's types, without None."""
    hint = _type_hints(cls)[field.name]
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return [kind for kind in kinds if kind is not type(None)]


def _parameter(cls: type, field: Field[Any]) -> Any:
    """The click type of one value of the field."""
    hints = _hints(cls, field)
    number = next((hint for hint in hints if hint in (int, float)), None)
    if len(hints) > 1 and number is not None:
        return _NumberOrText(number)
    kinds: dict[Any, Any] = {bool: click.BOOL, int: click.INT, float: click.FLOAT}
    return kinds.get(hints[0], click.STRING)


def shown(value: Any) -> str:
    """A value of an option as a person writes it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(map(repr, value)) or "none"
    return "none" if value is None else str(value)


def _with_default(field: Field[Any]) -> str:
    """The field's help with its default, unless that says nothing or stands in the help already."""
    text: str = field.metadata["help"]
    if field.default in (None, (), MISSING) or field.default is False:
        return text
    return f"{text} [default:{NO_BREAK}{shown(field.default)}]"


def _option(cls: type, field: Field[Any], heading: str, help_text: str | None = None) -> Callable[[F], F]:
    """One click option for one field. Its default is None: absent options stay with the class's default.

    help_text: in place of the field's own, with its default in it.
    """
    hint = _hints(cls, field)[0]
    metadata = field.metadata
    flags = list(metadata["flags"])
    help_text = _with_default(field) if help_text is None else help_text
    more: dict[str, Any] = {"heading": heading, "owner": cls}
    if "choices" in metadata:
        choices = list(metadata["choices"])
        more["type"] = click.Choice(choices)
        if len("|".join(choices)) > _LONG_CHOICE:
            more["metavar"] = "TYPE"
            help_text += f": {', '.join(choices)}"
    elif hint is not bool:
        more["type"] = _parameter(cls, field)
    if cls is SamplingConfig:
        for method in METHODS.values():
            if field.name in method.sampling_defaults:
                help_text += f" [{method.name}:{NO_BREAK}{shown(method.sampling_defaults[field.name])}]"
    if hint is bool:
        more["is_flag"] = True
    if typing.get_origin(hint) is tuple:
        more["multiple"] = True
    return option(*flags, field.name, default=None, help=help_text, **more)


class Described(NamedTuple):
    """One option as people are told of it.

    flags: as declared, none where only Python has the option. kind: "integer", "float", "text", "number|text",
    "boolean" or "choice". source: of the option, else of its class.
    """

    name: str
    flags: tuple[str, ...]
    kind: str
    default: Any
    choices: tuple[str, ...]
    help: str
    source: str | None

    @property
    def usage(self) -> str:
        """What one writes, as the help page of ``run`` shows it."""
        if not self.flags:
            return f"{self.name} (Python only)"
        if self.kind == "boolean":
            return ", ".join(flag.replace("/", " / ") for flag in self.flags)
        value = f"[{'|'.join(self.choices)}]" if self.choices else self.kind.upper()
        return f"{', '.join(self.flags)} {value}"

    @property
    def default_text(self) -> str:
        """The default as a person reads it; where it is None, the words that the help has for it."""
        words = _DEFAULT_IN_WORDS.search(self.help) if self.default is None else None
        return words[1] if words else shown(self.default)

    @property
    def meaning(self) -> str:
        """The help without those words."""
        return _DEFAULT_IN_WORDS.sub("", self.help) if self.default is None else self.help


def described(cls: type) -> list[Described]:
    """The options of a method or a configuration class, for the pages that list them."""
    return [
        Described(
            name=field.name,
            flags=tuple(field.metadata["flags"]) if field.metadata.get("cli", True) else (),
            kind="choice" if "choices" in field.metadata else _parameter(cls, field).name,
            default=field.default,
            choices=tuple(field.metadata.get("choices", ())),
            help=field.metadata["help"],
            source=field.metadata.get("source", getattr(cls, "source", None)),
        )
        for field in fields(cls)
    ]


def some_of(cls: type, *names: str) -> type:
    """A class with some of the options of `cls`: their flags, help texts and defaults are declared there."""
    chosen = [one for one in fields(cls) if one.name in names]
    return make_dataclass(
        cls.__name__, [(one.name, one.type, declared(default=one.default, metadata=one.metadata)) for one in chosen]
    )


def config_options(*groups: tuple[str, type]) -> Callable[[F], F]:
    """A decorator that adds the options of configuration classes, given as ``(heading, class)``."""

    def decorate(function: F) -> F:
        for heading, cls in reversed(groups):
            for field in reversed(fields(cls)):
                if field.metadata.get("cli", True):
                    function = _option(cls, field, heading)(function)
        return function

    return decorate


def method_option(function: F) -> F:
    """A decorator that adds ``--method``."""
    return option(
        "-M",
        "--method",
        type=click.Choice(list(METHODS)),
        default=DEFAULT_METHOD,
        metavar="NAME",
        heading="Method",
        help=f"how to decode [default:{NO_BREAK}{DEFAULT_METHOD}]",
        below=[(name, cls.summary) for name, cls in METHODS.items()],
    )(function)


def method_options(function: F) -> F:
    """A decorator that adds every option of every method, each once."""
    owners: dict[str, dict[type[Method], Field[Any]]] = {}
    for cls in METHODS.values():
        for field in fields(cls):
            owners.setdefault(field.name, {})[cls] = field
    for declared_by in reversed(owners.values()):
        cls, field = next(iter(declared_by.items()))
        if not field.metadata.get("cli", True):
            continue
        heading = f"Options of {' and '.join(c.name for c in declared_by)}"
        texts = {c.name: _with_default(own) for c, own in declared_by.items()}
        alike = len(set(texts.values())) == 1
        text = texts[cls.name] if alike else "; ".join(f"{name}: {own}" for name, own in texts.items())
        function = _option(cls, field, heading, text)(function)
    return function


def _chosen(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `cls` the user gave."""
    names = {f.name for f in fields(cls)}
    return {k: v for k, v in values.items() if k in names and v is not None and v != ()}


def flag_of(name: str) -> str:
    """The long flag of an option by its field name."""
    return "--" + name.replace("_", "-")


def build(cls: type[T], values: Mapping[str, Any]) -> T:
    """A `cls` of the options the user gave. What is wrong with one is told by its flag, as a usage error."""
    return _made(lambda chosen: cls(**chosen), _chosen(cls, values))


def build_sampling(method: Method, values: Mapping[str, Any]) -> tuple[SamplingConfig, dict[str, Any]]:
    """The sampling for `method`, and what of it the user gave."""
    chosen = _chosen(SamplingConfig, values)
    sampling = _made(method.sampling, chosen)
    return sampling, {name: getattr(sampling, name) for name in chosen}


def as_usage(error: OptionError, names: Iterable[str]) -> click.UsageError:
    """The error with the flag in place of the option's name that it begins with."""
    name, space, rest = str(error).partition(" ")
    return click.UsageError((named(name, flag_of(name)) if name in names else name) + space + rest)


def _made(make: Callable[[dict[str, Any]], T], chosen: dict[str, Any]) -> T:
    try:
        return make(chosen)
    except OptionError as error:
        raise as_usage(error, chosen) from None


def build_method(name: str, values: Mapping[str, Any]) -> Method:
    """The method with the options the user gave. An option of another method is a usage error, but as a default."""
    cls = method_class(name)
    own = {f.name for f in fields(cls)}
    for other in METHODS.values():
        for option_name in _chosen(other, values):
            if option_name not in own and is_typed(option_name):
                raise click.UsageError(f"{flag_of(option_name)} is an option of {other.name}, not of {name}")
    return build(cls, values)


def parse_value(cls: type, name: str, text: str) -> Any:
    """`text` as a value of the field `name` of `cls`, for ``/set``. Raises OptionError."""
    field = next(f for f in fields(cls) if f.name == name)
    if text.lower() in ("none", "default"):
        return field.default
    if typing.get_origin(_hints(cls, field)[0]) is tuple:
        return (text,)
    try:
        return _parameter(cls, field).convert(text, None, None)
    except click.BadParameter as error:
        raise OptionError(f"{name}: {error.message}") from None
