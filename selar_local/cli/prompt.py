"""Where the prompt of ``selar-local run`` comes from; the prompts of a file."""

from __future__ import annotations

import codecs
import json
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from selar_local.cli.grouped_help import option
from selar_local.cli.streams import is_terminal
from selar_local.errors import SelarError


def _parsed(ctx: click.Context, param: click.Parameter, given: Iterable[str]) -> dict[str, Any] | None:
    return {name: _value(text) for name, text in map(_split, given)} or None


def _split(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise click.BadParameter(f"{text!r} is not of the form NAME=VALUE")
    return name.strip(), value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


#: Its value is a mapping, None where it was not given.
template_arg_option = option(
    "--template-arg", "template_args", multiple=True, metavar="NAME=VALUE", callback=_parsed,
    help="set a variable of the chat template; VALUE is JSON, else text (several times)",
)  # fmt: skip


_PATIENCE = 3.0  # seconds for the first byte
_GLANCE = 0.2  # seconds between two looks, so that Ctrl-C is seen
_BLOCK = 1 << 16


class PipedText:
    """Reads standard input in a thread, from now on: text beside a prompt, as in `git diff | selar-local run ...`.

    It may also be a pipe that nobody writes to: that of a service, of an editor, of a program that starts this one. So
    the first byte is waited for a few seconds only, while the model loads.
    """

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._begun, self._ended = threading.Event(), threading.Event()
        self._since = time.monotonic()
        self._left = 0  # bytes of a file that another program reads, too
        descriptor = None if is_terminal(sys.stdin) else self._descriptor()
        if descriptor is None:
            self._ended.set()
        else:
            threading.Thread(target=self._read, args=(descriptor,), name="selar-local stdin", daemon=True).start()

    def _descriptor(self) -> int | None:
        """What to read; None where there is nothing more to read."""
        try:
            descriptor = sys.stdin.fileno()
            state = os.fstat(descriptor)
        except (OSError, ValueError, AttributeError):  # closed, or replaced by Python code
            buffer = getattr(sys.stdin, "buffer", None)
            self._blocks = [] if buffer is None or buffer.closed else [buffer.read()]
            return None
        place = os.lseek(descriptor, 0, os.SEEK_CUR) if stat.S_ISREG(state.st_mode) else 0
        if place > 0:
            self._left = max(state.st_size - place, 0)
            return None
        return descriptor

    def _read(self, descriptor: int) -> None:
        # Not `sys.stdin`: a thread that waits in it would stop the interpreter from ending.
        try:
            while block := os.read(descriptor, _BLOCK):
                self._blocks.append(block)
                self._begun.set()
        except OSError:  # such as a folder
            pass
        finally:
            self._ended.set()

    def wait(self, warn: Callable[[str], None]) -> bytes:
        """All of it; nothing where the first byte does not come in time. warn: takes the reason."""
        if self._left:
            warn(
                "standard input is not read: another program has read a part of it, such as a loop of the shell "
                "(< /dev/null says that there is no text, -f - reads the rest)"
            )
        while not self._ended.wait(_GLANCE):
            if not self._begun.is_set() and time.monotonic() - self._since > _PATIENCE:
                warn(
                    f"nothing came on standard input for {_PATIENCE:.0f} seconds: the model gets the prompt alone "
                    "(< /dev/null says that there is no text, -f - waits for it)"
                )
                return b""
        return b"".join(self._blocks)


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
    return read_text(path).removesuffix("\n").removesuffix("\r")


def read_text(path: str, what: str = "the prompt") -> str:
    """The text of a file (-: standard input). what: names it in errors. Raises SelarError."""
    return decoded(_bytes_of(path, what), path)


def _bytes_of(path: str, what: str = "the prompt") -> bytes:
    try:
        if path != "-":
            return Path(path).read_bytes()
        stdin = getattr(sys.stdin, "buffer", None)
        return bytes(stdin.read()) if stdin else sys.stdin.read().encode()
    except OSError as error:
        raise SelarError(f"cannot read {what} from {path}: {error.strerror}") from None


def decoded(data: bytes, name: str) -> str:
    """The text, whichever Unicode it is in; what is wrong in it is replaced. Raises SelarError for what is no text."""
    mark, encoding = next((bom for bom in _BOMS if data.startswith(bom[0])), (b"", "utf-8"))
    if not mark and b"\0" in data[:4096]:
        raise SelarError(f"{name} is not a text file")
    return data[len(mark) :].decode(encoding, errors="replace")
