"""The model of a command: the argument MODEL, or ``-m/--model`` as in llama.cpp."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.cli.option_sources import is_typed

F = TypeVar("F", bound=Callable[..., Any])


def _complete(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    from selar_local.cli.completion import complete_model

    return complete_model(ctx, parameter, incomplete)


def model_argument(*, configurable: bool = True) -> Callable[[F], F]:
    """A decorator that adds both; the function gets one `model`, None where none is named.

    After ``-m`` the first argument is the prompt, where the command takes one. configurable: the config file and the
    environment may name a default.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def call(model: str | None, model_option: str | None, **values: Any) -> Any:
            if model_option is not None and is_typed("model_option"):
                model, values = _one_model(model, model_option, values)
            return function(model=model_option if model is None else model, **values)

        call = option(
            "-m", "--model", "model_option", metavar="MODEL", heading="Model", shell_complete=_complete,
            once=not configurable, help="the model, as in llama.cpp: the same as the argument MODEL",
        )(call)  # fmt: skip
        return click.argument("model", required=False, shell_complete=_complete)(call)  # type: ignore[return-value]

    return decorate


def _one_model(model: str | None, option_value: str, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if model is None:
        return option_value, values
    if values.get("prompt", "") is not None:
        raise click.UsageError(f"the model is given twice: {model} and -m {option_value}")
    return option_value, {**values, "prompt": model}
