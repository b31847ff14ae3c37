"""What a report says, whatever it is written in: sections of sentences, tables and plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selar_local.evaluation import statistics
from selar_local.evaluation.records import Study
from selar_local.evaluation.report import tables
from selar_local.evaluation.report.plots import Plot, plots_of
from selar_local.evaluation.report.table import Table
from selar_local.evaluation.summary import Summary, sentences, summarise

__all__ = ["Report", "Section", "Table", "report_of"]

#: Facts that tell studies of one task and model apart.
_TELLS = ("problems", "level", "seed", "samples", "max_tokens", "sampling_given", "thinking", "parallel", "ctx_size")

_HOW = (
    "Accuracies are means over problems, after averaging a problem's samples. Brackets are 95 % intervals. Those of "
    "shares are the BCa bootstrap's over problems, or Wilson's with the effective number of problems where fewer than "
    f"{statistics.FEW} problems have anything right (or anything wrong). Those of tokens, TPCA and exploration are the "
    "BCa bootstrap's, those of differences the paired t test's on the answers that both methods have: to the same "
    "problems, with the same seeds.",
    "p is two-sided and corrected after Holm over the comparisons of one table. A method is called better or worse "
    "only where the interval leaves zero out and the corrected p is below 0.05. Otherwise the study shows no "
    "difference, which is not to show that there is none.",
    "TPCA is all generated tokens over the number of correct answers. Exploration steps are those whose next input was "
    "not a plain token. Truncated answers were ended by the budget or by the context.",
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


def report_of(
    studies: Sequence[Study], baseline: str = "cot", *, plots: bool = True, resamples: int = statistics.RESAMPLES
) -> Report:
    """The report of one or several studies. plots: draw them (needs matplotlib). resamples: of the bootstrap."""
    summaries = [summarise(study, baseline, resamples=resamples) for study in studies]
    sections = [Section("Accuracy", tables=tuple(tables.main(summaries)))]
    titles = _titles(summaries)
    for title, study, summary in zip(titles, studies, summaries, strict=True):
        sections.append(_study(title, study, summary, resamples, plots))
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


def _study(title: str, study: Study, summary: Summary, resamples: int, plots: bool) -> Section:
    shown = [tables.differences(summary), tables.efficiency(summary)]
    shown += [tables.ablation(study, resamples), *tables.sweeps(study, summary)]
    return Section(
        title,
        tuple(sentences(summary)),
        tuple(one for one in shown if one is not None),
        tuple(plots_of(study, summary)) if plots else (),
    )
