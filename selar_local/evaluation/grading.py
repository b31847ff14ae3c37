r"""Grades an answer: what stands in its last complete box, by `math-verify` or, for multiple choice, by its letter.

Where graders differ, this one decides so:

- The value counts and not its form: 6/14 is 3/7, and (x+1)^2 is x^2+2x+1.
- A percent sign is a unit or a hundredth: 40 and 2/5 both are 40 %, but without a sign 0.4 is not 40.
- A unit may be left out on either side. Two known units have to agree; they are not converted.
- A decimal is exact, or has six right digits of a number that has no finite decimal: 0.33 is not 1/3.
- Brackets count: (2,5] is not [2,5]. Sets and bare lists have no order but a number of items; tuples have an order.
- Text is compared without case and punctuation. Number words are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from selar_local.evaluation.answers import (
    Parts,
    boxed,
    last_letter,
    last_number,
    parts,
    plain,
    split_top,
    split_unit,
    tidy,
)
from selar_local.evaluation.equality import equal
from selar_local.evaluation.problems import Problem
from selar_local.evaluation.rationals import explicit, is_rounded, rational

__all__ = ["Grade", "grade"]

#: Longer answers are none: a model that loops inside its box.
LONGEST = 2000
_MANY = 60


@dataclass(frozen=True, slots=True)
class Grade:
    """correct, what was graded (None: no answer was found), and why, in a few words."""

    correct: bool
    given: str | None
    reason: str


class _Undecided(Exception):
    """The equality of two expressions could not be told; the message says why."""


def grade(
    answer_text: str, problem: Problem, *, thinking_closed: bool = True, timeout: float = 5.0, fallback: bool = False
) -> Grade:
    r"""Grade what a model wrote after its thinking. Callable from any thread; never raises for any text.

    thinking_closed: False where the model began to think and did not end; that is a failure whatever it wrote.
    timeout: seconds for one comparison; what takes longer is wrong. fallback: where no box is found, take the last
    number, or the last letter named as the answer, as many evaluations of GSM8K do; by default only a box is an answer,
    as in the paper. Raises MissingExtra without math-verify, where an answer needs it.
    """
    if not thinking_closed:
        return Grade(False, None, "the thinking did not end")
    given = boxed(answer_text)
    if given is None and fallback:
        given = last_letter(answer_text) if problem.kind == "letter" else last_number(answer_text)
    if given is None:
        return Grade(False, None, "no answer in a box" if not fallback else "no answer found")
    if len(given) > LONGEST:
        return Grade(False, given[:LONGEST], "the answer is too long")
    if problem.kind == "letter":
        correct = _letter(given, problem.choices) == problem.answer
        return Grade(correct, given, "the right letter" if correct else "another letter")
    try:
        correct = _same_answer(problem.answer, given, timeout)
    except _Undecided as reason:
        return Grade(False, given, str(reason))
    return Grade(correct, given, "equal" if correct else "not equal")


def _letter(given: str, choices: tuple[str, ...]) -> str | None:
    """The chosen letter; a choice's own text names it too."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", tidy(given)).strip(" .")
    last = chr(ord("A") + max(len(choices), 4) - 1)
    pattern = rf"(?:(?:the )?(?:option|choice|answer)(?: is)?:? *)?(?:\(?([A-{last}])\)?|\(?([A-{last}])[).:] *(.+))"
    if found := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
        letter = str(found[1] or found[2]).upper()
        rest = _choice(found[3], choices) if found[3] else None
        return letter if rest in (None, letter) else None
    return _choice(text, choices)


def _choice(text: str, choices: tuple[str, ...]) -> str | None:
    """The letter of the one choice that reads like `text`."""
    wanted = plain(tidy(text)).casefold()
    letters = [chr(ord("A") + i) for i, choice in enumerate(choices) if plain(tidy(choice)).casefold() == wanted]
    return letters[0] if len(letters) == 1 else None


def _same_answer(gold: str, given: str, timeout: float) -> bool:
    expected, found = tidy(gold), tidy(given)
    if not found or not plain(found):
        return False
    if plain(expected) == plain(found):
        return True
    if _is_text(expected):
        return plain(expected).casefold() == plain(_without_lead(found)).casefold()
    found = _without_lead(found)
    if any(_same(expected, side, timeout) for side in split_top(found, r"\\approx(?![a-z])") if side):
        return True
    # a comma that could part thousands may part items: 100,200
    listed = tidy(gold, thousands=False), tidy(given, thousands=False)
    return listed != (expected, tidy(given)) and _same(listed[0], _without_lead(listed[1]), timeout)


_LEAD = re.compile(
    r"^(?:\\text\{[^{}]*\}\s*:?(?=.*\d)|(?:the )?(?:final )?(?:answer|result)(?: is)?\s*:?\s+)", re.IGNORECASE
)


def _without_lead(answer: str) -> str:
    """Without words before the answer, unless they deny it."""
    lead = _LEAD.match(answer)
    if lead is None or re.search(r"\b(?:not?|never|un\w+)\b", lead[0], re.IGNORECASE):
        return answer
    return answer[lead.end() :].strip(" :")


_WORDS = {"yes", "no", "odd", "all", "any", "one", "two", "none"}


def _is_text(answer: str) -> bool:
    r"""Words, such as `\text{north}` or `Tuesday`, and not an expression such as `xy` or `\pi`."""
    words = re.sub(r"\\text\{([^{}]*)\}", r"\1", answer)
    if words.casefold() in _WORDS:
        return True
    if re.search(r"[\d\\=<>+*/^_|&{}]", words) or not re.search("[A-Za-z]", words):
        return False
    return words != answer or bool(re.search(r"[A-Z][a-z]|[A-Za-z]{4}|[A-Za-z]{2,} [A-Za-z]{2}", words))


def _same(gold: str, given: str, timeout: float) -> bool:
    """The comparison of two tidy answers, part by part."""
    if plain(gold) == plain(given):
        return True
    expected, found = _parts(gold), _parts(given)
    relations = _interval(gold), _interval(given)
    if expected.kind[0] in "([" and relations[1]:
        found = parts(relations[1][1])
    elif found.kind[0] in "([" and relations[0]:
        expected = parts(relations[0][1])
    elif relations[0] and relations[1] and relations[0][0] == relations[1][0]:
        expected, found = parts(relations[0][1]), parts(relations[1][1])
    if expected.kind == found.kind == "atom" and not _both_signs(expected, found):
        return _same_atom(expected.items[0], found.items[0], timeout)
    if "union" in (expected.kind, found.kind):
        return _same_union(expected, found, gold, given, timeout)
    loose = ("set", "list", "atom")
    if expected.kind in loose and found.kind in loose:
        return _same_any_order(_spread(expected), _spread(found), timeout)
    ordered = expected.kind == found.kind or "list" in (expected.kind, found.kind)
    return ordered and "atom" not in (expected.kind, found.kind) and _same_in_order(expected, found, timeout)


def _parts(answer: str) -> Parts:
    """As `parts`; a set of one is its item."""
    found = parts(answer)
    return _parts(found.items[0]) if found.kind == "set" and len(found.items) == 1 else found


def _both_signs(*sides: Parts) -> bool:
    return any(re.search(r"\\(?:pm|mp)(?![a-z])", item) for side in sides for item in side.items)


def _spread(group: Parts) -> list[str]:
    r"""The items, `a \pm b` as two."""
    items = []
    for item in group.items:
        if not _both_signs(Parts("atom", (item,))):
            items.append(item)
            continue
        for plus, minus in (("+", "-"), ("-", "+")):
            one = re.sub(r"\\pm(?![a-z])\s*", plus, item)
            items.append(re.sub(r"\\mp(?![a-z])\s*", minus, one).removeprefix("+"))
    return items


def _same_in_order(expected: Parts, found: Parts, timeout: float) -> bool:
    if len(expected.items) != len(found.items) or len(found.items) > _MANY:
        return False
    return all(_same(a, b, timeout) for a, b in zip(expected.items, found.items, strict=True))


def _same_any_order(expected: list[str], found: list[str], timeout: float) -> bool:
    if len(expected) != len(found) or len(found) > _MANY:
        return False
    left = list(found)
    for item in expected:
        match = next((other for other in left if _same(item, other, timeout)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_union(expected: Parts, found: Parts, gold: str, given: str, timeout: float) -> bool:
    """Piece by piece, or as sets that are cut up otherwise."""
    if expected.kind == found.kind and _same_any_order(list(expected.items), list(found.items), timeout):
        return True
    return _verified(gold, given, timeout)


_RELATION = r"<|>|\\[lg]e(?![a-z])|\\neq?(?![a-z])"


def _interval(answer: str) -> tuple[str, str] | None:
    r"""`2 \le x < 5` as (`x`, `[2,5)`); None for anything else than one or two bounds of one letter."""
    sides, signs = split_top(answer, _RELATION), re.findall(_RELATION, answer)
    if not 2 <= len(sides) <= 3 or len(signs) != len(sides) - 1 or "=" in answer or r"\ne" in answer:
        return None
    upwards = {sign in ("<", r"\le") for sign in signs}
    if len(upwards) > 1:
        return None
    if upwards == {False}:
        sides, signs = sides[::-1], ["<" if sign == ">" else r"\le" for sign in signs[::-1]]
    where = next((i for i, side in enumerate(sides) if re.fullmatch("[A-Za-z]", side)), None)
    if where is None or (len(sides) == 3 and where != 1):
        return None
    low = ("(" if signs[0] == "<" or where == 0 else "[") + (sides[0] if where else r"-\infty")
    high = (sides[-1] if where < len(sides) - 1 else r"\infty") + (
        ")" if signs[-1] == "<" or where == len(sides) - 1 else "]"
    )
    return sides[where], f"{low},{high}"


_PERCENT = re.compile(r"\s*(?:\\?%|\\text\{\s*(?:\\?%|per ?cent)[^{}]*\}|per ?cent)$", re.IGNORECASE)
_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?(\d+)\}?")


def _same_atom(gold: str, given: str, timeout: float) -> bool:
    gold, given = _sides(gold, given)
    percent = bool(_PERCENT.search(gold)), bool(_PERCENT.search(given))
    gold, given = _PERCENT.sub("", gold), _PERCENT.sub("", given)
    (gold, gold_units), (given, given_units) = split_unit(gold), split_unit(given)
    if not given or (gold_units and given_units and not gold_units & given_units):
        return False
    if _same_value(gold, given, timeout):
        return True
    if percent[0] == percent[1]:
        return False
    hundredth = [
        rf"\frac{{{text}}}{{100}}" if sign else text for text, sign in ((gold, percent[0]), (given, percent[1]))
    ]
    return _same_value(hundredth[0], hundredth[1], timeout)


def _sides(gold: str, given: str) -> tuple[str, str]:
    """Equations: `x = 5` against `5`, and `y = 2x` against `2x`; two equations stay as they are."""
    expected, found = split_top(gold, "="), split_top(given, "=")
    if len(found) > 1 and len(expected) == 1:
        return gold, found[-2] if re.fullmatch("[A-Za-z]", found[-1]) and expected != found[-1:] else found[-1]
    named = len(expected) == 2 and re.fullmatch(r"[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z, ]+\))?", expected[0])
    return (expected[1] if named and len(found) == 1 else gold), given


def _same_value(gold: str, given: str, timeout: float) -> bool:
    if plain(gold) == plain(given):
        return True
    if _is_text(given) and not _is_text(gold):
        return False
    bases = _BASE.fullmatch(gold), _BASE.fullmatch(given)
    if any(bases):
        digits = [base[1] if base else text for base, text in zip(bases, (gold, given), strict=True)]
        agree = not all(bases) or {base[2] for base in bases if base} == {bases[0][2] if bases[0] else ""}
        return agree and digits[0].casefold() == digits[1].strip().casefold()
    expected, found = rational(gold), rational(given)
    if expected is not None and found is not None:
        return expected == found or is_rounded(expected, found, given)
    return _verified(gold, given, timeout)


def _verified(gold: str, given: str, timeout: float) -> bool:
    expected, found = explicit(gold), explicit(given)
    if expected is None or found is None:
        return False
    verdict = equal(expected, found, timeout=timeout)
    if isinstance(verdict, str):
        raise _Undecided(
            f"the comparison took more than {timeout:g} s" if verdict == "timeout" else "cannot be compared"
        )
    return verdict
