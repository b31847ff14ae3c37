"""Command-line options made from the configuration classes, so that flags, help and defaults cannot drift."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

import click

from selar_local.methods import METHODS, Method, method_class

__all__ = ["build_method", "chosen", "config_options", "flag_of", "method_options", "parse_value"]

F = TypeVar("F", bound=Callable[..., Any])


def _hint(cls: type, field: Field[Any]) -> Any:
    """The field's type, without ``| None``."""
    hint = typing.get_type_hints(cls)[field.name]
    if isinstance(hint, types.UnionType):
        hint = next(t for t in typing.get_args(hint) if t is not type(None))
    return hint


def _option(cls: type, field: Field[Any], note: str = "") -> Callable[[F], F]:
    """One click option for one field. Its default is None: absent options stay with the class's default."""
    hint = _hint(cls, field)
    metadata = field.metadata
    flags = list(metadata["flags"])
    help_text = metadata["help"] + note
    default = field.default
    if default not in (None, (), MISSING) and not (hint is bool and default is False):
        shown = {True: "on", False: "off"}.get(default, default) if hint is bool else default
        help_text += f" [default: {shown}]"
    if hint is bool:
        return click.option(*flags, field.name, default=None, is_flag=True, help=help_text)
    if "choices" in metadata:
        kind: Any = click.Choice(list(metadata["choices"]))
    else:
        kind = {int: click.INT, float: click.FLOAT}.get(hint, click.STRING)
    multiple = typing.get_origin(hint) is tuple
    return click.option(*flags, field.name, default=None, type=kind, multiple=multiple, help=help_text)


def config_options(*classes: type) -> Callable[[F], F]:
    """A decorator that adds the options of the given configuration classes."""

    def decorate(function: F) -> F:
        for cls in reversed(classes):
            for field in reversed(fields(cls)):
                if field.metadata.get("cli", True):
                    function = _option(cls, field)(function)
        return function

    return decorate


def method_options(function: F) -> F:
    """A decorator that adds ``--method`` and every option of every method, each once."""
    owners: dict[str, list[type[Method]]] = {}
    for cls in METHODS.values():
        for field in fields(cls):
            owners.setdefault(field.name, []).append(cls)
    for name, classes in reversed(owners.items()):
        field = next(f for f in fields(classes[0]) if f.name == name)
        function = _option(classes[0], field, f" ({', '.join(c.name for c in classes)})")(function)
    names = list(METHODS)
    return click.option(
        "-m",
        "--method",
        type=click.Choice(names),
        default=names[0],
        show_default=True,
        help="decoding method",
    )(function)


def chosen(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `cls` the user gave."""
    names = {f.name for f in fields(cls)}
    return {k: v for k, v in values.items() if k in names and v is not None and v != ()}


def flag_of(name: str) -> str:
    """The long flag of an option by its field name."""
    return "--" + name.replace("_", "-")


def build_method(name: str, values: Mapping[str, Any]) -> Method:
    """The method with the options the user gave. An option of another method is a usage error."""
    cls = method_class(name)
    own = {f.name for f in fields(cls)}
    for other in METHODS.values():
        for option in chosen(other, values):
            if option not in own:
                raise click.UsageError(f"{flag_of(option)} is an option of {other.name}, not of {name}")
    return cls(**chosen(cls, values))


def parse_value(cls: type, name: str, text: str) -> Any:
    """`text` as a value of the field `name` of `cls`, for ``/set``. Raises click.BadParameter."""
    field = next(f for f in fields(cls) if f.name == name)
    hint = _hint(cls, field)
    if text.lower() in ("none", "default"):
        return field.default
    if typing.get_origin(hint) is tuple:
        return (text,)
    kinds: dict[Any, Any] = {bool: click.BOOL, int: click.INT, float: click.FLOAT}
    return kinds.get(hint, click.STRING).convert(text, None, None)
