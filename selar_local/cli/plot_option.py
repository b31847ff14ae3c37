"""``-o FILE.png|.svg``: checked before the work begins, not after it."""

from __future__ import annotations

from pathlib import Path

import click

from selar_local.cli.grouped_help import option
from selar_local.plotting import SUFFIXES, require_plots

plot_option = option(
    "-o", "--output", once=True, type=click.Path(dir_okay=False, path_type=Path),
    help=f"draw a plot into this file: {' or '.join(SUFFIXES)} (needs the extra plots)",
)  # fmt: skip


def require_plot(path: Path | None) -> None:
    """Raises UsageError for a file that no plot can go to, MissingExtra where none can be drawn."""
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise click.UsageError(f"--output must end in {' or '.join(SUFFIXES)}, not {path.name}")
    if not path.absolute().parent.is_dir():
        raise click.UsageError(f"--output: there is no folder {path.parent}")
    require_plots()
