"""The three standard streams, whatever state they are in when the program starts."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

# Control characters would move the cursor or set the terminal up: they are shown by their Unicode pictures.
_PICTURES: dict[int, str] = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
_PICTURES |= {ord("\r"): "", 0x7F: "\u2421", **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}


def repair() -> None:
    """Closed streams become the null device (files opened later must not take their numbers).

    What goes to a file or a pipe is UTF-8, also where Windows has a code page for it, unless ASCII was asked for. Text
    that an encoding does not know is replaced, never an error.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        with contextlib.suppress(AttributeError, ValueError, LookupError):  # replaced streams may not have it
            stream.reconfigure(errors="replace")
            if mode == "w" and not is_terminal(stream) and codecs.lookup(stream.encoding).name != "ascii":
                stream.reconfigure(encoding="utf-8")


def silence() -> None:
    """Standard output cannot be written any more: keep Python from trying, and complaining, at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal(stream: Any) -> bool:
    """Whether a person looks at this stream."""
    try:
        return bool(stream.isatty())
    except ValueError:  # closed
        return False


def printable(text: str) -> str:
    """`text` without what a terminal would obey instead of showing it."""
    return text.translate(_PICTURES)


def one_line(text: str) -> str:
    """`text` as one line that is safe on a terminal."""
    return printable(" ".join(text.split()))


def print_json(value: Any) -> None:
    """One JSON object on standard output; escaped where the encoding there does not know every character."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode)
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()
