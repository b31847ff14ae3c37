"""``selar-local report``: the tables and plots of evaluations, from their logs."""

from __future__ import annotations

from pathlib import Path

import click

from selar_local.cli.display import Display
from selar_local.cli.grouped_help import NO_BREAK, GroupedCommand, option
from selar_local.errors import MissingExtra, SelarError

__all__ = ["report"]

_HTML = (".html", ".htm")
_MARKDOWN = (".md", ".markdown")
_EXAMPLES = """\b
Examples:
  selar-local report logs/                             Markdown, on standard output
  selar-local report logs/ -o report.html              one file with plots, opens offline
  selar-local report logs/gsm8k logs/math500 -o report.md"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES, short_help="Tables and plots of evaluations.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    heading="Output",
    help="write to this file: .html with plots, or .md [default: Markdown on standard output]",
)
@option("--baseline", default="cot", help=f"label of the method the others are compared with [default:{NO_BREAK}cot]")
@option("-q", "--quiet", is_flag=True, help="no notes")
def report(logs: tuple[Path, ...], output: Path | None, baseline: str, quiet: bool) -> int:
    """Make a report of the studies in LOGS: Inspect logs (*.eval), or folders of them.

    Accuracy, ablations, efficiency and sweeps, each with intervals; the facts of the runs stand at the end.
    """
    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix not in (*_HTML, *_MARKDOWN):
        raise click.UsageError(f"--output must end in .html or .md, not {output.name}")
    for path in logs:
        if not path.exists():
            raise click.UsageError(f"{path} does not exist")
    text = _made(logs, baseline, as_page=suffix in _HTML)
    if output is None:
        click.echo(text, nl=False)
        return 0
    output.write_text(text, encoding="utf-8")
    Display(quiet=quiet).note(f"written to {output}")
    return 0


def _made(logs: tuple[Path, ...], baseline: str, *, as_page: bool) -> str:
    """The text of the report. Raises MissingExtra, or SelarError where the logs hold no study."""
    try:
        from selar_local.evaluation.logs import read_studies
        from selar_local.evaluation.report import as_html, as_markdown, report_of

        studies = read_studies(logs)
        if not studies:
            raise SelarError(f"there is no study in {', '.join(map(str, logs))}")
        content = report_of(studies, baseline, plots=as_page)
        return as_html(content) if as_page else as_markdown(content)
    except ImportError as error:
        raise MissingExtra(f'a report needs {error.name}: pip install "selar-local[eval]"') from None
