"""Files that become part of a turn of the chat."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selar_local.cli.prompt import decoded
from selar_local.errors import OptionError, SelarError

_BYTES_A_TOKEN = 100  # far more than a text has on average
_FENCE = "```"


class AttachedFile(NamedTuple):
    """A file's name and text."""

    name: str
    text: str


def split_path(text: str) -> tuple[Path, str]:
    """The path that `text` begins with, and the text after it. Raises OptionError where there is none.

    A path with spaces may stand between quotes, or have backslashes before them, as terminals write it for a file that
    is dropped on them. Where the text begins with the name of a file that exists, it may have spaces as it is.
    """
    quoted = re.match(r"""(["'])(.+?)\1(?:\s+|$)""", text)
    if quoted:
        return _path(quoted[2]), text[quoted.end() :]
    ends = [len(text), *(found.start() for found in re.finditer(r"\s+", text))]
    for end in sorted(ends, reverse=True):
        if _is_file(text[:end]):
            return _path(text[:end]), text[end:].strip()
    escaped = re.match(r"(?:\\.|[^\s\\])+", text)
    if not escaped:
        raise OptionError("use it as in: /file notes.txt What is missing here?")
    name = escaped[0]
    return _path(name if _is_file(name) else re.sub(r"\\(.)", r"\1", name)), text[escaped.end() :].strip()


def unquoted_path(text: str) -> Path:
    """A text that is one path. Raises OptionError for an empty one."""
    quoted = re.fullmatch(r"""(["'])(.+)\1""", text)
    if not text:
        raise OptionError("the path of the file is missing")
    return _path(quoted[2] if quoted else text)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~nobody
        return Path(text)


def _is_file(text: str) -> bool:
    try:
        return bool(text) and _path(text).is_file()
    except (OSError, ValueError):  # too long, or with a null character
        return False


def read_file(path: Path, ctx_size: int) -> AttachedFile:
    """The text of a file. ctx_size: tokens of the context, which it must not exceed by far. Raises SelarError."""
    try:
        if path.exists() and not path.is_file():
            raise SelarError(f"{path} is not a file")
        with path.open("rb") as file:
            data = file.read(_BYTES_A_TOKEN * ctx_size + 1)
    except (OSError, ValueError) as error:
        raise SelarError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    text = decoded(data, str(path))
    if len(data) > _BYTES_A_TOKEN * ctx_size:
        raise SelarError(f"{path} is too large: the context has {ctx_size} tokens")
    return AttachedFile(path.name, text)


def with_files(files: Sequence[AttachedFile], text: str) -> str:
    """The message: each file's name and text between fences, then `text`."""
    return "\n\n".join([*map(_fenced, files), *([text] if text else [])])


def _fenced(file: AttachedFile) -> str:
    longest = max((len(fence) for fence in re.findall(r"^ *(`{3,})", file.text, re.MULTILINE)), default=2)
    fence = "`" * max(len(_FENCE), longest + 1)
    return f"{file.name}:\n{fence}\n{file.text.rstrip()}\n{fence}"
