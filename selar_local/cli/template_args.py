"""``--template-arg NAME=VALUE``: variables of the chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

from selar_local.cli.grouped_help import option


def _parsed(ctx: click.Context, param: click.Parameter, given: Iterable[str]) -> dict[str, Any] | None:
    return {name: _value(text) for name, text in map(_split, given)} or None


def _split(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


#: Its value is a mapping, None where it was not given.
template_arg_option = option(
    "--template-arg", "template_args", multiple=True, metavar="NAME=VALUE", callback=_parsed,
    help="set a variable of the chat template; VALUE is JSON, else text (several times)",
)  # fmt: skip
