"""``selar-local trace``: looking at what ``run --trace`` wrote."""

from __future__ import annotations

import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, option
from selar_local.cli.opening import find
from selar_local.cli.trace_outputs import keep_inputs
from selar_local.errors import SelarError

_STDOUT = Path("-")
_BEGIN = 1000  # bytes in which a page of ours says that it is one
_EXAMPLES = """\b
Examples:
  selar-local run model.gguf "Why is the sky blue?" --trace sky.jsonl
  selar-local trace view sky.jsonl --open              writes sky.html and shows it
  selar-local trace view cot.jsonl selar.jsonl -o both.html
  selar-local trace view sky.jsonl --model elsewhere/model.gguf"""


class _Traces(click.Group):
    """Says how to look at a file that was named without the command."""

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(context, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f"no such command: {args[0]}; to look at a trace: selar-local trace view {args[0]}")
        return super().resolve_command(context, args)


@click.group("trace", cls=_Traces, invoke_without_command=True)
@click.pass_context
def trace(context: click.Context) -> int | None:
    """Look at traces, the files that `run --trace` writes."""
    if context.invoked_subcommand is not None:
        return None
    click.echo(context.get_help(), err=True)
    return 2


@trace.command("view", cls=GroupedCommand, epilog=_EXAMPLES, short_help="A page of traces.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    once=True,
    type=click.Path(path_type=Path),
    heading="Output",
    help="write the page to this file (-: standard output) [default: beside the first trace, .html]",
)
@option("--open", "open_page", is_flag=True, once=True, help="open the page in the web browser")
@option("-q", "--quiet", is_flag=True, help="no notes")
@option(
    "-m",
    "--model",
    once=True,
    metavar="MODEL",
    heading="Texts of the candidates",
    help="the model of the traces, where it is not in the place they name, or they do not hold the texts themselves",
)
def view(files: tuple[Path, ...], output: Path | None, open_page: bool, quiet: bool, model: str | None) -> int:
    """Make a page of the traces FILES: the text coloured by entropy, every step's candidates, the curve of entropies.

    Traces of one prompt stand side by side, with the step where they part. The page is one file and loads nothing.
    """
    from selar_local.analysis.page import trace_page
    from selar_local.analysis.token_texts import token_texts
    from selar_local.trace import load_trace

    if open_page and output == _STDOUT:
        raise click.UsageError("--open needs a file, not standard output")
    display = Display(quiet=quiet)
    traces = [load_trace(path, name) for path, name in zip(files, _names(files), strict=True)]
    target = _target(files, output)
    texts = token_texts(traces, None if model is None else find(model))
    page = trace_page(traces, texts)
    if target == _STDOUT:
        click.echo(page, nl=False)
    else:
        target.write_bytes(page)
    for note in texts.notes:
        display.note(note)
    if target != _STDOUT:
        display.note(f"written to {target}")
    if open_page and not webbrowser.open(target.resolve().as_uri()):
        display.warn(f"no web browser was found: open {target} yourself")
    return 0


def _names(files: Sequence[Path]) -> list[str]:
    """What each trace is called: its file's name, with the folders where another has the same."""
    counts = Counter(path.name for path in files)
    return [path.name if counts[path.name] == 1 else str(path) for path in files]


def _target(files: Sequence[Path], output: Path | None) -> Path:
    """Where the page goes. Raises SelarError where something else would be lost."""
    if output == _STDOUT:
        return _STDOUT
    target = _beside(files) if output is None else output
    if target.is_dir():
        raise SelarError(f"the page {target} is a folder: name a file")
    keep_inputs(target, [("a trace", path) for path in files], "the page")
    if output is None and target.exists() and not _is_page(target):
        raise SelarError(f"{target} is there already and is no page of traces: name another with -o")
    return target


def _beside(files: Sequence[Path]) -> Path:
    """sky.jsonl: sky.html; with others: sky-and-rain.html, sky-and-3-more.html."""
    first, *others = files
    more = "" if not others else f"-and-{others[0].stem}" if len(others) == 1 else f"-and-{len(others)}-more"
    return first.with_name(f"{first.stem}{more}.html")


def _is_page(path: Path) -> bool:
    from selar_local.analysis.page.document import MARK

    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(_BEGIN)
    except OSError:
        return False
