"""Figures as people read them: percent, points, intervals, p, durations. The same in the terminal and in reports."""

from __future__ import annotations

from collections.abc import Callable

from selar_local.evaluation.estimates import Comparison, Figure

#: Where there is no figure.
NOTHING = "-"


def percent(value: float | None) -> str:
    """A share in percent, without the sign: ``54.2``."""
    return NOTHING if value is None else f"{100 * value:.1f}"


def points(value: float | None) -> str:
    """A difference of shares in percentage points, with its sign: ``+1.0``."""
    if value is None:
        return NOTHING
    return f"{0.0 if abs(value) < 0.0005 else 100 * value:+.1f}"


def per_thousand(value: float | None) -> str:
    """A share in thousandths, without a sign: ``1.25``."""
    return NOTHING if value is None else f"{1000 * value:.2f}"


def more_per_thousand(value: float | None) -> str:
    """A difference of such shares, with its sign: ``+1.25``."""
    return NOTHING if value is None else f"{0.0 if abs(value) < 5e-6 else 1000 * value:+.2f}"


def rounded(value: float | None) -> str:
    """A count such as tokens: ``1,234``."""
    return NOTHING if value is None else f"{value:,.0f}"


def with_interval(figure: Figure, write: Callable[[float | None], str] = percent) -> str:
    """``54.2 [43.1, 65.0]``; write: how one number is written."""
    if figure.value is None and figure.low is None:
        return NOTHING
    if figure.low is None and figure.high is None:
        return write(figure.value)
    high = "∞" if figure.high is None else write(figure.high)
    return f"{write(figure.value)} [{write(figure.low)}, {high}]"


def with_signs(figure: Figure) -> str:
    """A difference of tokens: ``-12 [-30, +6]``."""
    return with_interval(figure, _signed)


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{0.0 if abs(value) < 0.5 else value:+,.0f}"


def p_text(p: float | None) -> str:
    """``0.012``, ``<0.001``."""
    if p is None:
        return NOTHING
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float | None) -> str:
    """In a sentence: ``p 0.012``, ``p < 0.001``."""
    return f"p {p_text(p)}".replace("p <", "p < ")


def duration(seconds: float) -> str:
    """``8.3 s``, ``4 min 5 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def compared(one: Comparison, problems: int = 0, answers: int = 0) -> str:
    """What the comparison shows, in words that follow its interval and its corrected p.

    problems: of the study, answers: the most of a method; where fewer are compared, the sentence says so.
    """
    few = ""
    if one.problems < problems:
        few = f", on the {one.problems} problems that both have"
    elif one.answers < answers:
        few = f", on the {one.answers} answers that both have"
    found = one.difference
    if not one.problems or found.value is None:
        return f"{one.method} and {one.baseline} have no answers to the same problems and seeds: no comparison"
    interval = f"95 % interval {points(found.low)} to {points(found.high)}"
    p = p_words(one.p_corrected)
    p += f" after Holm's correction for {one.several} comparisons" if one.several > 1 else ""
    if one.verdict in ("better", "worse"):
        size = f"{abs(100 * found.value):.1f} points"
        return f"{one.method}: {one.verdict} than {one.baseline} by {size} ({interval}, {p}{few})"
    none = f"{one.method}: no difference from {one.baseline} shown"
    if one.verdict == "uncorrected":
        return f"{none} ({points(found.value)} points, {interval}, but {p}{few})"
    power = one.minimum_detectable
    finds = "" if power is None else f"; a study of this size finds a true difference of {_size(power)} in 4 of 5 cases"
    return f"{none} ({points(found.value)} points, {interval}{few}{finds})"


def _size(share: float) -> str:
    """A minimum detectable difference, rounded up: a study promises no more than it can."""
    size = 100 * share
    return f"{-(-size // 1):.0f} points" if size > 2 else f"{-(-size * 10 // 1) / 10:.1f} points"
