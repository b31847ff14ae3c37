"""Gemma 4: ``<|channel>thought\\n..<channel|>`` and ``<|tool_call>call:name{key:<|"|>text<|"|>}<tool_call|>``."""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.reader import Reader
from selar_local.formats.scanner import END, Steps
from selar_local.formats.values import best_reading, dumps, typed

_THOUGHT = ("<|channel>thought\n", "<channel|>")
_CALL = ("<|tool_call>", "<tool_call|>")
_CHANNEL = ("<|channel>", "<channel|>")
_RESPONSE = "<|tool_response>"
_QUOTE = '<|"|>'
_DEEPEST = 64


class _Reader(Reader):
    starts: tuple[str, ...] = (_CALL[0], *_CHANNEL, _RESPONSE)
    tags = (("<|channel>thought", _THOUGHT[1]), ("<|channel>", _THOUGHT[1]))

    _depth = 0

    def leave_calls(self) -> Reader:
        self.starts = tuple(start for start in self.starts if start in _CHANNEL)
        return self

    def read_thinking(self) -> Steps[None]:
        """Read thinking that the prompt has opened; the model's own is a block."""
        if self.in_thinking:
            yield from self._thought()

    def block(self, start: str) -> Steps[bool]:
        if start == _CALL[0]:
            return (yield from self._call())
        if start == "<|channel>":
            yield from self._thought()
        elif start == _RESPONSE:
            self.pos = len(self.text) if self.ended else self.pos
        return True

    def _thought(self) -> Steps[None]:
        self.in_thinking = True
        while (yield from self.take("<|channel>", space=False)):
            pass  # some outputs repeat it
        yield from self.take("thought", space=False)
        yield from self.skip_breaks()

        def think(text: str) -> None:
            self.give("thinking", text)

        calls = _CALL[:1] if _CALL[0] in self.starts else ()
        while stop := (yield from self.flow(think, _THOUGHT[1], *calls)):
            dropped = self._dropped
            if stop == _THOUGHT[1]:
                self.pos += len(stop)
                break
            if (yield from self._last_call(stop)):
                break
            think(dropped + stop)
            self.pos += len(stop)
        self.in_thinking = False

    def _call(self) -> Steps[bool]:
        if not (yield from self.take("call:")):
            return False
        name, stop = yield from self.name("{")
        if not stop:
            return False
        self.begin(name)
        if not (yield from self._object(name)) or not (yield from self.take(_CALL[1])):
            return (yield from self.skip(_CALL[1]))
        self.end()
        return True

    def _object(self, name: str = "") -> Steps[bool]:
        """Read an object after its bracket; the name is the tool's for the arguments themselves."""
        self.argue("{")
        mark = ""
        while not (yield from self.take("}")):
            if mark:
                yield from self.take(",")
            key = yield from self._key()
            if key is None:
                return False
            self.argue(f"{mark}{dumps(key)}: ")
            mark = ", "
            if not (yield from self._value(self.tools.property(name, key) if name else None)):
                return False
        self.argue("}")
        return True

    def _key(self) -> Steps[str | None]:
        if (yield from self.take(_QUOTE)):
            key, stop = yield from self.until(_QUOTE, limit=256)
            return key if stop and (yield from self.take(":")) else None
        key, stop = yield from self.until(":", limit=256)
        return key.strip().strip("\"'") if stop and not set(key) & set("{}[]") else None

    def _value(self, schema: object) -> Steps[bool]:
        self._depth += 1
        found = (yield from self._any(schema)) if self._depth < _DEEPEST else False
        self._depth -= 1
        return found

    def _any(self, schema: object) -> Steps[bool]:
        sign = yield from self.take(_QUOTE, "{", "[")
        if sign == _QUOTE:
            return (yield from self._string())
        if sign == "{":
            return (yield from self._object())
        if sign == "[":
            return (yield from self._list())
        return (yield from self._bare(schema))

    def _list(self) -> Steps[bool]:
        self.argue("[")
        mark = ""
        while not (yield from self.take("]")):
            self.argue(mark)
            if (mark and not (yield from self.take(","))) or not (yield from self._value(None)):
                return False
            mark = ", "
        self.argue("]")
        return True

    def _string(self) -> Steps[bool]:
        """Read a string up to the quote that a comma, a bracket or the call's end follows."""
        self.argue('"')

        def write(text: str) -> None:
            self.argue(dumps(text)[1:-1])

        while stop := (yield from self.flow(write, _QUOTE, breaks=True)):
            at = self.pos + len(stop)
            while (found := self.follows(at, (END, ",", "}", "]", ":"))) is None:
                yield
            self.pos = at
            if found:
                self.argue('"')
                return True
            write(stop)
        return False

    def _bare(self, schema: object) -> Steps[bool]:
        """Read a number, a name as true, or text without quotes."""
        text, stop = yield from self.until(",", "}", "]", limit=4096)
        if not stop or not text.strip():
            return False
        self.pos -= 1
        self.argue(typed(text.strip(), schema) if schema else best_reading(text.strip()))
        return True


GEMMA_4 = Format(
    "gemma-4",
    (("<|channel>", "<|tool_call>"), ("<|turn>", "<channel|>")),
    _Reader,
    Thinking(_THOUGHT[0], _THOUGHT[1], f"\n{_THOUGHT[1]}"),
    markers=("<|channel>", "<channel|>", *_CALL, _QUOTE, _RESPONSE, "<tool_response|>"),
)
