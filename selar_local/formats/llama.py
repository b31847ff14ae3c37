"""Llama 3: a JSON object alone, or after ``<|python_tag|>``. Llama 3.2 small and Llama 4: Python calls."""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.python_calls import PythonCalls
from selar_local.formats.scanner import Steps


class _Reader(JsonCalls, PythonCalls):
    starts = ("<|python_tag|>", "<|python_start|>")
    needs_arguments = True
    tags = (("<think>", "</think>"),)

    def read_answer(self) -> Steps[None]:
        """Read an answer that is nothing but calls, or else content with calls after a tag."""
        sign = (yield from self.take("{", "[")) if self.tools.any else ""
        if sign:
            self.pos -= 1
            back = self.pos
            if not (yield from self._bare(sign)) and not self.is_cut(back):
                self.pos = back
        yield from super().read_answer()

    def _bare(self, sign: str) -> Steps[bool]:
        if sign == "[":
            back = self.pos
            self.pos += 1
            if (yield from self.calls()):
                return True
            if self.cut:
                return False
            self.pos = back
        return (yield from self.json_block(""))

    def block(self, start: str) -> Steps[bool]:
        sign = yield from self.take("{", "[")
        if not sign:
            return False
        self.pos -= 1
        found = yield from self._bare(sign)
        if found:
            yield from self.take("<|python_end|>")
        return found

    def fits(self, key: str, value: object) -> bool:
        return key in ("name", "parameters", "arguments", "type") and super().fits(key, value)


_MARKERS = ("<|python_tag|>", "<|python_start|>", "<|python_end|>")
LLAMA = Format("llama", (("<|python_tag|>",), ("<|start_header_id|>", '"parameters"')), _Reader, markers=_MARKERS)
LLAMA_4 = Format("llama-4", (("<|header_start|>",),), _Reader, markers=_MARKERS)
