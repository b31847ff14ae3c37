"""The general format: thinking in tags, and no calls.

It also reads the thinking of families whose template is not there, as after a conversion that lost it.
"""

from __future__ import annotations

from selar_local.formats.format import Format
from selar_local.formats.reader import TAGS, Reader

#: Of Command A, Gemma 4, Apertus, gpt-oss, Granite 3.2.
_OF_FAMILIES = (
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("Here is my thought process:\n", "Here is my response:"),
)


class _Reader(Reader):
    tags = (*TAGS, *_OF_FAMILIES)
    answer = (("<|START_RESPONSE|>", "<|END_RESPONSE|>"), ("<|channel|>final<|message|>", "<|return|>"))


_PARTS = ("<|channel>", "<|channel|>", "<|message|>", "<|end|>", "<|start|>")
GENERAL = Format("general", ((),), _Reader, markers=_PARTS)
