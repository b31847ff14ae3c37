"""``selar-local report``: the tables and plots of evaluations, from their logs."""

from __future__ import annotations

from pathlib import Path

import click

from selar_local.cli.display import Display
from selar_local.cli.grouped_help import NO_BREAK, GroupedCommand, option
from selar_local.cli.interrupt import importing
from selar_local.errors import MissingExtra, SelarError
from selar_local.install_hint import install_hint

_HTML = (".html", ".htm")
_MARKDOWN = (".md", ".markdown")
_STUDIES = ".json"
_BASELINE = "cot"
_EXAMPLES = """\b
Examples:
  selar-local report logs/                             Markdown, on standard output
  selar-local report logs/ -o report.html              one file with plots, opens offline
  selar-local report logs/gsm8k logs/math500 -o report.md
  selar-local report logs/ -o study.json               the answers without their texts, to publish
  selar-local report study.json -o report.html         and the report of them"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    once=True,
    type=click.Path(dir_okay=False, path_type=Path),
    heading="Output",
    help="write to this file: .html with plots, .md, or .json: every answer's figures without the texts "
    "[default: Markdown on standard output]",
)
@option("--baseline", help=f"label of the method that the others are compared with [default:{NO_BREAK}{_BASELINE}]")
@option("-q", "--quiet", is_flag=True, help="no notes")
def report(logs: tuple[Path, ...], output: Path | None, baseline: str | None, quiet: bool) -> int:
    """Make a report of the studies in LOGS: Inspect logs (*.eval), folders of them, or files written by -o FILE.json.

    Accuracy, ablations, efficiency and sweeps, each with intervals; the facts of the runs stand at the end. Studies
    that differ in nothing but methods and seeds are reported as one.
    """
    suffix = "" if output is None else output.suffix.lower()
    if output is not None and suffix not in (*_HTML, *_MARKDOWN, _STUDIES):
        raise click.UsageError(f"--output must end in .html, .md or .json, not {output.name}")
    for path in logs:
        if not path.exists():
            raise click.UsageError(f"{path} does not exist")
    try:
        _write(logs, output, suffix, baseline or _BASELINE)
    except ImportError as error:
        raise MissingExtra(f"a report needs {error.name}; {install_hint('eval')}") from None
    display = Display(quiet=quiet)
    if baseline is not None and suffix == _STUDIES:
        display.note("--baseline has no effect on a .json file, which has answers but no comparisons")
    if output is not None:
        display.note(f"written to {output}")
    return 0


def _write(logs: tuple[Path, ...], output: Path | None, suffix: str, baseline: str) -> None:
    """Raises ImportError where the extra is missing, SelarError where the logs hold no study."""
    with importing():
        from selar_local.evaluation.logs import read_studies
        from selar_local.evaluation.report import as_html, as_markdown, report_of
        from selar_local.evaluation.study_files import write_study_file

    studies = read_studies(logs)
    if not studies:
        raise SelarError(f"there is no study in {', '.join(map(str, logs))}")
    if output is None:
        click.echo(as_markdown(report_of(studies, baseline, plots=False)), nl=False)
    elif suffix == _STUDIES:
        write_study_file(output, studies)
    elif suffix in _HTML:
        output.write_text(as_html(report_of(studies, baseline)), encoding="utf-8")
    else:
        output.write_text(as_markdown(report_of(studies, baseline, plots=False)), encoding="utf-8")
