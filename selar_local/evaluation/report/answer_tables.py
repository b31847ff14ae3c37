"""Tables about what the answers are like: slips in their texts, and several answers to a problem taken together."""

from __future__ import annotations

from selar_local.evaluation.estimates import Figure
from selar_local.evaluation.report.tables import Table
from selar_local.evaluation.slips import KINDS
from selar_local.evaluation.summary import Summary
from selar_local.evaluation.wording import per_thousand, points, rounded, with_interval

_SLIPS = (
    "Of 1,000 plain English words, LaTeX and code left out. doubled: a word twice in a row. merged: a word that is in "
    'neither a word list nor the question. missing: two words in a row that want a noun between them, such as "of is". '
    "The counter misses much; compare methods on the same problems. mismatched: the printed token is not the heaviest "
    "of what the step fed."
)
_SEVERAL = (
    "At equal tokens, as many as the cheapest method spent on a problem: they buy k answers, and figures between two "
    "numbers of answers are interpolated. pass: one of k is right. majority: the most frequent of k is right. agree: "
    "two answers to a problem are the same. points: difference from the baseline, with its interval, not corrected."
)
_UNKNOWN = Figure(None, None, None)


def slips(summary: Summary) -> Table | None:
    """What happens to the text: slips per 1,000 words and mismatched steps; None where none were counted."""
    counted = [one for one in summary.methods if one.words is not None]
    if not counted:
        return None
    head = ("method", "words per answer", "slips", *KINDS, "mismatched steps %")
    rows = tuple(
        (
            one.label, with_interval(one.words or _UNKNOWN, rounded),
            *(with_interval(one.slips[name], per_thousand) for name in ("slips", *KINDS)),
            with_interval(one.mismatched or _UNKNOWN),
        )
        for one in counted
    )  # fmt: skip
    return Table("Slips per 1,000 words", head, rows, _SLIPS)


def several(summary: Summary) -> Table | None:
    """Answers taken together; None where no method has several with their votes."""
    if not summary.several:
        return None
    names = ("pass", "majority")
    rows = []
    for one in summary.several:
        pairs = ((one.shares[name], one.differences.get(name, _UNKNOWN)) for name in names)
        cells = [cell for share, points_ in pairs for cell in (with_interval(share), with_interval(points_, points))]
        rows.append((one.label, f"{one.k:.2f}", *cells, with_interval(one.shares["agree"])))
    head = ("method", "k", *(word for name in names for word in (f"{name} %", "points")), "agree %")
    return Table("Several answers at equal tokens", head, tuple(rows), _SEVERAL)
