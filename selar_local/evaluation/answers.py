"""Finds the answer in what a model wrote, and brings answers into one spelling. Text only, no mathematics."""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"\\+(?P<box>boxed|fbox)(?![A-Za-z])|\\[A-Za-z]+|\\.|[{}]", re.DOTALL)
#: `\boxed 5`, `\boxed\frac12`, `\boxed C`: a number, a command or one capital. Other words are talk about boxes.
_BARE = re.compile(r"\s*(?P<bare>[-+]?(?:[\d.]*\d|\\[A-Za-z])[^\s$]*|[A-Z](?![A-Za-z]))")
_GAP = re.compile(r"\s*")
_LETTER = re.compile(r"(?i:answer|option|choice)(?i: is)?:?[\s*]*\(?([A-Z])\b|\(([A-Z])\)|\*\*([A-Z])\*\*")


def boxed(text: str) -> str | None:
    r"""What stands in the last complete box: `\boxed{...}` or `\fbox{...}` with balanced braces, or `\boxed 5`.

    A box that is empty or was not finished does not count: the one before it does. Linear time.
    """
    open_braces: list[int | None] = []  # where the content of a box begins, None for any other brace
    found = None
    pending = None
    for token in _TOKEN.finditer(text):
        if token["box"]:
            bare = _BARE.match(text, token.end())
            if bare and (content := bare["bare"].rstrip(".,;:!?)*\\")):
                found = content
            gap = _GAP.match(text, token.end())
            pending = gap.end() if gap else None
        elif token[0] == "{":
            open_braces.append(token.end() if token.start() == pending else None)
        elif token[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and (content := text[start : token.start()].strip()):
                found = content
    while found and (inner := re.fullmatch(r"\\(?:boxed|fbox)\s*\{(.*)\}", found, re.DOTALL)):
        found = inner[1].strip()
    return found


def last_number(text: str) -> str | None:
    """The last number in a text (`1,250`, `-3.5`, `3/4`), for answers without a box."""
    numbers = [match[0] for match in _NUMBER.finditer(text) if any(letter.isdigit() for letter in match[0])]
    return numbers[-1] if numbers else None


def last_letter(text: str) -> str | None:
    """The last letter that is named as the choice (`the answer is C`, `(C)`, `**C**`), for answers without a box."""
    found = [next(group for group in match.groups() if group) for match in _LETTER.finditer(text)]
    return found[-1] if found else None


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "⁄": "/", "π": r"\pi ",
    "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "∪": r"\cup ", "±": r"\pm ", "∓": r"\mp ", "°": r"^\circ ",
    "∈": r"\in ", "√": r"\sqrt ", r"\degree": r"^\circ ", r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lt": "<",
    r"\gt": ">", r"\leq": r"\le ", r"\geq": r"\ge ", r"\leqslant": r"\le ", r"\geqslant": r"\ge ",
    r"\union": r"\cup ", r"\varnothing": r"\emptyset ",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\displaystyle": "",
    r"\quad": " ", r"\qquad": " ", r"\left": "", r"\right": "", r"\big": "", r"\Big": "", r"\bigl": "", r"\bigr": "",
}  # fmt: skip
_SYMBOL = re.compile("|".join(re.escape(s) + (r"(?![A-Za-z])" if s[0] == "\\" else "") for s in _SYMBOLS))
_FONT = re.compile(
    r"\\(text|mathrm|textrm|textnormal|mbox|hbox|mathbf|textbf|boldsymbol|mathit|textit|mathsf|textsf|mathtt|texttt"
    r"|emph|underline)\s*\{([^{}]*)\}"
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:[ ,]\d{3})+(?![\d/])(?!\s*\\frac)")


def tidy(answer: str, *, thousands: bool = True) -> str:
    r"""The same answer in plain LaTeX: no delimiters, fonts or spacing, `\frac{a}{b}`, ASCII signs.

    thousands: read `1,250` as one number, unless it stands in brackets; False leaves such commas.
    """
    text = re.sub(r"(?<=\d)(?=[¼-¾⅐-⅞])", " ", answer)
    text = re.sub("[⁰¹²³⁴-⁹⁻⁺]+", lambda found: "^{" + found[0].translate(_SUPERSCRIPTS) + "}", text)
    text = unicodedata.normalize("NFKC", text)
    text = _SYMBOL.sub(lambda found: _SYMBOLS[found[0]], text)
    text = re.sub(r"\\sqrt\s+\(([^()]*)\)|\\sqrt\s*(\d+(?:\.\d+)?)(?!\{)", _root, text)
    text = re.sub(r"\{,\}|,\s*\\!", ",", text)
    text = re.sub(r"(?<!\\)\\[,;:! ]|(?<!\\)~", " ", text)
    text = re.sub(r"(?<!\\)\\[()\[\]]", " ", text)
    if len(re.findall(r"(?<!\\)\$", text)) % 2 == 0:
        text = re.sub(r"(?<!\\)\$", "", text)  # delimiters come in pairs, a lone sign is money
    text = text.replace(r"\$", "$")
    text = _FONT.sub(_unfont, re.sub(r"\\(?:text)?color\{[^{}]*\}", "", text))
    text = re.sub(r"\\frac\{\\text\{([^{}]*)\}\}\{\\text\{([^{}]*)\}\}", r"\\text{\1/\2}", text)
    text = re.sub(r"\\\{\s*\\\}", r"\\emptyset", text)
    text = re.sub(r"\s*(?:\\text\{\s*per ?cent\s*\}|(?<![A-Za-z])per ?cent)\s*$", r"\\%", text)
    text = re.sub(r"\\frac\s*(\d|\{[^{}]*\})\s*(\d|\{[^{}]*\})", _fraction, text)
    text = re.sub(r"\s+", " ", text).strip(" *`\n").rstrip(".;: ")
    text = _THOUSANDS.sub(lambda found: found[0].replace(" ", ""), text)
    if thousands and not (text.startswith(("(", "[", r"\{")) or r"\begin" in text):
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    return text.strip()


def _root(found: re.Match[str]) -> str:
    if found[1]:
        return rf"\sqrt{{{found[1]}}}"
    # LaTeX reads \sqrt12 as the root of 1 times 2, and a person as the root of 12
    return rf"\sqrt{{{found[2]}}}"


def _fraction(found: re.Match[str]) -> str:
    top, bottom = (group.strip("{}") for group in found.groups())
    return rf"\frac{{{top}}}{{{bottom}}}"


def _unfont(found: re.Match[str]) -> str:
    kind, content = found.groups()
    if re.search(r"\d", content) or not re.search("[A-Za-z]", content):
        return str(content)
    words = re.search("[A-Za-z]{2}", content) or kind in ("text", "mathrm", "textrm", "mbox")
    return rf"\text{{{content}}}" if words else str(content)


def plain(answer: str) -> str:
    """A tidy answer for comparing as text: without `\\text`, outer parentheses and spaces."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", answer).strip(" .,;:\"'")
    if inner := re.fullmatch(r"\(([^(),]*)\)", text):
        text = inner[1]
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)  # 1 2 is not 12


def items(answer: str) -> list[str]:
    """What stands between the top-level commas of a list or a set, without the set's braces."""
    answer = _WORDS_BETWEEN.sub(" , ", answer)
    if answer.startswith(r"\{") and answer.endswith(r"\}"):
        answer = answer[2:-2]
    found, depth, start = [], 0, 0
    for place, letter in enumerate(answer):
        depth += (letter in "([{") - (letter in ")]}")
        if letter in ",;" and depth == 0:
            found.append(answer[start:place])
            start = place + 1
    return [item.strip() for item in [*found, answer[start:]] if item.strip()]


_WORDS_BETWEEN = re.compile(r",?\s*(?:\\text\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z]))\s*")
_UNITS = {
    name: unit
    for unit, names in {
        "mm": "mm millimeter millimetre", "cm": "cm centimeter centimetre", "km": "km kilometer kilometre",
        "m": "m meter metre", "inch": "in inch inches", "foot": "ft foot feet", "yard": "yd yard", "mile": "mi mile",
        "second": "s sec second", "minute": "min minute", "hour": "h hr hour", "day": "day", "week": "week",
        "month": "month", "year": "yr year", "dollar": "$ dollar usd", "cent": "cent ¢", "euro": "€ euro",
        "pound": "£", "degree": "deg degree", "radian": "rad radian", "mg": "mg", "g": "g gram",
        "kg": "kg kilogram", "liter": "l liter litre", "ml": "ml milliliter millilitre",
    }.items()
    for name in names.split()
}  # fmt: skip
# A number ends where its word does, or where a unit begins that ends it: `12km` is 12, `2nd` and `3x` are no numbers.
_UNIT = "|".join(sorted((re.escape(name) for name in _UNITS), key=len, reverse=True))
_NUMBER = re.compile(
    r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))(?:/\d+)?"
    rf"(?:(?!\w)|(?=(?i:{_UNIT})s?[²³]?(?!\w)))"
)
_POWER = r"(?:\s*\^\s*(?:\{?\d\}?))?"
_TAIL = re.compile(
    rf"^(?P<bare>.*?[\d)}}\]A-Za-z!])\s*"
    rf"(?P<unit>\^\s*\{{?\s*\\circ\s*\}}?\s*[CF]?|\\text\{{[^{{}}]*\}}{_POWER}(?:\s*/\s*\\text\{{[^{{}}]*\}}{_POWER})?)$"
)
_WORDS = re.compile(
    rf"^(?P<bare>.*[\d)}}\]])(?P<gap>\s*)(?P<unit>(?:[A-Za-z]+{_POWER})(?:[\s/.-]+[A-Za-z]+{_POWER})*\.?)$"
)
_NO_UNIT = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "mod", "exp", "not", "e", "i", "x", "y", "z"}


def split_unit(answer: str) -> tuple[str, frozenset[str]]:
    r"""The answer without its unit, and the known units in it (`cm`, `dollar`, ...; empty: none, or an unknown one).

    A unit is `\text{...}`, a currency sign, degrees, or words after a number: after a space, or a known one.
    """
    units: set[str] = set()
    text = answer
    if money := re.match(r"^(-?)\s*([$€£¥₹])\s*", text):
        units |= _known(money[2])
        text = money[1] + text[money.end() :]
    elif text.endswith(("$", "€", "£", "¢")):
        units |= _known(text[-1])
        text = text[:-1].rstrip()
    if found := _TAIL.match(text):
        units |= {"degree"} if "circ" in found["unit"] else _known(found["unit"])
        text = found["bare"]
    elif (found := _WORDS.match(text)) and not _NO_UNIT & set(re.findall("[A-Za-z]+", found["unit"])):
        first = re.findall("[A-Za-z]+", found["unit"])[0]
        if (len(first) > 1 and (found["gap"] or _known(first))) or (
            found["gap"] and first in ("m", "s", "g", "h", "L")
        ):
            units |= _known(found["unit"])
            text = found["bare"]
    return text.strip(), frozenset(units)


def _known(unit: str) -> set[str]:
    words = [word.lower() for word in re.findall(r"[A-Za-z]+|[$€£¢]", unit.replace(r"\text", ""))]
    return {_UNITS[name] for word in words for name in (word, word.rstrip("s")) if name in _UNITS}
