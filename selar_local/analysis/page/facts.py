"""What the page says of a trace as a whole: a line of its table, and all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from selar_local.analysis.mixtures import method_of
from selar_local.analysis.traces import Step, Trace
from selar_local.methods import METHODS, Selar

__all__ = ["COLUMNS", "all_facts", "line"]

#: Of the table, after the trace's own name.
COLUMNS = ("method", "options", "tokens", "exploration steps", "mean entropy", "tokens/s", "ended by")
_ALWAYS_SHOWN = {Selar.name: ("tau", "k")}
_NONE = "–"


def line(trace: Trace, computed: Sequence[float | None] | None) -> list[str]:
    """The cells of `COLUMNS`. computed: entropies that stand in for those that the method does not have."""
    steps, end = trace.steps, trace.end or {}
    explored = sum(step.explored for step in steps)
    share = f"{explored} ({100 * explored / len(steps):.1f} %)" if steps else "0"
    return [
        trace.method or _NONE,
        _options(trace),
        str(len(steps)),
        share,
        _mean_entropy(steps, trace.unit, computed),
        _speed(end, len(steps)),
        str(end["finish_reason"]) if "finish_reason" in end else "the file breaks off",
    ]


def all_facts(trace: Trace) -> list[tuple[str, str]]:
    """Names and values: the file, the model (without the folder it lies in), options, sampling, times."""
    return [(name, value) for name, value in _facts(trace) if value]


def _facts(trace: Trace) -> Iterator[tuple[str, str]]:
    model, end = trace.model, trace.end or {}
    path = model.get("path")
    yield "file", trace.name
    yield "selar-local", _shown(trace.run.get("version"))
    # Pages are passed on: the folders of the machine they were made on are nobody's business.
    file = PurePath(path.replace("\\", "/")).name if isinstance(path, str) else ""
    yield "model", _shown(model.get("name")) or file
    yield "model file", file if model.get("name") else ""
    yield "architecture", _shown(model.get("description") or model.get("architecture"))
    yield "SHA-256", _shown(model.get("sha256"))
    yield "context", _shown(model.get("ctx_size"))
    yield "threads", _shown(model.get("threads"))
    yield "prompt tokens", str(len(trace.prompt))
    for name, value in (*trace.options.items(), *trace.sampling.items()):
        yield name.replace("_", " "), _shown(value, absent=_NONE)
    for name, label in (("prefill_seconds", "prompt read in"), ("decode_seconds", "text written in")):
        if isinstance(end.get(name), (int, float)):
            yield label, f"{end[name]:.2f} s"
    yield "latent steps", _shown(end.get("latent_steps"))


def _options(trace: Trace) -> str:
    """Those that say most, and those that are not the default."""
    method = method_of(trace.method, trace.options)
    cls = METHODS.get(trace.method)
    defaults: dict[str, Any] = {}
    if cls is not None and method is not None:
        defaults = {**cls.removed_options, **{field.name: field.default for field in fields(cls)}}
    always = _ALWAYS_SHOWN.get(trace.method, ())
    told = [
        f"{name.replace('_', ' ')} {_shown(value, absent=_NONE)}"
        for name, value in trace.options.items()
        if name in always or name not in defaults or value != defaults[name]
    ]
    return ", ".join(told) or _NONE


def _mean_entropy(steps: Sequence[Step], unit: str, computed: Sequence[float | None] | None) -> str:
    entropies = [step.entropy for step in steps if step.entropy is not None]
    if entropies:
        return f"{sum(entropies) / len(entropies):.3f}" + ("" if unit == "normalised" else f" {unit}")
    values = [value for value in computed or () if value is not None]
    return f"{sum(values) / len(values):.3f} (computed)" if values else _NONE


def _speed(end: dict[str, Any], count: int) -> str:
    seconds = end.get("decode_seconds")
    return f"{count / seconds:.1f}" if isinstance(seconds, (int, float)) and seconds > 0 and count else _NONE


def _shown(value: Any, absent: str = "") -> str:
    if value is None:
        return absent
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
