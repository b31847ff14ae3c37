"""LFM2: ``<|tool_call_start|>[f(a=1)]<|tool_call_end|>``, Python calls between tokens."""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.python_calls import PythonCalls
from selar_local.formats.scanner import Steps

_START, _END = "<|tool_call_start|>", "<|tool_call_end|>"


class _Reader(JsonCalls, PythonCalls):
    starts = (_START,)

    def block(self, start: str) -> Steps[bool]:
        back = self.pos
        found = bool((yield from self.take("["))) and (yield from self.calls())
        if not found and not self.cut:
            self.pos = back
            return (yield from self.json_block(_END))
        if found and self._open is not None:
            return (yield from self.skip(_END))
        if found:
            yield from self.take(_END)
        return found


LFM2 = Format("lfm2", ((_START,), ("<|tool_list_start|>",), ("List of tools: [",)), _Reader, markers=(_START, _END))
