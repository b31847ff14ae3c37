"""Numbers in answers: their exact value, and the spellings that `math-verify` misreads.

It takes 0.1250001 for 0.125, and reads neither `2 1/3` nor `0.1\\overline{6}`.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

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
