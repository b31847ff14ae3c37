"""Qwen3-Coder: ``<tool_call><function=name><parameter=key>value</parameter></function></tool_call>``.

Qwen3-Coder, Qwen3.5 and later, Nemotron 3, Step 3.5. Seed-OSS has other tags around the calls.
"""

from __future__ import annotations

from selar_local.formats.format import Format, Thinking
from selar_local.formats.tag_calls import TagCalls


class _Reader(TagCalls):
    starts = ("<tool_call>", "<function=")
    blocks = (("<tool_call>", "</tool_call>"),)
    trims = True
    has_json = True


class _SeedReader(TagCalls):
    starts = ("<seed:tool_call>", "<function=")
    blocks = (("<seed:tool_call>", "</seed:tool_call>"),)
    trims = True


QWEN_CODER = Format(
    "qwen-coder",
    (("<tool_call>", "<function=", "<parameter="),),
    _Reader,
    markers=("<tool_call>", "</tool_call>", "<function=", "</function>", "<parameter=", "</parameter>"),
)
SEED_OSS = Format(
    "seed-oss",
    (("<seed:tool_call>",), ("seed:tool_call", "<function=")),
    _SeedReader,
    Thinking("<seed:think>", "</seed:think>", "\n</seed:think>\n\n"),
    markers=("<seed:think>", "</seed:think>", "<seed:tool_call>", "</seed:tool_call>"),
)
