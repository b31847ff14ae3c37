"""Apertus: ``<|tools_prefix|>[{"name": {..}}]<|tools_suffix|>``; thinking is between inner prefix and suffix."""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.scanner import Steps

_INNER = ("<|inner_prefix|>", "<|inner_suffix|>")
_TOOLS = ("<|tools_prefix|>", "<|tools_suffix|>")


class _Reader(JsonCalls):
    starts = _TOOLS[:1]
    closes = (_TOOLS,)
    tags = (_INNER,)

    def json_call(self) -> Steps[bool]:
        if not (yield from self.take("{")):
            return False
        name = yield from self.key()
        if not name or not self.tools.known(name) or not (yield from self.take("{")):
            return False
        self.pos -= 1
        self.begin(name)
        if (yield from self.json(self.argue)) is None or not (yield from self.take("}")):
            return False
        self.end()
        return True


APERTUS = Format("apertus", ((_TOOLS[0],),), _Reader, Thinking(*_INNER, _INNER[1]), markers=(*_INNER, *_TOOLS))
