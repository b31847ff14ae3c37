"""``selar-local models``: the models on this machine, by the names that other commands take. Needs no llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import click

from selar_local.catalog import ModelEntry, bundled_models, installed_models
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option
from selar_local.cli.streams import print_json
from selar_local.install_hint import quoted

_HEADINGS = ("NAME", "SIZE", "PARAMETERS", "QUANTISATION", "SOURCE")
_WIDEST_NAME = 60  # longer names push their line to the right, not all lines


@click.command(cls=GroupedCommand)
@json_option
def models(as_json: bool) -> int:
    """The GGUF models on this machine, with the names that run, serve and sl.load() take.

    They are looked for in selar-local's own folder (SELAR_LOCAL_MODELS names another one), in the cache of the Hugging
    Face hub, and among the models of Ollama, LM Studio and llama.cpp.
    """
    found = list(installed_models())
    if as_json:
        print_json({"models": [entry.as_dict() for entry in found]})
    elif found:
        _print_table(found)
        Display().note("any other GGUF file opens by its path")
    else:
        Display().note(f"no models here; get a small one with: selar-local pull {next(iter(bundled_models()))}")
    return 0


def _print_table(found: Sequence[ModelEntry]) -> None:
    rows = [_HEADINGS, *map(_row, found)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    widths[0] = min(widths[0], _WIDEST_NAME)
    for name, size, *others in rows:
        cells = [f"{name:<{widths[0]}}", f"{size:>{widths[1]}}"]
        cells += [f"{cell:<{width}}" for cell, width in zip(others, widths[2:], strict=True)]
        click.echo("  ".join(cells).rstrip())


def _row(entry: ModelEntry) -> tuple[str, ...]:
    return (
        quoted(entry.name), _size(entry.size), entry.parameters or "-", entry.quantisation or "-", entry.source,
    )  # fmt: skip


def _size(size: int) -> str:
    """In decimal units, as the hub and Ollama show it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
