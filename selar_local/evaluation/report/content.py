"""What a report says, whatever it is written in: sections of sentences, tables and plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from selar_local.evaluation import statistics
from selar_local.evaluation.records import Study
from selar_local.evaluation.report import answer_tables, tables
from selar_local.evaluation.report.plots import Plot, plots_of
from selar_local.evaluation.report.tables import Table
from selar_local.evaluation.summary import Summary, sentences, summarise

#: Facts that tell studies of one task and model apart.
_TELLS = ("problems", "level", "seed", "samples", "max_tokens", "sampling_given", "thinking", "parallel", "ctx_size")

_HOW = (
    "An accuracy is the mean over the problems; a problem with several answers counts with their mean. Brackets hold "
    "95 % intervals. Intervals of shares come from the BCa bootstrap over problems. Where fewer than "
    f"{statistics.FEW} problems have a right answer, or a wrong one, they are Wilson's, with the effective number of "
    "problems. Intervals of tokens, TPCA and exploration come from the BCa bootstrap. Intervals of differences come "
    "from the paired t test on the answers that both methods have: to the same problems, with the same seeds.",
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
    for table in (tables.differences, tables.efficiency, answer_tables.slips, answer_tables.several):
        if (found := table(summary)) is not None:
            yield found
    yield from tables.ablations(study, summary)
    yield from tables.sweeps(study, summary)


def _explained_once(found: Iterable[Table], explained: set[str]) -> Iterator[Table]:
    """The tables; a note that another one had before, which `explained` has, is left out."""
    for table in found:
        yield replace(table, note="") if table.note in explained else table
        explained.add(table.note)
