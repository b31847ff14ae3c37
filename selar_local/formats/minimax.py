"""MiniMax M2: ``<minimax:tool_call><invoke name="f"><parameter name="key">value</parameter></invoke>``.

MiniMax M3 writes a token before every tag, the key as the tag, and nested values as nested tags. MiniCPM 5 writes
``<function name="f"><param name="key">value</param></function>``, with CDATA around some values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from selar_local.formats.dsml import AttributeCalls
from selar_local.formats.format import Format, Thinking
from selar_local.formats.reader import Reader
from selar_local.formats.scanner import Steps
from selar_local.formats.values import dumps, properties_of, typed, types_of

_M2 = ("<minimax:tool_call>", "</minimax:tool_call>")
_TOKEN = "]<]minimax[>["
_M3 = (f"{_TOKEN}<tool_call>", f"{_TOKEN}</tool_call>")
_DEEPEST = 64
_CDATA = re.compile(r"\s*<!\[CDATA\[(.*)\]\]>\s*", re.DOTALL)


class _M2Reader(AttributeCalls):
    starts = (_M2[0], '<invoke name="')
    blocks = (_M2,)
    call_open = '<invoke name="'
    call_close = "</invoke>"
    key_open = '<parameter name="'
    key_close = "</parameter>"


class _MiniCpmReader(AttributeCalls):
    starts = ('<function name="',)
    call_open = '<function name="'
    key_open = '<param name="'
    key_close = "</param>"

    def is_text(self, name: str, key: str, hint: str) -> bool:
        return False

    def type_value(self, name: str, key: str, text: str, hint: str) -> str:
        quoted = _CDATA.fullmatch(text)
        return super().type_value(name, key, quoted[1] if quoted else text, hint)


class _M3Reader(Reader):
    starts = _M3[:1]
    tags = (("<mm:think>", "</mm:think>"),)

    def block(self, start: str) -> Steps[bool]:
        n_before = self._n_calls
        while (yield from self.take(_TOKEN)):
            tag, _ = yield from self.until(">", limit=256)
            invoked = re.fullmatch(r'<invoke name="([^"]+)"', tag)
            if not invoked or not self.tools.known(invoked[1]):
                break
            self.begin(invoked[1])
            self.argue("{")
            if not (yield from self._arguments(invoked[1])):
                return (yield from self.skip(_M3[1]))
            self.argue("}")
            self.end()
        return self._n_calls > n_before

    def _arguments(self, name: str) -> Steps[bool]:
        mark = ""
        while (yield from self.take(_TOKEN)):
            tag, stop = yield from self.until(">", limit=256)
            if tag == "</invoke":
                return True
            value = (yield from self._element(tag[1:], self.tools.property(name, tag[1:]))) if stop else None
            if value is None:
                return False
            self.argue(f"{mark}{dumps(tag[1:])}: {value}")
            mark = ", "
        return False

    def _element(self, key: str, schema: object, depth: int = 0) -> Steps[str | None]:
        """Read an element after its opening: the JSON text of its value; None where it was cut off."""
        start = self.pos
        text, stop = yield from self.until(_TOKEN)
        inner: list[tuple[str, str]] = []
        while stop and depth < _DEEPEST:
            tag, stop = yield from self.until(">", limit=256)
            if tag == f"</{key}":
                if inner and types_of(schema) and not types_of(schema) & {"object", "array"}:
                    return dumps(self.text[start : self.text.rindex(_TOKEN, start, self.pos)])  # tags in a string
                return _json(text, inner, schema)
            value = (yield from self._element(tag[1:], _inner_schema(schema, tag[1:]), depth + 1)) if stop else None
            if value is None:
                return None
            inner.append((tag[1:], value))
            stop = yield from self.take(_TOKEN)
        return None


def _inner_schema(schema: object, key: str) -> object:
    if not isinstance(schema, Mapping):
        return None
    return properties_of(schema, schema).get(key) or schema.get("items")


def _json(text: str, inner: list[tuple[str, str]], schema: object) -> str:
    if not inner:
        return typed(text, schema)
    if all(key == "item" for key, _ in inner):
        return f"[{', '.join(value for _, value in inner)}]"
    return "{" + ", ".join(f"{dumps(key)}: {value}" for key, value in inner) + "}"


MINIMAX_M2 = Format("minimax-m2", ((_M2[0],),), _M2Reader, markers=_M2)
MINIMAX_M3 = Format(
    "minimax-m3",
    ((_TOKEN,),),
    _M3Reader,
    Thinking("<mm:think>", "</mm:think>", "</mm:think>"),
    markers=(_TOKEN, "<mm:think>", "</mm:think>", "<tool_call>", "</tool_call>"),
)
MINICPM_5 = Format("minicpm-5", (('<function name="', '<param name="'),), _MiniCpmReader)
