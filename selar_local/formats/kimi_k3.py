"""Kimi K3: XTML, elements ``<|open|>name key="value"<|sep|>..<|close|>name<|sep|>``.

`think` is thinking, `response` content, and `tools` has a `call` with its `argument` elements for each call.
"""

from __future__ import annotations

import re
from html import unescape

from selar_local.formats.format import Format, Thinking
from selar_local.formats.reader import Reader
from selar_local.formats.scanner import END, Steps
from selar_local.formats.values import best_reading, dumps, typed

_OPEN, _CLOSE, _SEP, _END = "<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"
_ATTRIBUTE = re.compile(r'([\w-]+)="([^"]*)"')


class _Reader(Reader):
    tags = ((f"{_OPEN}think{_SEP}", f"{_CLOSE}think{_SEP}"),)

    def read(self) -> Steps[None]:
        """Read the elements; the prompt may have opened the first one."""
        element = re.search(r"<\|open\|>(\w+)[^<]*<\|sep\|>\s*$", self.prompt_tail)
        name = element[1] if element else ""
        while not self.at_end():
            if name == "tools":
                yield from self._tools()
            else:
                yield from self._text(name)
            name = yield from self._next()

    def _next(self) -> Steps[str]:
        """Take the tags up to the next opening one: its name, "" where text comes instead."""
        while sign := (yield from self.take(_OPEN, _CLOSE, _END)):
            if sign == _END:
                continue
            tag, stop = yield from self.until(_SEP, limit=512)
            if not stop:
                self.pos = len(self.text) if self.cut else self.pos
                return ""
            if sign == _OPEN:
                return (tag.split() or [""])[0]
        return ""

    def _text(self, name: str) -> Steps[None]:
        """Read thinking or content up to the next element."""
        self.in_thinking = name == "think"

        def think(text: str) -> None:
            self.give("thinking", text)

        give = think if self.in_thinking else self.content
        ends = (f"{_CLOSE}{name}{_SEP}",) if name else ()
        openings = tuple(f"{_OPEN}{other}" for other in ("response", "tools", "think"))
        while stop := (yield from self.flow(give, *ends, *openings, f"{_CLOSE}message", _END, breaks=True)):
            options = (END, _OPEN, _CLOSE, _END) if stop in ends else (_SEP,) if stop != _END else (END,)
            while (found := self.follows(self.pos + len(stop), options)) is None:
                yield
            if found or (self.ended and self.pos + len(stop) >= len(self.text)):
                break
            give(stop)
            self.pos += len(stop)
        self.in_thinking = False

    def _tools(self) -> Steps[None]:
        while (yield from self.take(f"{_OPEN}call ")):
            tag, stop = yield from self.until(_SEP, limit=512)
            name = unescape(dict(_ATTRIBUTE.findall(tag)).get("tool", ""))
            if not stop or not self.tools.known(name):
                break
            self.begin(name)
            self.argue("{")
            if not (yield from self._arguments(name)):
                break
            self.argue("}")
            self.end()
        else:
            return
        yield from self.skip(f"{_CLOSE}tools{_SEP}")

    def _arguments(self, name: str) -> Steps[bool]:
        """Read the arguments of a call and its close; False where it was cut off."""
        mark = ""
        while not (yield from self.take(f"{_CLOSE}call{_SEP}")):
            if not (yield from self.take(f"{_OPEN}argument ")):
                return False
            tag, stop = yield from self.until(_SEP, limit=1024)
            said = dict(_ATTRIBUTE.findall(tag))
            if not stop or "key" not in said:
                return False
            key, kind = unescape(said["key"]), said.get("type", "")
            self.argue(mark + dumps(key) + ": " + '"' * (kind == "string"))
            mark = ", "
            if not (yield from self._argument(kind, self.tools.property(name, key))):
                return False
        return True

    def _argument(self, kind: str, schema: object) -> Steps[bool]:
        close = f"{_CLOSE}argument{_SEP}"
        kept: list[str] = []

        def write(text: str) -> None:
            if kind == "string":
                self.argue(dumps(text)[1:-1])
            else:
                kept.append(text)

        while (yield from self.flow(write, close, breaks=True)):
            at = self.pos + len(close)
            while (found := self.follows(at, (END, f"{_OPEN}argument ", f"{_CLOSE}call{_SEP}"))) is None:
                yield
            self.pos = at
            if found:
                text = "".join(kept)
                self.argue('"' if kind == "string" else best_reading(text) if kind else typed(text, schema))
                return True
            write(close)
        return False


KIMI_K3 = Format(
    "kimi-k3",
    ((_OPEN, _CLOSE, _SEP),),
    _Reader,
    Thinking(f"{_OPEN}think{_SEP}", f"{_CLOSE}think{_SEP}", f"{_CLOSE}think{_SEP}{_OPEN}response{_SEP}"),
    markers=(_OPEN, _CLOSE, _SEP, _END),
)
