"""Where the value of an option comes from: the command line, the environment, the config file, or its default."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from selar_local.cli.config_file import Setting, defaults_for

PREFIX = "SELAR_LOCAL_"
#: Variables that set no option.
OWN_VARIABLES = {"SELAR_LOCAL_API_KEY", "SELAR_LOCAL_CACHE", "SELAR_LOCAL_CONFIG", "SELAR_LOCAL_MODELS"}
_IGNORED, _SETTINGS = "selar_local.no_config", "selar_local.settings"


def variable_of(flag: str) -> str | None:
    """The environment variable of an option: `SELAR_LOCAL_CTX_SIZE` for `--ctx-size`."""
    variable = PREFIX + flag.removeprefix("--").replace("-", "_").upper()
    return variable if flag.startswith("--") and variable not in OWN_VARIABLES else None


def _load(ctx: click.Context, _option: click.Parameter, ignored: bool) -> None:
    """Called before the other options are read: click takes their defaults from `default_map`."""
    if ignored:
        ctx.meta[_IGNORED] = True
    if ctx.meta.get(_IGNORED) or ctx.resilient_parsing or isinstance(ctx.command, click.Group):
        return
    settings = defaults_for(ctx.command, section_of(ctx))
    ctx.meta[_SETTINGS] = settings
    ctx.default_map = {name: setting.value for name, setting in settings.items()}


def section_of(ctx: click.Context) -> str:
    """The name of the command, or of the group that it is in."""
    while ctx.parent is not None and ctx.parent.parent is not None:
        ctx = ctx.parent
    return (ctx.info_name or "").split(" ")[0]


def no_config() -> click.Option:
    """The option ``--no-config``, which also reads the config file where it is not given."""
    return click.Option(
        ["--no-config"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="ignore the config file",
    )


def is_typed(name: str) -> bool:
    """Whether the option was given on the command line, as far as that is known: it is no mere default then."""
    ctx = click.get_current_context(silent=True)
    return ctx is None or ctx.get_parameter_source(name) in (ParameterSource.COMMANDLINE, None)


def origin(name: str, ctx: click.Context) -> str | None:
    """Where the default comes from: a variable, or a line of the config file. None: neither."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.ENVIRONMENT:
        variable: Any = next(one.envvar for one in ctx.command.params if one.name == name)
        return str(variable)
    setting: Setting | None = ctx.meta.get(_SETTINGS, {}).get(name)
    return setting.place if source is ParameterSource.DEFAULT_MAP and setting else None


def defaults_in_use() -> list[str]:
    """The options of the running command that have defaults of the user, as ``flag (where they come from)``."""
    ctx = click.get_current_context()
    found = [(one, origin(one.name, ctx)) for one in ctx.command.params if one.name is not None]
    return [f"{next(f for f in one.opts if f.startswith('--'))} ({place})" for one, place in found if place]


def named(name: str, flag: str, ctx: click.Context | None = None) -> str:
    """What a message calls the option: what its user wrote, on the command line or elsewhere."""
    ctx = ctx or click.get_current_context(silent=True)
    place = origin(name, ctx) if ctx else None
    if ctx is None or place is None:
        return flag
    if ctx.get_parameter_source(name) is ParameterSource.ENVIRONMENT:
        return place
    return f"{ctx.meta[_SETTINGS][name].key} ({place})"
