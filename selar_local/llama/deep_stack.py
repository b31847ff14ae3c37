"""Native calls that recurse once for each character, on a thread with a stack for them.

llama.cpp cuts a text by std::regex, which recurses for each character of a match: an unbroken run of 30,000 letters
overflows a stack of 8 MiB, and 2,000 letters overflow the stack of a
thread on macOS. The process dies then (llama.cpp #27783).
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from selar_local.errors import OptionError

T = TypeVar("T")

_SAFE = 1000  # characters that fit any stack
_BYTES = 1024  # of stack for a character: 335 to 670 were measured
_BASE = 2**20
#: Characters without a break that a text may have.
LONGEST_RUN = 2_000_000
_RUN = re.compile(r"\S*\s*")  # no match of a pre-tokenizer is longer
_LOCK = threading.Lock()  # the size is the process's, for the next thread


def longest_run(text: str) -> int:
    """Characters of the longest part that a pre-tokenizer may match at once."""
    return max((found.end() - found.start() for found in _RUN.finditer(text)), default=0)


def on_deep_stack(text: str, call: Callable[[], T]) -> T:
    """The result of `call`, which hands `text` to llama.cpp. Raises OptionError where no stack is large enough."""
    if len(text) <= _SAFE or (run := longest_run(text)) <= _SAFE:
        return call()
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="selar-local tokenizer", daemon=True)
    try:
        if run > LONGEST_RUN:
            raise ValueError
        with _LOCK:
            before = threading.stack_size(_BASE + run * _BYTES // 4096 * 4096)
            try:
                thread.start()
            finally:
                threading.stack_size(before)
    except (RuntimeError, ValueError):
        raise OptionError(f"the text has {run} characters without a break, too many for the tokenizer") from None
    thread.join()
    if failed:
        raise failed[0]
    return found[0]
