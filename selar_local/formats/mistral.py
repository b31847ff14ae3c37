"""Mistral: ``[TOOL_CALLS]``, then a JSON list (to v7) or ``name[ARGS]{..}``, with ``[CALL_ID]id`` in v11.

Thinking is in ``[THINK]``; Magistral of mid 2025 writes ``<think>``.
"""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.json_calls import JsonCalls
from selar_local.formats.named_json import NamedJson
from selar_local.formats.scanner import Steps


class _Reader(JsonCalls, NamedJson):
    starts = ("[TOOL_CALLS]",)
    tags = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))

    def block(self, start: str) -> Steps[bool]:
        if (sign := (yield from self.take("[", "{"))) != "":
            self.pos -= len(sign)
            return (yield from self.json_block(""))
        name, stop = yield from self.name("[ARGS]", "[CALL_ID]", "{")
        id = None
        if stop == "[CALL_ID]":
            id, stop = yield from self.until("[ARGS]", limit=64)
        self.pos -= stop == "{"
        return (yield from self.arguments(name, id)) if stop else False


MISTRAL = Format(
    "mistral",
    (("[TOOL_CALLS]",), ("[THINK]",)),
    _Reader,
    markers=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"),
)
