"""A help page with the options under headings, on plain click."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from selar_local.cli.interrupt import raise_interrupts
from selar_local.cli.option_sources import named, no_config, variable_of

F = TypeVar("F", bound=Callable[..., Any])

NO_BREAK = "\u00a0"
_GENERAL = "General"
_COLUMN = 34  # flags longer than this have their text on the next line


class _Option(click.Option):
    """An option that knows its heading, and the lines that follow it on the help page.

    once: it belongs to one call. The others have defaults of the user: in the config file, in the environment.
    owner: the class that declares it, if one does.
    """

    def __init__(
        self,
        *args: Any,
        heading: str = "",
        below: Sequence[tuple[str, str]] = (),
        once: bool = False,
        owner: type | None = None,
        **more: Any,
    ) -> None:
        super().__init__(*args, **more)
        self.heading, self.owner = heading, owner
        self.below = [(f"  {name}", text) for name, text in below]
        flag = next((flag for flag in self.opts if flag.startswith("--")), "")
        self.configurable = bool(flag) and not once
        if self.configurable:
            self.envvar = variable_of(flag)

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's text is one value, spaces included (click's hook)."""
        value = self.resolve_envvar_value(ctx)
        return (value,) if self.multiple and value is not None else super().value_from_envvar(ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """What a message calls the option (click's hook)."""
        usual = super().get_error_hint(ctx)
        return usual if self.name is None else named(self.name, usual, ctx)


class GroupedCommand(click.Command):
    """Options under the headings they were given, in the order of declaration; options of every command at the end."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += [no_config()]

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command's function (click's hook). All that it needs at once is imported by now."""
        raise_interrupts()
        return super().invoke(ctx)

    def get_help(self, ctx: click.Context) -> str:
        """The page (click's hook); no-break spaces have done their work by then."""
        return super().get_help(ctx).replace(NO_BREAK, " ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options (click's hook)."""
        groups: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue
            below: list[tuple[str, str]] = []
            if isinstance(parameter, _Option):
                heading, below = parameter.heading or heading, parameter.below
            place = heading if isinstance(parameter, _Option) else _GENERAL
            groups.setdefault(place, []).extend([record, *below])
        write_sections(formatter, groups)


def write_sections(formatter: click.HelpFormatter, groups: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Rows of two columns under their headings, the first column as wide in every group."""
    width = max((len(flags) for rows in groups.values() for flags, _ in rows if len(flags) <= _COLUMN), default=0)
    for title, rows in groups.items():
        with formatter.section(title):
            formatter.write_dl([(f"{flags:<{width}}", text) for flags, text in rows], col_max=_COLUMN)


def option(*declarations: str, **attributes: Any) -> Callable[[F], F]:
    """`click.option` with a ``heading`` and, where given, the lines ``below`` it."""
    return click.option(*declarations, cls=_Option, **attributes)


json_option = option("--json", "as_json", is_flag=True, heading="Output", once=True, help="print one JSON object")
