"""Where the prompt of ``selar-local run`` comes from, and those of a file."""

from __future__ import annotations

import codecs
import json
import os
import stat
import sys
from pathlib import Path

import click

from selar_local.cli.streams import is_terminal
from selar_local.errors import SelarError

__all__ = ["read_prompt", "read_prompts", "unread_input"]

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


def unread_input() -> bool:
    """Whether something waits on standard input: a file, or a pipe that has been written to."""
    try:
        import fcntl
        import termios

        kind = os.fstat(sys.stdin.fileno())
        if stat.S_ISREG(kind.st_mode):
            return kind.st_size > 0
        waiting = fcntl.ioctl(sys.stdin.fileno(), termios.FIONREAD, bytes(4)) if stat.S_ISFIFO(kind.st_mode) else b""
        return any(waiting)
    except (ImportError, OSError, ValueError, AttributeError):  # Windows; no such thing, or closed
        return False


def read_prompts(path: str) -> list[str]:
    """The prompts of a file (-: standard input), one a line; of a .jsonl file the "prompt" or "question" of each line.

    Empty lines are passed over. Raises SelarError for a file that cannot be read, or holds no prompt or something else.
    """
    prompts = []
    for number, line in enumerate(_read(path).splitlines(), 1):
        if line.strip():
            prompts.append(_of_json(line, f"{path}, line {number}") if path.lower().endswith(".jsonl") else line)
    if not prompts:
        raise SelarError(f"there is no prompt in {path}")
    return prompts


def _of_json(line: str, where: str) -> str:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict):
        for name in ("prompt", "question"):
            if isinstance(told.get(name), str) and told[name].strip():
                text: str = told[name]
                return text
    raise SelarError(f'{where}: a JSON object with a "prompt" or a "question" is wanted')


def _read(path: str) -> str:
    try:
        stdin = getattr(sys.stdin, "buffer", None)
        data = Path(path).read_bytes() if path != "-" else stdin.read() if stdin else sys.stdin.read().encode()
    except OSError as error:
        raise SelarError(f"cannot read the prompt from {path}: {error.strerror}") from None
    mark, encoding = next((bom for bom in _BOMS if data.startswith(bom[0])), (b"", "utf-8"))
    if not mark and b"\0" in data[:4096]:
        raise SelarError(f"{path} is no text file")
    text = data[len(mark) :].decode(encoding, errors="replace")
    # The newline that editors and `echo` add is not part of the question.
    return text.removesuffix("\n").removesuffix("\r")
