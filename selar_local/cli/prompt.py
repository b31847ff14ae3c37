"""Where the prompt of ``selar-local run`` comes from."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

import click

from selar_local.cli.streams import is_terminal
from selar_local.errors import SelarError

__all__ = ["read_prompt"]

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def read_prompt(argument: str | None, option: str | None, file: str | None, *, needed: bool, raw: bool) -> str | None:
    """The prompt, or None for a chat.

    needed: a chat will not do. Raises UsageError for more than one source, or none where one is needed,
    SelarError for a file that cannot be read.
    """
    sources = {"PROMPT": argument, "-p": option, "-f": file}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError(f"the prompt comes from {' and '.join(given)}: give it once")
    text = option if argument is None else argument
    if file is not None:
        text = _read(file)
    elif text is None and not is_terminal(sys.stdin):
        text = _read("-")
    elif text is None:
        if needed or not is_terminal(sys.stdout):
            raise click.UsageError("no prompt: give one as an argument, by -p, by -f or on standard input")
        return None
    if not raw and not text.strip():
        raise click.UsageError("the prompt is empty")
    return text


def _read(path: str) -> str:
    try:
        stdin = getattr(sys.stdin, "buffer", None)
        data = Path(path).read_bytes() if path != "-" else stdin.read() if stdin else sys.stdin.read().encode()
    except OSError as error:
        raise SelarError(f"cannot read the prompt from {path}: {error.strerror}") from None
    mark, encoding = next((bom for bom in _BOMS if data.startswith(bom[0])), (b"", "utf-8"))
    text = data[len(mark) :].decode(encoding, errors="replace")
    # The newline that editors and `echo` add is not part of the question.
    return text.removesuffix("\n").removesuffix("\r")
