"""Hermes: ``<tool_call>{"name": .., "arguments": {..}}</tool_call>``.

Qwen 2, 2.5 and 3, Hermes, Granite 4, ERNIE 4.5, Reka, MiMo, Falcon-H1, Bielik. ERNIE wraps its answer in
``<response>``.
"""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.json_calls import JsonCalls


class _Reader(JsonCalls):
    starts = ("<tool_call>",)
    closes = (("<tool_call>", "</tool_call>"),)
    answer = (("<response>", "</response>"),)


HERMES = Format("hermes", (("<tool_call>",),), _Reader, markers=("<tool_call>", "</tool_call>"))
