"""Native calls that recurse once for each character, on a thread with a stack for them.

llama.cpp cuts a text by std::regex, which recurses for each character of a match: an unbroken run of 30,000 letters
overflows a stack of 8 MiB, and 2,000 letters overflow the stack of a thread on macOS. The process dies then
(llama.cpp #27783).
"""

from __future__ import annotations

import _thread
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
    ended = threading.Event()

    def work() -> None:
        try:
            found.append(call())
        except BaseException as error:
            failed.append(error)
        finally:
            ended.set()

    try:
        if run > LONGEST_RUN:
            raise ValueError
        _start(work, _BASE + run * _BYTES // 4096 * 4096)
    except (RuntimeError, ValueError):
        raise OptionError(f"the text has {run} characters without a break, too many for the tokenizer") from None
    _wait_out(ended)
    if failed:
        raise failed[0]
    return found[0]


def _start(work: Callable[[], None], stack: int) -> None:
    """A thread of `threading` would wait for its start, and Ctrl-C interrupts that."""
    with _LOCK:
        before = threading.stack_size(stack)
        try:
            _thread.start_new_thread(work, ())
        finally:
            threading.stack_size(before)


def _wait_out(ended: threading.Event) -> None:
    """Wait in spite of Ctrl-C: the caller frees what the thread uses. Raises KeyboardInterrupt afterwards.

    `Thread.join` does not serve: for Python 3.11 a thread has ended once Ctrl-C interrupts it.
    """
    interrupt: KeyboardInterrupt | None = None
    while not ended.is_set():
        try:
            ended.wait()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
