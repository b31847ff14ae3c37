"""The ``selar-local`` command: the group, and what an error looks like to a person."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from selar_local._version import __version__
from selar_local.cli.interrupt import leave_at_once
from selar_local.cli.lazy_group import LazyGroup
from selar_local.cli.option_sources import no_config
from selar_local.cli.streams import one_line, repair, silence
from selar_local.errors import OptionError, SelarError


class _ReaderLeft(Exception):
    """Nobody reads standard output any more (`| head`)."""


class _Commands(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error  # click would make it exit code 1


@click.group(
    cls=_Commands,
    params=[no_config()],
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, "-V", "--version", prog_name="selar-local")
@click.pass_context
def cli(context: click.Context) -> int | None:
    """Selective latent reasoning (SeLaR) for GGUF models, through llama.cpp.

    A model in the place of COMMAND means `run`: selar-local model.gguf.
    """
    if context.invoked_subcommand is not None:
        return None
    click.echo(context.get_help(), err=True)
    return 2


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    repair()
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=None if argv is None else list(argv), prog_name="selar-local", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        return _fail(_message(error), 2 if isinstance(error, click.UsageError) else 1)
    except SelarError as error:
        return _fail(str(error), 2 if isinstance(error, OptionError) else 1)
    except _ReaderLeft:
        silence()  # the reader had enough: that is its right
        return 0
    except (KeyboardInterrupt, click.Abort):
        leave_at_once()  # a second Ctrl-C does not wait
        click.echo("interrupted", err=True)
        return 130
    except OSError as error:
        silence()
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
        return _fail(f"{error.strerror or error}{where}")
    except MemoryError:
        return _fail("out of memory")


def _message(error: click.ClickException) -> str:
    text = error.format_message()
    context = error.ctx if isinstance(error, click.UsageError) else None
    takes_prompt = context is not None and any(parameter.name == "prompt" for parameter in context.command.params)
    if takes_prompt and text.startswith("Got unexpected extra argument"):
        return f"{text}; put a prompt of several words in quotes"
    return text


def _fail(text: str, code: int = 1) -> int:
    click.echo(f"error: {one_line(text)}", err=True)
    return code
