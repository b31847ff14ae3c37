"""DeepSeek R1, V3 and V3.1: a section of calls between tokens with full-width bars.

R1 and V3 write ``function<｜tool▁sep｜>name`` and a fenced JSON block, V3.1 ``name<｜tool▁sep｜>{..}``.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import Steps

__all__ = ["DEEPSEEK"]

_SECTION = ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
_CALL = ("<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>")
#: Quantised R1 models misspell the first token.
_MISSPELT = ("<｜tool_calls_begin｜>", "<｜tool calls begin｜>", "<｜tool\\_calls\\_begin｜>", "<｜tool▁calls｜>")


class _Reader(NamedJson):
    starts = (_SECTION[0], *_MISSPELT, _CALL[0])

    def block(self, start: str) -> Steps[bool]:
        if start == _CALL[0]:
            return (yield from self.item())
        return (yield from self.section(_CALL[0], _SECTION[1]))

    def item(self) -> Steps[bool]:
        name, _ = yield from self.until(_CALL[1], limit=128)
        if name.strip() != "function":
            return (yield from self.arguments(name.strip(), None, _CALL[2]))
        name, _ = yield from self.until("```json", limit=128)
        found = yield from self.arguments(name.strip(), None, "```")
        if found and self._open is None:
            yield from self.take(_CALL[2])
        return found


DEEPSEEK = Format(
    "deepseek", ((_SECTION[0],),), _Reader, Thinking("<think>", "</think>", "\n</think>\n\n"), (*_SECTION, *_CALL)
)
