"""Calls whose parameters stand one by one in tags, as raw text that the tool's schema types."""

from __future__ import annotations

import re
from typing import ClassVar

from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.scanner import END, Steps, begun
from selar_local.formats.values import dumps, only_string, typed


class TagCalls(JsonCalls):
    """Reads ``<function=name><parameter=key>value</parameter></function>`` and its like.

    Values are not escaped. So a closing tag counts only where what follows it may follow. A closing tag that the
    model forgot is made good where the next one settles it.
    """

    #: What opens a block of calls, and what closes it.
    blocks: ClassVar[tuple[tuple[str, str], ...]] = ()
    call_open: str = "<function="
    call_close: str = "</function>"
    key_open: str = "<parameter="
    key_close: str = "</parameter>"
    #: Whether a line break at both ends of a value is no part of it.
    trims: ClassVar[bool] = False
    #: Whether a block may also hold a JSON object.
    has_json: ClassVar[bool] = False

    def block(self, start: str) -> Steps[bool]:
        close = dict(self.blocks).get(start, "")
        if not close:
            found = yield from self.tagged()
            if found and self._open is None:
                yield from self.take(*self.block_ends())
            return found
        n_before = self._n_calls
        options = (self.call_open, close, *(("{",) if self.has_json else ()))
        while opened := (yield from self.take(*options)):
            if opened == "{":
                self.pos -= 1
                return (yield from self.json_block(close))
            if opened == close or not (yield from self.tagged()):
                break
            if self._open is not None:
                return (yield from self.skip(close))
        return self._n_calls > n_before

    def tagged(self) -> Steps[bool]:
        """Read a call after its opening; False where it is none, and it is not begun then."""
        name, more = yield from self.header()
        if not name:
            return False
        self.begin(name)
        self.argue("{")
        keys: list[str] = []
        while more:
            tag = yield from self.take(self.key_open, *self.closers())
            if tag != self.key_open:
                more = False
                if not tag:
                    return True
                if tag != self.call_close:
                    self.pos -= len(tag)
                break
            key, hint = yield from self.parameter()
            if not key or not (yield from self._argument(name, key, hint, keys)):
                return True
        self.argue("}")
        self.end()
        return True

    def header(self) -> Steps[tuple[str, bool]]:
        """Read the rest of a call's opening: ``(name, whether parameters may come)``; the name is "" for none."""
        name, stop = yield from self.name(">")
        return name, bool(stop)

    def parameter(self) -> Steps[tuple[str, str]]:
        """Read the rest of a parameter's opening: ``(key, what it says of its type)``; the key is "" for none."""
        key, _ = yield from self.until(">", limit=256)
        return key.strip(" \"'"), ""

    def block_ends(self) -> tuple[str, ...]:
        """What closes a block."""
        return tuple(close for _, close in self.blocks)

    def closers(self) -> tuple[str, ...]:
        """What may end a call."""
        return (self.call_close, *self.block_ends())

    def ends_value(self, tag: str, at: int, unused: list[str]) -> bool | None:
        """Whether a tag at the end of which `at` is ends a value. None: wait.

        unused: the tool's parameters that did not come yet.
        """
        if tag == self.key_close:
            return self.follows(at, (END, self.key_open, *self.closers()))
        if tag == self.call_close:
            return self.follows(at, self.block_ends(), (END, self.call_open, *(opening for opening, _ in self.blocks)))
        if self.text[: at - len(tag)].endswith("\n"):
            found = self.matches(at, [f"{key}>" for key in unused])
            return found if found is None else bool(found)
        return False

    def ends(self) -> tuple[str, ...]:
        """The tags that may end a value."""
        return (self.key_close, self.call_close, self.key_open)

    def type_value(self, name: str, key: str, text: str, hint: str) -> str:
        """The JSON text of a value."""
        return typed(text, self.tools.property(name, key))

    def is_text(self, name: str, key: str, hint: str) -> bool:
        """Whether a value can only be a string, so that it can be given out as it grows."""
        return only_string(self.tools.property(name, key))

    def _argument(self, name: str, key: str, hint: str, keys: list[str]) -> Steps[bool]:
        """Read a value and its close; False where it was cut off."""
        again, text = key in keys, self.is_text(name, key, hint)
        if not again:
            self.argue((", " if keys else "") + dumps(key) + ": " + '"' * text)
        keys.append(key)
        unused = [other for other in self.tools.properties(name) if other not in keys]
        value = yield from self._value(unused, streams=text and not again)
        if value is None:
            return False
        if not again:
            self.argue('"' if text else self.type_value(name, key, value, hint))
        yield from self.take(self.key_close)
        return True

    def _value(self, unused: list[str], streams: bool) -> Steps[str | None]:
        """Read a raw value up to its close, which is not taken. None where it was cut off."""
        while self.trims and self.pos >= len(self.text) and not self.ended:
            yield
        trims = self.trims and self.text.startswith("\n", self.pos)
        self.pos += trims
        start = given = searched = self.pos
        tags = re.compile("|".join(map(re.escape, self.ends())))
        while True:
            ends: bool | None = False
            sure = len(self.text)
            for found in tags.finditer(self.text, searched):
                ends = self.ends_value(found[0], found.end(), unused)
                if ends is not False:
                    sure = found.start()
                    break
                searched = found.end()
            if not ends and not self.ended:
                half = max(begun(self.text, searched, tag) for tag in self.ends())
                sure = min(sure, len(self.text) - half)
                searched = sure
            self.pos = sure
            if trims and sure > start and self.text[sure - 1] == "\n":
                sure -= 1
            if streams and sure > given:
                self.argue(dumps(self.text[given:sure])[1:-1])
                given = sure
            if ends:
                return self.text[start:sure]
            if self.ended:
                if not streams:
                    self.argue(self.text[start:])
                return None
            yield
