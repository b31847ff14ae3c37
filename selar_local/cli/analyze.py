"""``selar-local analyze``: what traces and a model's layers say of where and how it explores."""

from __future__ import annotations

import click

from selar_local.cli.analyze_entropy import entropy
from selar_local.cli.analyze_lens import lens


@click.group("analyze", invoke_without_command=True)
@click.pass_context
def analyze(context: click.Context) -> int | None:
    """Look at the reasoning: the entropies of traces, and a model's layers at its exploration steps."""
    if context.invoked_subcommand is not None:
        return None
    click.echo(context.get_help(), err=True)
    return 2


analyze.add_command(entropy)
analyze.add_command(lens)
