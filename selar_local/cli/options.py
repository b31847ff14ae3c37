"""Command-line options made from the configuration classes, so that flags, help and defaults cannot drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import NO_BREAK, option
from selar_local.cli.option_sources import is_typed, named
from selar_local.config import SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import DEFAULT_METHOD, METHODS, Method, method_class
from selar_local.options import Option, described, from_mapping, shown

model_sampling_option = option(
    "--model-sampling/--no-model-sampling",
    default=None,
    heading="Sampling and length",
    help="begin with the sampling that the model file recommends, where it does [default:\u00a0on]",
)


def recommended_in_force(recommended: Mapping[str, Any], method: Method, given: Mapping[str, Any]) -> str | None:
    """A note on the options that the file has set; None where there are none."""
    sampling = method.sampling(given, recommended)
    names = [name for name in recommended if name not in given and name not in method.sampling_defaults]
    values = ", ".join(f"{name} {value}" for name in names if (value := getattr(sampling, name)) == recommended[name])
    return f"the model file recommends {values} (--no-model-sampling leaves that out)" if values else None


F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_LONG_CHOICE = 32  # characters of choices beside the flag; longer lists go into the help text
_TYPES: dict[str, Any] = {"integer": click.INT, "float": click.FLOAT, "boolean": click.BOOL}


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


class _MethodName(click.Choice):  # type: ignore[type-arg]
    """The name of a method. Of an installed method that cannot be used, the message says why."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in METHODS.problems:
            self.fail(METHODS.problems[value], param, ctx)
        return super().convert(value, param, ctx)


def _type_of(one: Option) -> Any:
    """The click type of a value, or of one of several."""
    if one.choices:
        return click.Choice(one.choices)
    if one.kind == "number|text" and one.number is not None:
        return _NumberOrText(one.number)
    return _TYPES.get(one.kind, click.STRING)


def _flag(one: Option, owner: type, heading: str) -> Callable[[F], F]:
    """The click option. Its default is None: options that are not given stay with the default of the class."""
    more: dict[str, Any] = {"heading": heading, "owner": owner, "multiple": one.kind == "texts"}
    help_text = one.help
    if one.kind == "boolean":
        more["is_flag"] = True
    else:
        more["type"] = _type_of(one)
    if len("|".join(one.choices)) > _LONG_CHOICE:
        more["metavar"] = "TYPE"
        help_text += f": {', '.join(one.choices)}"
    marks = [one.bounds] if one.high is not None or one.below is not None else []
    if _has_default(one):
        marks.append(f"default: {shown(one.default)}")
    if owner is SamplingConfig:
        own = [(cls.name, cls.sampling_defaults) for cls in METHODS.values()]
        marks += [f"{name}: {shown(defaults[one.name])}" for name, defaults in own if one.name in defaults]
    help_text = " ".join([help_text, *(f"[{mark.replace(' ', NO_BREAK)}]" for mark in marks)])
    return option(*one.flags, one.name, default=None, help=help_text, **more)


def config_options(*groups: tuple[Any, ...]) -> Callable[[F], F]:
    """A decorator that adds the options of classes: ``(heading, class)``, or some: ``(heading, class, name, ...)``."""

    def decorate(function: F) -> F:
        for heading, cls, *names in reversed(groups):
            for one in reversed(described(cls)):
                if one.flags and (not names or one.name in names):
                    function = _flag(one, cls, heading)(function)
        return function

    return decorate


method_option = option(
    "-M",
    "--method",
    type=_MethodName(list(METHODS)),
    default=DEFAULT_METHOD,
    metavar="NAME",
    heading="Method",
    help=f"how to decode [default:{NO_BREAK}{DEFAULT_METHOD}]",
    below=[(name, cls.summary) for name, cls in METHODS.items()],
)


def method_options(function: F) -> F:
    """A decorator that adds every option of every method, each once."""
    owners: dict[str, dict[type[Method], Option]] = {}
    for cls in METHODS.values():
        for one in described(cls):
            owners.setdefault(one.name, {})[cls] = one
    for declared in reversed(owners.values()):
        first, one = next(iter(declared.items()))
        if one.flags:
            heading = f"Options of {' and '.join(cls.name for cls in declared)}"
            function = _flag(_shared(declared), first, heading)(function)
    return function


def _shared(declared: Mapping[type[Method], Option]) -> Option:
    """The one flag of options of one name. Where methods declare it differently, its help has each one's."""
    one = next(iter(declared.values()))
    texts = {cls.name: _help_with_default(own) for cls, own in declared.items()}
    if len(set(texts.values())) == 1:
        return one
    text = "; ".join(f"{name}: {text}" for name, text in texts.items())
    return replace(one, help=text, default=None, low=None, high=None, above=None, below=None)


def _help_with_default(one: Option) -> str:
    mark = f"default: {shown(one.default)}".replace(" ", NO_BREAK)
    return f"{one.help} [{mark}]" if _has_default(one) else one.help


def _has_default(one: Option) -> bool:
    return one.default not in (None, ()) and one.default is not False


def _chosen(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `cls` the user gave."""
    names = {one.name for one in fields(cls)}
    return {name: value for name, value in values.items() if name in names and value is not None and value != ()}


def flag_of(name: str) -> str:
    """The long flag of an option by its field name."""
    return "--" + name.replace("_", "-")


def build(cls: Callable[..., T], values: Mapping[str, Any]) -> T:
    """A `cls` of the options the user gave. A wrong one is a usage error that names its flag."""
    chosen = _chosen(cls, values)  # type: ignore[arg-type]
    try:
        return cls(**chosen)
    except OptionError as error:
        raise as_usage(error, chosen) from None


def build_sampling(method: Method, values: Mapping[str, Any]) -> tuple[SamplingConfig, dict[str, Any]]:
    """The sampling for `method`, and what of it the user gave."""
    chosen = _chosen(SamplingConfig, values)
    try:
        sampling, given = method.sampling(chosen), from_mapping(SamplingConfig, chosen)
    except OptionError as error:
        raise as_usage(error, chosen) from None
    return sampling, {name: getattr(given, name) for name in chosen}


def as_usage(error: OptionError, names: Iterable[str]) -> click.UsageError:
    """The error with the flag in place of the option's name that it begins with."""
    return click.UsageError(with_flag(str(error), names))


def with_flag(text: str, names: Iterable[str]) -> str:
    """The text with the flag in place of the option's name that it begins with, where it is one of `names`."""
    name, space, rest = text.partition(" ")
    if name not in names:
        return text
    ctx = click.get_current_context(silent=True)
    flags = [flag for one in ctx.command.params if one.name == name for flag in one.opts] if ctx else []
    return named(name, next((flag for flag in flags if flag.startswith("--")), flag_of(name))) + space + rest


def build_method(name: str, values: Mapping[str, Any]) -> Method:
    """The method with the options the user gave. An option of another method is a usage error, but as a default."""
    cls = method_class(name)
    own = {one.name for one in fields(cls)}
    for other in METHODS.values():
        for option_name in _chosen(other, values):
            if option_name not in own and is_typed(option_name):
                raise click.UsageError(f"{flag_of(option_name)} is an option of {other.name}, not of {name}")
    return build(cls, values)


def is_named(method: Method) -> bool:
    """Whether the command line names the method, or an option of it."""
    return is_typed("method") or any(is_typed(one.name) for one in described(type(method)) if one.flags)
