"""What a report says, whatever it is written in: sections of sentences, tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from selar_local.evaluation import statistics
from selar_local.evaluation.estimates import Figure
from selar_local.evaluation.records import Study
from selar_local.evaluation.report import tables
from selar_local.evaluation.report.plots import Plot, plots_of
from selar_local.evaluation.report.tables import Table
from selar_local.evaluation.slips import KINDS
from selar_local.evaluation.summary import Summary, sentences, summarise
from selar_local.evaluation.wording import more_per_thousand, per_thousand, points, rounded, with_interval

_SLIPS = (
    "Slips are counted in plain English words; LaTeX and code do not count. doubled: a word stands twice in a row. "
    "merged: a word is neither in a word list nor in the question. missing: two words in a row need a noun between "
    'them, such as "of is". The counter misses many slips, so compare methods on the same problems. mismatched: the '
    "printed token is not the heaviest one that the step fed. The intervals come from the BCa bootstrap over problems. "
    "A difference draws the same problems for both methods. If a method has slips in fewer than "
    f"{statistics.FEW} problems, its interval is Garwood's for a Poisson number."
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
    less = {one.method: with_interval(one.slips, more_per_thousand) for one in summary.comparisons if one.slips}
    compared = (f"slips more than {summary.baseline}",) if less else ()
    head = ("method", "words per answer", "slips", *compared, *KINDS, "mismatched steps %")
    rows = tuple(
        (
            one.label, with_interval(one.words or _UNKNOWN, rounded),
            with_interval(one.slips["slips"], per_thousand),
            *((less.get(one.label, ""),) if less else ()),
            *(with_interval(one.slips[name], per_thousand) for name in KINDS),
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


#: Facts that tell studies of one task and model apart.
_TELLS = ("problems", "level", "seed", "samples", "max_tokens", "sampling_given", "thinking", "parallel", "ctx_size")

_HOW = (
    "An accuracy is the mean over the problems; a problem with several answers counts with their mean. Brackets hold "
    "95 % intervals. Intervals of shares come from the BCa bootstrap over problems. Where fewer than "
    f"{statistics.FEW} problems have a right answer, or a wrong one, they are Wilson's, with the effective number of "
    "problems. Intervals of tokens, TPCA and exploration come from the BCa bootstrap. Intervals of differences in "
    "accuracy come from the paired t test on the answers that both methods have: to the same problems, with the same "
    "seeds.",
    "p is two-sided. p (Holm) is corrected for the number of comparisons in its table. The report calls a method "
    "better or worse only where the interval of the difference leaves out zero and p (Holm) is below 0.05. Otherwise "
    "the study shows no difference, which does not prove that there is none.",
    "A sweep chooses a value on one half of the problems and reports it on the other half. It chooses none where "
    "chance explains the differences between the values (permutation test of the best against the worst, p 0.05 or "
    "more).",
    "TPCA is the number of all generated tokens divided by the number of correct answers. An exploration step feeds "
    "something else than a plain token. The token budget or the context ended the truncated answers.",
)


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it, in this order: sentences, tables, plots."""

    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()


@dataclass(frozen=True)
class Report:
    """The whole of it."""

    title: str
    sections: tuple[Section, ...]


def report_of(studies: Sequence[Study], baseline: str = "cot", *, plots: bool = True) -> Report:
    """The report of one or several studies. plots: draw them (needs matplotlib)."""
    summaries = [summarise(study, baseline) for study in studies]
    sections = [Section("Accuracy", tables=tuple(tables.main(summaries)))]
    titles = _titles(summaries)
    explained: set[str] = set()
    for title, study, summary in zip(titles, studies, summaries, strict=True):
        shown = tuple(_explained_once(_tables(study, summary), explained))
        figures = tuple(plots_of(study, summary)) if plots else ()
        sections.append(Section(title, tuple(sentences(summary)), shown, figures))
    sections.append(Section("How to read this", _HOW))
    runs = (tables.facts(title, summary) for title, summary in zip(titles, summaries, strict=True))
    sections.append(Section("The runs", tables=tuple(runs)))
    models = ", ".join(dict.fromkeys(one.model for one in summaries))
    return Report(f"Evaluation of {models}", tuple(sections))


def _titles(summaries: Sequence[Summary]) -> list[str]:
    """Task and model of each; where several have the same, what else tells them apart."""
    titles = []
    for summary in summaries:
        alike = [one for one in summaries if (one.task, one.model) == (summary.task, summary.model)]
        differing = [name for name in _TELLS if any(one.facts.get(name) != summary.facts.get(name) for one in alike)]
        words = [f"{name} {tables.shown(summary.facts.get(name))}" for name in differing]
        if len(alike) > 1 and not differing:
            words = [f"study {number}" for number, one in enumerate(alike, 1) if one is summary]
        titles.append(f"{summary.task}, {summary.model}" + (f" ({', '.join(words)})" if words else ""))
    return titles


def _tables(study: Study, summary: Summary) -> Iterator[Table]:
    """The tables of one study."""
    for table in (tables.differences, tables.efficiency, slips, several):
        if (found := table(summary)) is not None:
            yield found
    yield from tables.ablations(study, summary)
    yield from tables.sweeps(study, summary)


def _explained_once(found: Iterable[Table], explained: set[str]) -> Iterator[Table]:
    """The tables; a note that another one had before, which `explained` has, is left out."""
    for table in found:
        yield replace(table, note="") if table.note in explained else table
        explained.add(table.note)
