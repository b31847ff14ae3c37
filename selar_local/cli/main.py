"""The ``selar-local`` command: the group, and what an error looks like to a person."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from selar_local._version import __version__
from selar_local.errors import OptionError, SelarError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="selar-local")
def cli() -> None:
    """Selective latent reasoning (SeLaR) for GGUF models, through llama.cpp."""


def _register() -> None:
    from selar_local.cli.doctor import doctor
    from selar_local.cli.run import run

    cli.add_command(run)
    cli.add_command(doctor)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # replaced streams may not have it
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    _register()
    sys.exit(_run(argv))


def _run(argv: Sequence[str] | None) -> int:
    try:
        code = cli.main(args=None if argv is None else list(argv), prog_name="selar-local", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except (click.ClickException, OptionError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"error: {_one_line(text)}", err=True)
        return 2 if isinstance(error, (click.UsageError, OptionError)) else 1
    except SelarError as error:
        click.echo(f"error: {_one_line(str(error))}", err=True)
        return 1
    except BrokenPipeError:
        # The reader went away (`| head`): that is its right. Keep Python from complaining at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return 130
    except OSError as error:
        click.echo(f"error: {_one_line(str(error))}", err=True)
        return 1
    except MemoryError:
        click.echo("error: out of memory", err=True)
        return 1


def _one_line(text: str) -> str:
    return " ".join(text.split())
