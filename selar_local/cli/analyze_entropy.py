"""``selar-local analyze entropy``: where and how often traces explored, and the histogram of their entropies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from selar_local.analysis.entropy_plot import draw_entropies
from selar_local.analysis.entropy_statistics import PARTS, Count, EntropyStatistics, TraceEntropies, pooled
from selar_local.cli.display import Display
from selar_local.cli.grouped_help import GroupedCommand, json_option, option
from selar_local.cli.histogram import bin_counts, entropy_histogram
from selar_local.cli.plot_option import plot_option, require_plot
from selar_local.cli.streams import one_line, print_json
from selar_local.cli.wording import counted, valley_words
from selar_local.errors import SelarError
from selar_local.trace import Trace, load_trace

_EXAMPLES = """\b
Examples:
  selar-local run model.gguf -p "Why is the sky blue?" --trace sky.jsonl
  selar-local analyze entropy sky.jsonl
  selar-local analyze entropy traces/*.jsonl -o entropies.png
  selar-local analyze entropy sky.jsonl --json"""


@click.command("entropy", cls=GroupedCommand, epilog=_EXAMPLES, short_help="Entropies and exploration of traces.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
@plot_option
@option("-q", "--quiet", is_flag=True, help="the result alone: no notes")
def entropy(files: tuple[Path, ...], as_json: bool, output: Path | None, quiet: bool) -> int:
    """Show how sure the model was in the traces FILES (`run --trace`), and where it explored.

    It prints a histogram of the normalised entropies with its valley, and the share of exploration steps: of all steps,
    by place in the text, and by kind of token. It pools several traces, and prints a line for each.
    """
    require_plot(output)
    display = Display(quiet=quiet)
    found = pooled([_read(path) for path in files])
    if as_json:
        print_json(_as_dict(found))
    else:
        click.echo("\n".join(_page(found)))
    for note in _notes(found):
        display.note(note)
    if output is not None:
        draw_entropies(output, found)
        display.note(f"plot written to {output}")
    return 0


def _read(path: Path) -> Trace:
    if path.suffix == ".eval":
        raise SelarError(f"{path} is a log of an evaluation: selar-local report shows its entropies")
    return load_trace(path, str(path))


def _notes(found: EntropyStatistics) -> list[str]:
    """What the reader should know about the figures."""
    notes = []
    for trace in found.left_out:
        notes.append(
            f"{trace.name}: the entropies of {trace.method} are in {trace.unit}, so they are not in the histogram; "
            "the other figures include its steps"
        )
    if len({(trace.method, trace.tau) for trace in found.traces}) > 1:
        notes.append("the traces have several methods or thresholds: the figures for all steps mix them")
    if any(trace.gate_on == "filtered" for trace in found.traces) and found.valley.at is not None:
        notes.append(
            "the entropies are those after the filters (--gate-on filtered), which make gaps of their own: "
            "selar-local calibrate looks for the valley before the filters"
        )
    broken = [trace.name for trace in found.traces if not trace.finished]
    if broken:
        notes.append(f"incomplete, used as far as they go: {', '.join(broken)}")
    return [one_line(note) for note in notes]


def _page(found: EntropyStatistics) -> list[str]:
    lines = [*_histogram(found), *_sentences(found), "", *_table("place", _by_part(found), found.all.steps)]
    classes = {name: count for name, count in found.by_class.items() if count.steps}
    lines += ["", *_table("kind of token", classes, found.all.steps)]
    if len(found.traces) > 1:
        lines += ["", *map(_line_of, found.traces)]
    return lines


def _by_part(found: EntropyStatistics) -> dict[str, Count]:
    width = 100 // PARTS
    return {f"{i * width:>2}-{(i + 1) * width} %": count for i, count in enumerate(found.by_part)}


def _histogram(found: EntropyStatistics) -> list[str]:
    if not len(found.entropies):
        return []
    marks = [(tau, f"tau {tau:g}") for tau in found.taus]
    if found.valley.at is not None:
        marks.append((found.valley.at, f"valley {found.valley.at:.2f}"))
    return [*entropy_histogram(found.entropies, marks), ""]


def _sentences(found: EntropyStatistics) -> list[str]:
    every, n = found.all, len(found.traces)
    lines = [
        f"{every.steps:,} steps of {counted(n, 'trace')}, {every.explored:,} of them exploration steps: "
        f"{_percent(every.share)}"
    ]
    if not len(found.entropies):
        return [*lines, "the methods of these traces report no normalised entropies"]
    mean = f"mean normalised entropy {found.entropies.mean():.3f}"
    if found.reached is not None:
        taus = ", ".join(f"{tau:g}" for tau in found.taus)
        mean += f"; {_percent(found.reached / len(found.entropies))} of steps reach tau {taus}"
    lines.append(mean)
    valley = found.valley
    if valley.at is None:
        return [*lines, f"no valley: {valley.reason}"]
    return [*lines, valley_words(valley.at, valley.low, valley.high, valley.depth)]


def _table(heading: str, rows: dict[str, Count], steps: int) -> list[str]:
    """Steps, their share of all, how many explored, and their mean entropy."""
    width = max(len(heading), *map(len, rows))
    lines = [f"{heading:<{width}}  {'steps':>9}  {'of all':>7}  {'explored':>9}  {'share':>7}  entropy"]
    for name, count in rows.items():
        entropy = "" if count.mean_entropy is None else f"{count.mean_entropy:.3f}"
        lines.append(
            f"{name:<{width}}  {count.steps:>9,}  {_percent(count.steps / steps):>7}  {count.explored:>9,}  "
            f"{_percent(count.share):>7}  {entropy:>7}".rstrip()
        )
    return lines


def _line_of(trace: TraceEntropies) -> str:
    count = trace.count
    tau = "" if trace.tau is None else f" tau {trace.tau:g}"
    line = f"{trace.name}: {trace.method}{tau}, {count.steps:,} steps, {_percent(count.share)} exploration steps"
    if count.mean_entropy is not None:
        line += f", mean entropy {count.mean_entropy:.3f}{'' if trace.normalised else f' {trace.unit}'}"
    return one_line(line)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _as_dict(found: EntropyStatistics) -> dict[str, Any]:
    valley = found.valley
    return {
        "steps": found.all.steps,
        "explored": found.all.explored,
        "explored_share": found.all.share,
        "entropies": len(found.entropies),
        "mean_entropy": float(found.entropies.mean()) if len(found.entropies) else None,
        "histogram": bin_counts(found.entropies),
        "tau": list(found.taus),
        "reach_tau": found.reached,
        "valley": {
            "at": valley.at, "low": valley.low, "high": valley.high, "depth": valley.depth,
            "p_value": valley.p_value, "floor": valley.floor, "above_floor": valley.torn, "reason": valley.reason,
        },
        "by_place": [
            {"from": i / PARTS, "to": (i + 1) / PARTS, **_count(count)} for i, count in enumerate(found.by_part)
        ],
        "by_class": {name: _count(count) for name, count in found.by_class.items()},
        "traces": [
            {
                "file": trace.name, "method": trace.method, "tau": trace.tau, "entropy_unit": trace.unit,
                "in_histogram": trace.normalised, "finished": trace.finished, **_count(trace.count),
            }
            for trace in found.traces
        ],
    }  # fmt: skip


def _count(count: Count) -> dict[str, Any]:
    return {
        "steps": count.steps, "explored": count.explored, "explored_share": count.share,
        "mean_entropy": count.mean_entropy,
    }  # fmt: skip
