"""DeepSeek R1, V3 and V3.1: a section of calls between tokens with full-width bars.

R1 and V3 write ``function<｜tool▁sep｜>name`` and a fenced JSON block, V3.1 ``name<｜tool▁sep｜>{..}``.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import Steps

_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
#: Quantised R1 models misspell the first token.
_MISSPELT = ("<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool\\_calls\\_begin｜>", "<｜tool▁calls｜>")


class _Reader(NamedJson):
    starts = (_SECTION[0], *_MISSPELT, _CALL[0])

    def block(self, start: str) -> Steps[bool]:
        if start == _CALL[0]:
            return (yield from self.item())
        return (yield from self.section(_CALL[0], _SECTION[1], self.item))

    def item(self) -> Steps[bool]:
        if not (yield from self.take(f"function{_CALL[1]}")):
            name, _ = yield from self.name(_CALL[1])
            return (yield from self.arguments(name, None, _CALL[2])) if name else False
        name, _ = yield from self.name("```json")
        found = (yield from self.arguments(name, None, "```")) if name else False
        if found and self._open is None:
            yield from self.take(_CALL[2])
        return found


DEEPSEEK = Format(
    "deepseek", ((_SECTION[0],),), _Reader, Thinking("<think>", "</think>", "\n</think>\n\n"), (*_SECTION, *_CALL)
)
