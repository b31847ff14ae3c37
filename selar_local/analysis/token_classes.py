"""What kind of token a step wrote, found from the texts of the steps alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from selar_local.formats import HERMES, TAGS

NUMBER, START, CONTINUATION = "number", "word start", "word continuation"
SYMBOL, SPACE, SPECIAL = "symbol", "white space", "special"
#: In the order of tables.
CLASSES: Final = (START, CONTINUATION, NUMBER, SYMBOL, SPACE, SPECIAL)

_TAGS = {*(tag for pair in TAGS for tag in pair), *HERMES.markers}
_SUFFIX = re.compile(r"['’][^\W\d_]")  # 's, 't, 'll: they go on with the word before


def token_classes(texts: Sequence[str]) -> list[str]:
    """The class of each of a text's steps: texts[i] is what step i added, as traces have it.

    By the first character beyond white space: a letter makes a word, a digit a number, all else is a symbol. A word's
    start has white space before it, or no letter or digit; else it is a continuation (of words without spaces between
    them all but the first are). Special are steps that add nothing, control tokens, and the tags of thinking and tool
    calls. A piece of a character that comes out as a whole with a later token counts as that token does.
    """
    classes: list[str] = []
    before = ""
    for text in texts:
        classes.append(_class(text, before))
        before = text[-1:] or before
    after, kind = "", SPECIAL
    for i in range(len(texts) - 1, -1, -1):
        if texts[i]:
            after, kind = texts[i], classes[i]
        elif after[:1] > "\x7f":  # a character of several bytes
            classes[i] = kind
    return classes


def _class(text: str, before: str) -> str:
    core = text.lstrip()
    if not text or core.rstrip() in _TAGS:
        return SPECIAL
    if not core:
        return SPACE
    kind = unicodedata.category(core[0])[0]
    if kind == "N":
        return NUMBER
    in_word = core == text and before != "" and unicodedata.category(before)[0] in "LMN"
    if kind in "LM":
        return CONTINUATION if in_word else START
    if in_word and _SUFFIX.match(core):
        return CONTINUATION
    return SYMBOL
