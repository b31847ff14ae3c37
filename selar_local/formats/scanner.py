"""A buffer that is read by generators: each `yield` waits for more text.

Every decision waits until the text or its end settles it. So the pieces in which the text comes cannot matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]

#: An option of `Scanner.follows`: the end of the text.
END = ""
_SPACE = re.compile(r"\s*")
_PLAIN = re.compile(r"[\w\s+\-.,:]*")
_STRING = re.compile(r'[^"\\]*')
_SCALAR = re.compile(r"[\w+\-.]*")


class Scanner:
    """Text that grows at its end, and a position in it."""

    def __init__(self) -> None:
        self.text = ""
        self.pos = 0
        self.ended = False
        #: Whether a reading step has failed because the text ended, and not because of what it says.
        self.cut = False

    def at_end(self) -> bool:
        """Whether nothing is left and nothing will come."""
        return self.ended and self.pos >= len(self.text)

    def matches(self, at: int, options: Sequence[str]) -> str | bool | None:
        """Which option stands at `at`: itself, False if none, None while more text must decide."""
        rest = self.text[at : at + max(map(len, options), default=0)]
        if not self.ended and any(len(option) > len(rest) and option.startswith(rest) for option in options):
            return None
        return max((option for option in options if option and rest.startswith(option)), key=len, default=False)

    def follows(self, at: int, *levels: Sequence[str]) -> bool | None:
        """Whether the levels' options stand one after the other from `at` on, white space aside.

        The option `END` is met by the end of the text, which also settles the levels after it. None: wait.
        """
        for options in levels:
            at = self.after_space(at)
            if at >= len(self.text):
                return (END in options) if self.ended else None
            found = self.matches(at, [option for option in options if option])
            if not isinstance(found, str):
                return found
            at += len(found)
        return True

    def after_space(self, at: int) -> int:
        """The position of the next text that is no white space."""
        found = _SPACE.match(self.text, at)
        return found.end() if found else at

    def take(self, *options: str, space: bool = True) -> Steps[str]:
        """Take the option that comes next, and the white space before it; "" if none does."""
        while True:
            at = self.after_space(self.pos) if space else self.pos
            found = self.matches(at, options)
            if isinstance(found, str):
                self.pos = at + len(found)
                return found
            if found is False:
                rest = self.text[at:]
                self.cut |= self.ended and any(option.startswith(rest) for option in options)
                return ""
            yield

    def until(self, *stops: str, limit: int = 0, fits: Callable[[str], bool] | None = None) -> Steps[tuple[str, str]]:
        """Take the text up to the first stop, and the stop: ``(text, stop)``.

        The stop is "" and nothing is taken where the text ends first, is longer than `limit` (0: any length), or
        does not fit, which its beginning must do, too.
        """
        start = self.pos
        longest = max(map(len, stops))
        searched = start
        while True:
            found = [(at, -len(stop), stop) for stop in stops if (at := self.text.find(stop, searched)) >= 0]
            at, _, stop = min(found, default=(len(self.text), 0, ""))
            text = self.text[start:at]
            sure = text if stop else text[: len(text) - max(begun(self.text, start, stop) for stop in stops)]
            if (limit and len(sure) > limit) or (fits is not None and not fits(sure)):
                return "", ""
            if stop:
                self.pos = at + len(stop)
                return text, stop
            if self.ended:
                self.cut = True
                return "", ""
            searched = max(start, len(self.text) - longest + 1)
            yield

    def json(self, sink: Callable[[str], None] | None = None) -> Steps[str | None]:
        """Take a JSON value and the white space before it; returns its text, None if it is none or was cut off.

        `sink` gets the text as it grows. The value is only checked for where it ends: see `loads`.
        """
        while self.after_space(self.pos) >= len(self.text) and not self.ended:
            yield
        self.pos = start = given = self.after_space(self.pos)
        depth, in_string = 0, False
        while True:
            step = self._json_step(depth, in_string)
            if step is not None:
                depth, in_string, done = step
                if done is not None:
                    if sink is not None and self.pos > given:
                        sink(self.text[given : self.pos])
                    return self.text[start : self.pos] if done else None
                continue
            if sink is not None and self.pos > given:
                sink(self.text[given : self.pos])
                given = self.pos
            if self.ended:
                self.cut = True
                return None
            yield

    def _json_step(self, depth: int, in_string: bool) -> tuple[int, bool, bool | None] | None:
        """One step through a JSON value: ``(depth, in_string, done)``; None where the text is used up."""
        text = self.text
        run = (_STRING if in_string else _PLAIN if depth else _SCALAR).match(text, self.pos)
        at = run.end() if run else self.pos
        scalar = at > self.pos and not in_string and not depth
        self.pos = at
        if at >= len(text):
            return (depth, in_string, True) if scalar and self.ended else None
        sign = text[at]
        if scalar:
            return depth, in_string, True
        if in_string:
            if sign == "\\":
                if at + 1 >= len(text):
                    return None
                self.pos += 2
                return depth, True, None
            self.pos += 1
            return depth, False, None if depth else True
        if sign in '"{[':
            self.pos += 1
            return depth + (sign != '"'), sign == '"', None
        if sign in "}]" and depth:
            self.pos += 1
            return depth - 1, False, None if depth > 1 else True
        return depth, False, False


def loads(text: str) -> object:
    """The value of a JSON text. Raises ValueError for what is no JSON, `NaN` and too deep nesting included."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("too deep") from error


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(loads(text), dict)
    except ValueError:
        return False


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def begun(text: str, start: int, stop: str) -> int:
    """How many characters at the end of the text may begin the stop."""
    room = min(len(stop) - 1, len(text) - start)
    return next((n for n in range(room, 0, -1) if text.endswith(stop[:n])), 0)
