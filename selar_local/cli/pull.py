"""``selar-local pull``: download a model."""

from __future__ import annotations

import sys

import click

from selar_local.catalog import pull as download
from selar_local.cli.grouped_help import GroupedCommand, option
from selar_local.cli.streams import is_terminal

_EXAMPLES = """\b
Examples:
  selar-local pull smollm2-135m
  selar-local pull hf:Qwen/Qwen3-4B-GGUF:Q4_K_M"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@click.argument("model")
@option("-q", "--quiet", is_flag=True, heading="Output", help="no progress")
def pull(model: str, quiet: bool) -> int:
    """Download MODEL, hf:owner/repo[:file-or-quant] or a bundled name, and print the path of its file.

    An interrupted download goes on where it stopped. What is there already is not downloaded again.
    """
    bars = is_terminal(sys.stderr) and not quiet
    click.echo(str(download(model, progress=bars, log=sys.stderr if bars else None)))
    return 0
