"""Where the prompt of ``selar-local run`` comes from; the prompts of a file."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.cli.piped_text import PipedText
from selar_local.cli.streams import is_terminal
from selar_local.cli.template_args import template_arg_option
from selar_local.errors import SelarError

F = TypeVar("F", bound=Callable[..., Any])

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


def prompt_options(function: F) -> F:
    """A decorator that adds the options of a prompt."""
    for decorate in (
        template_arg_option,
        option("--thinking/--no-thinking", default=None, help="ask the chat template for thinking, where it knows it"),
        option("--raw", is_flag=True, help="continue the prompt as it is, without the chat template"),
        option("--system", help="system message"),
        option(
            "-f", "--file", "prompt_file", type=click.Path(dir_okay=False), once=True,
            help="a file with the prompt (-: stdin; beside a prompt: the text that it is about)",
        ),
        option("-p", "--prompt", "prompt_option", heading="Prompt", once=True, help="the prompt"),
    ):  # fmt: skip
        function = decorate(function)
    return function


def prompts_option(*flags: str, **attributes: Any) -> Callable[[F], F]:
    """A decorator that adds the option of a file for `read_prompts`."""
    return option(
        *flags, "prompts_file", type=click.Path(dir_okay=False), once=True, **attributes,
        help='a file of prompts, one a line (.jsonl: its "prompt" or "question"; -: stdin) '
        "[default: questions of our own]",
    )  # fmt: skip


def text_beside(prompt: str | None, values: Mapping[str, Any]) -> PipedText | None:
    """What comes on standard input beside a prompt; None where the prompt itself is read from somewhere."""
    given = prompt is not None or values["prompt_option"] is not None
    return PipedText() if given and values["prompt_file"] is None else None


def read_prompt(argument: str | None, option: str | None, file: str | None, *, needed: bool, raw: bool) -> str | None:
    """The prompt, or None for a chat. `-f -` beside a prompt is a text that the prompt is about.

    needed: a chat will not do. Raises UsageError for more than one source, or none where one is needed,
    SelarError for a file that cannot be read.
    """
    sources = {"PROMPT": argument, "-p": option, "-f": file}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > (2 if file == "-" else 1):
        raise click.UsageError(f"the prompt comes from {' and '.join(given)}: give it once")
    text = option if argument is None else argument
    if text is not None and file is not None and (raw or text.strip()):
        text = joined(_bytes_of(file), text)
    elif file is not None:
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


def joined(text: bytes, prompt: str) -> str:
    """The text, an empty line, the prompt; the prompt alone where there is no text."""
    above = decoded(text, "standard input").rstrip("\r\n")
    return f"{above}\n\n{prompt}" if above.strip() else prompt


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
        body = json.loads(line)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict):
        for name in ("prompt", "question"):
            if isinstance(body.get(name), str) and body[name].strip():
                text: str = body[name]
                return text
    raise SelarError(f'{where}: a JSON object with a "prompt" or a "question" is wanted')


def _read(path: str) -> str:
    # The newline that editors and `echo` add is not part of the question.
    return decoded(_bytes_of(path), path).removesuffix("\n").removesuffix("\r")


def _bytes_of(path: str) -> bytes:
    try:
        if path != "-":
            return Path(path).read_bytes()
        stdin = getattr(sys.stdin, "buffer", None)
        return bytes(stdin.read()) if stdin else sys.stdin.read().encode()
    except OSError as error:
        raise SelarError(f"cannot read the prompt from {path}: {error.strerror}") from None


def decoded(data: bytes, name: str) -> str:
    """The text, whichever Unicode it is in; what is wrong in it is replaced. Raises SelarError for what is no text."""
    mark, encoding = next((bom for bom in _BOMS if data.startswith(bom[0])), (b"", "utf-8"))
    if not mark and b"\0" in data[:4096]:
        raise SelarError(f"{name} is not a text file")
    return data[len(mark) :].decode(encoding, errors="replace")
