"""What the page says about a trace as a whole: a line of its table, and all the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from selar_local.errors import OptionError
from selar_local.methods import METHODS, Method
from selar_local.trace import Trace

#: Of the table, after the trace's own name.
COLUMNS = ("method", "options", "tokens", "exploration steps", "mean entropy", "tokens/s", "ended by")
_NONE = "–"


def method_of(trace: Trace) -> Method | None:
    """The method with the options of the trace; None where this version does not know it, or a value of an option."""
    cls = METHODS.get(trace.method)
    if cls is None:
        return None
    known = {field.name for field in fields(cls)}
    try:
        return cls(**{name: value for name, value in trace.options.items() if name in known})
    except (OptionError, TypeError):
        return None


def line(trace: Trace, entropies: Sequence[float | None], *, computed: bool = False) -> list[str]:
    """The cells of `COLUMNS`. computed: the method has no entropies; these were computed from its candidates."""
    count, end = len(trace.steps), trace.end or {}
    explored = sum(step.explored for step in trace.steps)
    return [
        trace.method or _NONE,
        _options(trace),
        str(count),
        f"{explored} ({100 * explored / count:.1f} %)" if count else "0",
        _mean([value for value in entropies if value is not None], "computed" if computed else trace.unit),
        _speed(end, count),
        str(end["finish_reason"]) if "finish_reason" in end else "the file breaks off",
    ]


def all_facts(trace: Trace) -> list[tuple[str, str]]:
    """Names and values: the file, the model (without its folder), options, sampling, times."""
    return [(name, value) for name, value in _facts(trace) if value]


def _facts(trace: Trace) -> Iterator[tuple[str, str]]:
    model, end = trace.model, trace.end or {}
    path = model.get("path")
    yield "file", trace.name
    yield "selar-local", _shown(trace.run.get("version"))
    # People pass pages on: they must not show the folders of the machine.
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
    """The options that the method always shows, and those that are not at their defaults."""
    method = method_of(trace)
    defaults: dict[str, Any] = {}
    if method is not None:
        defaults = {**method.removed_options, **{field.name: field.default for field in fields(method)}}
    always = () if method is None else method.always_shown
    shown = [
        f"{name.replace('_', ' ')} {_shown(value, absent=_NONE)}"
        for name, value in trace.options.items()
        if name in always or name not in defaults or value != defaults[name]
    ]
    return ", ".join(shown) or _NONE


def _mean(values: Sequence[float], kind: str) -> str:
    """kind: the unit, or "computed"."""
    note = {"normalised": "", "computed": " (computed)"}.get(kind, f" {kind}")
    return f"{sum(values) / len(values):.3f}{note}" if values else _NONE


def _speed(end: dict[str, Any], count: int) -> str:
    seconds = end.get("decode_seconds")
    return f"{count / seconds:.1f}" if isinstance(seconds, (int, float)) and seconds > 0 and count else _NONE


def _shown(value: Any, absent: str = "") -> str:
    if value is None:
        return absent
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
