"""``selar-local config``: the user's defaults in force, and where they come from."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
from click.core import ParameterSource

from selar_local.cli.commands import COMMANDS
from selar_local.cli.config_file import config_path, read_config
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, option
from selar_local.cli.lazy_group import load_command
from selar_local.cli.option_sources import OWN_VARIABLES, PREFIX, origin
from selar_local.cli.options import build
from selar_local.options import described, shown

_EXAMPLES = """\b
Examples:
  selar-local config                                   all that is set, and where
  selar-local config run                               every option of run
  selar-local config --path                            where the file is, or would be"""


class _Row(NamedTuple):
    option: str
    value: str
    source: str


@click.command("config", cls=GroupedCommand, epilog=_EXAMPLES)
@click.argument("command", required=False)
@option("--path", "path_only", is_flag=True, once=True, help="print the path of the config file")
def config(command: str | None, path_only: bool) -> int:
    """Print the defaults that the config file and the environment set; with COMMAND all options of that command.

    An option on the command line is used before its environment variable, that before the config file, and that
    before the built-in default. All values are checked.
    """
    if path_only:
        click.echo(config_path())
        return 0
    if command is not None and command not in COMMANDS:
        raise click.UsageError(f"there is no command {command!r}: selar-local --help lists the commands")
    file = read_config()
    click.echo(f"config file: {config_path()}{'' if file else ' (there is none)'}")
    used: dict[_Row, list[str]] = {}
    known: set[str] = set()
    for name, leaf in _leaves([command] if command else list(COMMANDS)):
        for row, variable, is_set in _rows(name, leaf):
            known.add(variable)
            if is_set or command:
                used.setdefault(row, []).append(name)
    click.echo("\n".join(_table(used, of_one=command is not None)))
    if command is None:
        _warn_of_unknown_variables(known)
    return 0


def _leaves(names: list[str]) -> Iterator[tuple[str, click.Command]]:
    """The commands; a group counts as its commands."""
    for name in names:
        command = load_command(name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {part}", leaf) for part, leaf in command.commands.items())
        else:
            yield name, command


def _rows(name: str, command: click.Command) -> list[tuple[_Row, str, bool]]:
    """Each option of the command as it is without a command line; its variable; whether somebody has set it."""
    meta = click.get_current_context().meta  # of --no-config
    options: list[Any] = [one for one in command.params if getattr(one, "configurable", False)]
    bare = GroupedCommand(command.name, params=list(options))
    with click.Context(click.Command("selar-local"), info_name="selar-local") as root:
        root.meta.update(meta)
        ctx = bare.make_context(name, [], parent=root)
    with ctx:
        for owner in {one.owner for one in options if one.owner}:
            build(owner, {one.name: ctx.params[one.name] for one in options if one.owner is owner})
        rows = []
        for one in options:
            is_set = ctx.get_parameter_source(one.name) in (ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
            flag = next(flag for flag in one.opts if flag.startswith("--"))
            text = _set_value(one, ctx.params[one.name]) if is_set else _default(one, ctx.params[one.name])
            rows.append((_Row(flag[2:], text, origin(one.name, ctx) or "default"), str(one.envvar), is_set))
        return rows


def _set_value(one: Any, value: Any) -> str:
    return "(not shown)" if one.envvar is None else shown(value)  # a key of the server has a variable of its own


def _default(one: Any, value: Any) -> str:
    if one.owner is None:
        return shown(value)
    return next(described_one.default_text for described_one in described(one.owner) if described_one.name == one.name)


def _table(used: dict[_Row, list[str]], *, of_one: bool) -> list[str]:
    if not used:
        return ["nothing is set: all options have their built-in defaults"]
    width = max(len(row.option) for row in used)
    wide = max(len(row.value) for row in used)
    lines = []
    for row, commands in used.items():
        whom = "" if of_one else f"  [{', '.join(commands)}]"
        lines.append(f"{row.option:<{width}}  {row.value:<{wide}}  {row.source}{whom}")
    return lines


def _warn_of_unknown_variables(known: set[str]) -> None:
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known | OWN_VARIABLES:
            close = difflib.get_close_matches(name, known, 1)
            Display().warn(f"{name} sets no option" + (f"; did you mean {close[0]}?" if close else ""))
