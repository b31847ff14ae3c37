"""Kimi K2: a section of ``<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{..}<|tool_call_end|>``.

The id of a call has its name in it.
"""

from __future__ import annotations

import re

from selar_local.formats.format import Format
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import Steps

_SECTION = ("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
_CALL = ("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>")
_ID = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?", re.DOTALL)


class _Reader(NamedJson):
    starts = (_SECTION[0], _CALL[0])

    def block(self, start: str) -> Steps[bool]:
        if start == _CALL[0]:
            return (yield from self.item())
        return (yield from self.section(_CALL[0], _SECTION[1], self.item))

    def item(self) -> Steps[bool]:
        def fits(text: str) -> bool:
            name = text.strip().removeprefix("functions.")
            return "functions.".startswith(name) or self.tools.begins(name.rpartition(":")[0] or name)

        written, _ = yield from self.until(_CALL[1], limit=256, fits=fits)
        name = _ID.fullmatch(written.strip())
        return (yield from self.arguments(name[1], written.strip(), _CALL[2])) if name else False


KIMI_K2 = Format("kimi-k2", ((_SECTION[0],),), _Reader, markers=(*_SECTION, *_CALL))
