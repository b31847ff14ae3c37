"""The general format: thinking in tags, and no calls.

It also reads the thinking of families whose template is not there, as after a conversion that lost it.
"""

from __future__ import annotations

import re

from selar_local.formats.apertus import APERTUS
from selar_local.formats.cohere import COHERE
from selar_local.formats.format import Format
from selar_local.formats.gemma4 import GEMMA_4
from selar_local.formats.harmony import HARMONY
from selar_local.formats.json_lists import GRANITE_THINKING
from selar_local.formats.reader import TAGS, Reader

_FAMILIES = tuple(form.thinking for form in (COHERE, GEMMA_4, APERTUS, HARMONY) if form.thinking)


class _Reader(Reader):
    tags = (*TAGS, *((tags.opening, tags.end.strip()) for tags in _FAMILIES), GRANITE_THINKING)
    answer = (*COHERE.read.answer, ("<|channel|>final<|message|>", "<|return|>"))


_PARTS = {part for tags in (*_Reader.tags, *_Reader.answer) for tag in tags for part in re.findall(r"<[^<>]+>", tag)}
GENERAL = Format("general", ((),), _Reader, markers=tuple(sorted(_PARTS)))
