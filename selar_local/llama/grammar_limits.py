"""Grammars that llama.cpp's parser would not survive: it recurses into nesting, and into every repetition."""

from __future__ import annotations

import re

from selar_local.errors import OptionError

_MAX_CHARACTERS = 1 << 18
_MAX_DEPTH = 48
_MAX_REPEAT = 1000
_QUANTIFIER = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*')


def check_grammar(text: str) -> None:
    """Raises OptionError for a GBNF text that is too long, nested too deep, or repeats too often."""
    if len(text) > _MAX_CHARACTERS or "\0" in text:
        raise OptionError("grammar is too long, or has a NUL character")
    bare = _LITERAL.sub("", text)
    depth = deepest = 0
    for bracket in re.findall(r"[()]", bare):
        depth += 1 if bracket == "(" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise OptionError(f"grammar is nested deeper than {_MAX_DEPTH}")
    if any(count > _MAX_REPEAT for count in _counts(bare)):
        raise OptionError(f"grammar repeats more than {_MAX_REPEAT} times")


def _counts(text: str) -> list[int]:
    return [int(count) for found in _QUANTIFIER.findall(text) for count in found if count]
