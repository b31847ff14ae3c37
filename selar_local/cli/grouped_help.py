"""A help page with the options under headings, on plain click."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

__all__ = ["NO_BREAK", "GroupedCommand", "option", "write_sections"]

F = TypeVar("F", bound=Callable[..., Any])

NO_BREAK = "\u00a0"
_COLUMN = 34  # flags longer than this have their text on the next line


class _Option(click.Option):
    """An option that knows its heading, and the lines that follow it on the help page."""

    def __init__(self, *args: Any, heading: str = "", below: Sequence[tuple[str, str]] = (), **more: Any) -> None:
        super().__init__(*args, **more)
        self.heading = heading
        self.below = [(f"  {name}", text) for name, text in below]


class GroupedCommand(click.Command):
    """Options under the headings they were given, in the order of declaration; the rest under the last one."""

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
            groups.setdefault(heading, []).extend([record, *below])
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
