"""``selar-local methods``: the decoding methods, where they come from, and what one can set. Needs no llama.cpp."""

from __future__ import annotations

from typing import Any

import click

from selar_local.cli.display import Display
from selar_local.cli.grouped_help import NO_BREAK, GroupedCommand, json_option, write_sections
from selar_local.cli.options import flag_of
from selar_local.cli.streams import print_json
from selar_local.config import SamplingConfig
from selar_local.methods import DEFAULT_METHOD, METHODS, Method, method_class
from selar_local.options import Option, described, shown

_NOTE = "The options are flags of selar-local run, and keywords of the class in Python:"
_NO_BREAK_HYPHEN = "\u2011"
_SHORT = 30  # longer remarks may be wrapped


@click.command(cls=GroupedCommand)
@click.argument("name", required=False)
@json_option
def methods(name: str | None, as_json: bool) -> int:
    """The decoding methods with their sources and options; with NAME that method alone."""
    chosen = list(METHODS.values()) if name is None else [method_class(name)]
    for problem in METHODS.problems.values():
        Display().warn(problem)
    if as_json:
        print_json({"default": DEFAULT_METHOD, "methods": [_as_dict(cls) for cls in chosen]})
    else:
        click.echo(_page(chosen))
    return 0


def _as_dict(cls: type[Method]) -> dict[str, Any]:
    return {
        "name": cls.name,
        "class": cls.__name__,
        "summary": cls.summary,
        "source": cls.source,
        "sampling_defaults": dict(cls.sampling_defaults),
        "options": [row.as_dict() for row in described(cls)],
    }


def _page(chosen: list[type[Method]]) -> str:
    """The methods, then the options of each, as on the help page of ``run``."""
    sections = {"Methods" if len(chosen) > 1 else "Method": [(cls.name, _in_short(cls)) for cls in chosen]}
    with_options = [cls for cls in chosen if described(cls)]
    for cls in with_options:
        sections[f"Options of {cls.name}"] = [(row.usage, _explained(row, cls)) for row in described(cls)]
    for cls in chosen:
        if cls.sampling_defaults:
            sections[f"Sampling defaults of {cls.name}"] = [
                (flag_of(name), f"{shown(value)} (other methods: {shown(getattr(SamplingConfig(), name))})")
                for name, value in cls.sampling_defaults.items()
            ]
    formatter = click.get_current_context().make_formatter()
    write_sections(formatter, sections)
    for cls in with_options[:1]:
        first = described(cls)[0]
        formatter.write_paragraph()
        formatter.write_text(f"{_NOTE} {cls.__name__}({first.name}={first.default!r})")
    return formatter.getvalue().strip("\n").replace(NO_BREAK, " ").replace(_NO_BREAK_HYPHEN, "-")


def _in_short(cls: type[Method]) -> str:
    """Summary and source, and what else tells the method apart."""
    marks = [cls.source, *(["the default"] if cls.name == DEFAULT_METHOD else [])]
    return " ".join([cls.summary, *map(_mark, marks if described(cls) else [*marks, "no options"])])


def _explained(row: Option, cls: type[Method]) -> str:
    """Meaning, bounds, default, and the source where it is not the method's."""
    own_source = row.source if row.source != cls.source else None
    marks = (row.bounds, f"default: {row.default_text}", own_source)
    return " ".join([row.meaning, *(_mark(mark) for mark in marks if mark)])


def _mark(text: str) -> str:
    """A remark in brackets that is not torn apart, unless it is long; names of tokens never are."""
    return f"[{text.replace('-', _NO_BREAK_HYPHEN).replace(' ', NO_BREAK, -1 if len(text) <= _SHORT else 1)}]"
