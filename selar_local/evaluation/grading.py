r"""Grades an answer: what stands in its last complete box, by `math-verify` or, for multiple choice, by its letter.

`math-verify` alone gives another verdict in 43 of the 302 labelled cases: it finds no `\fbox`, takes a number without a
box, reads no `€`, `½` or `√`, and takes 18 cm for 18 m, lists for sets, and 0.000067 for 0.0000672. What it lacks is
here; whether two expressions are equal is its own. Where graders differ, this one decides so:

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
from decimal import Decimal
from fractions import Fraction

from selar_local.evaluation.answers import boxed, items, last_letter, last_number, plain, split_unit, tidy
from selar_local.evaluation.equality import equal
from selar_local.evaluation.problems import Problem

_DECIMAL = r"(?:\d+\.?\d*|\.\d+)"
_RATIONAL = re.compile(
    rf"""
    (?P<sign>[-+]?[ ]?)
    (?:(?P<whole>\d+)(?:[ ]?(?=\\frac)|[ ](?=\d+[ ]?/)))?
    (?: \\frac\{{[ ]?(?P<top>-?{_DECIMAL})[ ]?\}}\{{[ ]?(?P<bottom>-?{_DECIMAL})[ ]?\}}
      | (?P<a>{_DECIMAL})[ ]?/[ ]?(?P<b>-?{_DECIMAL})
      | (?P<ahead>\d*)\.(?P<once>\d*)\\overline\{{[ ]?(?P<again>\d+)[ ]?\}}
      | (?P<n>{_DECIMAL})
    )""",
    re.VERBOSE,
)


def rational(answer: str) -> Fraction | None:
    r"""The exact value of a plain number: whole, decimal, fraction, mixed, `0.1\overline{6}`."""
    while len(answer) > 2 and answer[0] == "(" and answer[-1] == ")" and "(" not in answer[1:]:
        answer = answer[1:-1].strip()
    found = _RATIONAL.fullmatch(answer)
    if not found:
        return None
    top, bottom = found["top"] or found["a"] or found["n"] or "0", found["bottom"] or found["b"] or "1"
    if Fraction(bottom) == 0 or (found["whole"] and "-" in top + bottom):
        return None
    size = Fraction(top) / Fraction(bottom)
    size += int(found["whole"] or 0)
    if found["again"]:
        period = Fraction(int(found["again"]), 10 ** len(found["again"]) - 1)
        size = Fraction(f"{found['ahead'] or 0}.{found['once'] or 0}") + period / 10 ** len(found["once"])
    return -size if "-" in found["sign"] else size


def is_rounded(exact: Fraction, found: Fraction, given: str) -> bool:
    """Whether `given`, of the value `found`, is a decimal with six right digits of a number that has no finite one."""
    rest = exact.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest == 1 or not re.fullmatch(rf"[-+]? ?{_DECIMAL}", given):
        return False
    digits = len(Decimal(given.replace(" ", "")).as_tuple().digits)
    return digits >= 6 and abs(exact - found) <= abs(exact) * Fraction(101, 10**8)


_MIXED = re.compile(r"(?<![\w.^}])(\d{1,9})\s*\\frac\{\s*(\d{1,9})\s*\}\{\s*(\d{1,9})\s*\}")


def explicit(answer: str) -> str | None:
    r"""An expression as `math-verify` reads it as meant; None where it has two numbers with only a space between.

    The library takes `3(4)` and `3 4` for 3 + 4, and `1\frac{2}{3}\pi` for a product of three.
    """
    answer = _MIXED.sub(lambda m: rf"\frac{{{int(m[1]) * int(m[3]) + int(m[2])}}}{{{m[3]}}}", answer)
    if re.search(r"(?<![\w.^}])\d+(?:\.\d+)?\s+\d", answer):
        return None
    answer = re.sub(r"(?<![\w.^}])(\d+(?:\.\d+)?)\s*(?=[(\[])", r"\1 \\cdot ", answer)
    return re.sub(r"\)\s*(?=[(\d])", r") \\cdot ", answer)


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
    """There is no verdict about two expressions; the message says why."""


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
    if not plain(found):
        return False
    if _same(expected, _without_lead(found), timeout):
        return True
    # a comma that could part thousands may part items: 100,200
    listed = tidy(gold, thousands=False), tidy(given, thousands=False)
    return listed != (expected, found) and _same(listed[0], _without_lead(listed[1]), timeout)


_LEAD = re.compile(
    r"^(?:\\text\{[^{}]*\}\s*:?(?=.*\d)|(?:the )?(?:final )?(?:answer|result)(?: is)?\s*:?\s+|\\approx(?![a-z]))",
    re.IGNORECASE,
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
    """The comparison of two tidy answers: as text, item by item, or by value."""
    if plain(gold) == plain(given):
        return True
    if _is_text(gold):
        return plain(gold).casefold() == plain(given).casefold()
    # math-verify takes lists for sets, so 1, 1, 2 would equal 1, 2, 2
    expected, found = items(gold), items(given)
    if len(expected) == len(found) > 1:
        return len(found) <= _MANY and _same_in_any_order(expected, found, timeout)
    # a set of one is its item
    gold, given = (one[0] if len(one) == 1 else text for one, text in ((expected, gold), (found, given)))
    return _same_value(gold, given, timeout)


def _same_in_any_order(expected: list[str], found: list[str], timeout: float) -> bool:
    left = list(found)
    for item in expected:
        match = next((other for other in left if _same(item, other, timeout)), None)
        if match is None:
            return False
        left.remove(match)
    return True


_BASE = re.compile(r"([0-9A-Fa-f]+)_\{?(\d+)\}?")


def _same_value(gold: str, given: str, timeout: float) -> bool:
    # math-verify drops units and bases: 18 cm would equal 18 m, and 314_5 would equal 314_6
    (gold, gold_units), (given, given_units) = split_unit(gold), split_unit(given)
    if not given or (gold_units and given_units and not gold_units & given_units):
        return False
    if plain(gold) == plain(given):
        return True
    if _is_text(given):
        return False
    bases = _BASE.fullmatch(gold), _BASE.fullmatch(given)
    if bases[0] and bases[1]:
        return (bases[0][1].casefold(), bases[0][2]) == (bases[1][1].casefold(), bases[1][2])
    if bases[0] or bases[1]:  # the base may be left out
        digits = [base[1] if base else text for base, text in zip(bases, (gold, given), strict=True)]
        return digits[0].casefold() == digits[1].casefold()
    expected, found = rational(gold), rational(given)
    if expected is not None and found is not None:
        return expected == found or is_rounded(expected, found, given)
    expression, other = explicit(gold), explicit(given)
    if expression is None or other is None:
        return False
    verdict = equal(expression, other, timeout=timeout)
    if isinstance(verdict, str):
        raise _Undecided(
            f"the comparison took more than {timeout:g} s" if verdict == "timeout" else "cannot be compared"
        )
    return verdict
