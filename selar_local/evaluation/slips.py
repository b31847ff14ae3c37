"""Counts slips of the pen in an English answer: doubled, merged and missing words.

These are what mixed inputs break first: one token is printed, and the model goes on from another. LaTeX, code, numbers
and whatever else is no plain word are passed over; what stands on both sides of them is not adjacent.

A counter of this size knows no grammar. It counts what can hardly be right, so it misses much: compare its counts
between methods on the same problems, and do not read them as all the errors of a text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from selar_local.errors import MissingExtra
from selar_local.install_hint import install_hint

#: Most characters of one turn of a loop; least turns, and least characters of all: "1000000" is no loop.
LONGEST, TURNS, SHORTEST = 1200, 4, 200


def is_repetitive(text: str) -> bool:
    """Whether a text ends in a loop, white space at its end aside.

    Its end must consist of at least 4 turns of one piece of at most 1,200 characters, the last turn perhaps cut short,
    with at least 200 characters together. Loops that count or vary are not seen.
    """
    enough = LONGEST + max(LONGEST * TURNS, SHORTEST)
    reversed_end = text.rstrip()[: -enough - 1 : -1]
    shared = _shared_with_start(reversed_end)
    return any(
        period + shared[period] >= max(TURNS * period, SHORTEST)
        for period in range(1, min(LONGEST, len(reversed_end) - 1) + 1)
    )


def _shared_with_start(items: str) -> list[int]:
    """The Z function: for each place, how many characters from there on equal those at the start."""
    shared = [0] * len(items)
    left = right = 0  # the match that reaches farthest
    for place in range(1, len(items)):
        length = min(right - place, shared[place - left]) if place < right else 0
        while place + length < len(items) and items[length] == items[place + length]:
            length += 1
        shared[place] = length
        if place + length > right:
            left, right = place, place + length
    return shared


#: The kinds of slips, as the fields of `Slips` are called.
KINDS = ("doubled", "merged", "missing")

_PASSED_OVER = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]+`"  # code
    r"|\$\$.{,2000}?\$\$|\\\[.{,2000}?\\\]|\\\(.{,2000}?\\\)|\\begin\{(\w+\*?)\}.*?(?:\\end\{\1\}|\Z)"  # LaTeX
    r"|\$(?=\S)[^$\n]{,2000}?(?<=\S)\$(?!\d)"  # $x$, but not $5 and $3
    r"|\\[A-Za-z]+\*?(?:\s*(?:\[[^\]\n]{,200}\]|\{(?:[^{}\n]|\{[^{}\n]*\})*\}))*",  # other LaTeX: \boxed{5}
    re.DOTALL,
)
_EMPHASIS = re.compile(r"\*\*(?=\S)|(?<=\S)\*\*")
_OPENING, _CLOSING = "\"'“‘([{*_", "\"'”’)]}*_.,;:!?"
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)?(?:-[A-Za-z]+)*")
#: Shorter words are no merged ones: abbreviations, units, names of variables.
_SHORTEST = 6
#: A word of the list with one of these is a known one.
_ENDINGS, _BEGINNINGS = ("s", "es", "ed", "ing", "ly"), ("non", "re", "un", "pre", "sub", "multi", "co")

_SMALL = r"(?:the|an?|of|to|and|is|are|was|for|in|with|by|from|that|we|they|he|she|it|per|has|equals?|twice)"
_MERGED = re.compile(
    r"[a-z]{2}[.,;:!?][A-Z][a-z]|[a-z]{3}[.,;:]\d"  # a sentence without a space before it: "each.First", "each.1"
    rf"|^(?i:{_SMALL})(?:[A-Z][a-z]+|\d+)$"  # "toFirst", "the5"
    r"|^(?i:the|of|to|and|is|we|they|you|for|in|with|his|her|their)'s$"  # "we's", "the's"
    r"|^([A-Z][a-z]{2,})\1$"  # "CalculateCalculate"
)
_START, _END = r"(?<![\w'\\-])", r"(?![\w'-])"
_DOUBLED = re.compile(rf"{_START}([a-z]{{2,}}(?:'[a-z]+)?)((?: +\1)+){_END}", re.IGNORECASE)
#: Right twice in a row: "before she had had three", "that that is", "very very".
_TWICE = {"had", "that", "very", "so", "no", "ha", "bye", "far"}
_VERB = "(?:is|are|was|has|have|gets|makes|pays|wants|needs|sells|buys|takes|eats|spends|earns|gives|knows?)"
_SO = "(?:so|therefore|thus|since|because)"
#: What cannot follow each other: a word is missing between, mostly a noun or a verb.
_MISSING = re.compile(
    _START + r"(?:"
    r"(?:the|an) (?:is|are|was|were|of|to|by|from|and|has|have|he|she|it|we|they|his|her|their)"  # "the of", "the and"
    r"|of (?:is|are|was|were|by|to|equals|has|have)|to of"  # "the number of is"
    r"|(?:needs?|needed|wants?|wanted) to (?:the|an|is)"  # "we need to the total"
    r"|(?:we|he|she|they|can|should|must|could|would) to|(?:we|he|she|they) (?:the|an)"  # "we to find"
    r"|(?:can|will|must|should|could|would) (?:the|an)(?=[^.?!\n]*(?:[.!\n]|$))"  # "he will the", but no question
    rf"|(?:since|therefore|thus) {_VERB}|{_SO} (?:total )?(?:number|amount) of"  # "since gets", "so number of"
    r"|let (?:calculate|determine|find|denote|start|break|solve)"  # "let calculate"
    r"|how (?:number|amount|total)|(?:in|of|at|for|the|to|by|on|with) +-(?= [a-z])"  # "found in - Therefore"
    r")" + _END,
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Slips:
    """What was counted in a text.

    words: plain ones, a hyphenated one as one. doubled: a word twice in a row, but for those that may be.
    merged: a word of at least 6 letters that is in neither the word list nor the question, nor a form of one; and two
    words, or a small word and a number, without a space between. missing: words in a row that want another between
    them, such as "of is", "the of" and "since gets".
    """

    words: int = 0
    doubled: int = 0
    merged: int = 0
    missing: int = 0


def count_slips(text: str, question: str = "") -> Slips:
    """The slips of a text; words of the question are known ones, and what is doubled there may be.

    Raises MissingExtra without the package that has the word list.
    """
    prose, asked = _prose(text), _prose(question)
    names = {stem for chunk in _chunks(asked) if (stem := _stem(chunk))}
    twice = _TWICE | {found[1].lower() for found in _DOUBLED.finditer(asked)}
    words = merged = 0
    for chunk in _chunks(prose):
        stem = _stem(chunk)
        words += stem is not None
        merged += bool(_MERGED.search(chunk)) or not (stem is None or stem in names or _is_known(stem, names))
    doubled = sum(len(found[2].split()) for found in _DOUBLED.finditer(prose) if found[1].lower() not in twice)
    return Slips(words, doubled, merged, len(_MISSING.findall(prose)))


def _prose(text: str) -> str:
    """The text with a sign in the place of LaTeX and code, and without marks of emphasis."""
    return _EMPHASIS.sub("", _PASSED_OVER.sub(" \ufffc ", text)).replace("’", "'")


def _chunks(prose: str) -> Iterator[str]:
    """What stands between spaces, without quotes, brackets and punctuation around it."""
    return (chunk.lstrip(_OPENING).rstrip(_CLOSING) for chunk in prose.split())


def _stem(chunk: str) -> str | None:
    """A plain word in small letters, without 's; None for what is none, such as a variable's name."""
    if not _WORD.fullmatch(chunk) or re.search("[a-z][A-Z]|^[A-Z]{3,}$", chunk):
        return None
    return chunk.lower().removesuffix("'s")


def _is_known(word: str, names: Collection[str]) -> bool:
    """Whether the parts of a word are short, names, in the list, or a form of a word of the list."""
    return all(len(part) < _SHORTEST or part in names or _is_listed(part) for part in re.split("['-]", word))


def _is_listed(word: str) -> bool:
    known = _known_words()
    return (
        word in known
        or any(word.removesuffix(end) in known for end in _ENDINGS)
        or any(word.removeprefix(start) in known for start in _BEGINNINGS)
    )


@functools.cache
def _known_words() -> Collection[str]:
    """The English list of pyspellchecker: 160,000 words, with their forms."""
    try:
        from spellchecker import SpellChecker
    except ImportError as error:
        raise MissingExtra(f"counting slips needs pyspellchecker; {install_hint('eval')}") from error
    return frozenset(SpellChecker().word_frequency.words())
