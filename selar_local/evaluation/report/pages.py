"""A report as one HTML page that needs nothing else, or as GitHub's Markdown: the two templates beside this file."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from selar_local.evaluation.report.content import Report

_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


def as_html(report: Report) -> str:
    """The page. It escapes all texts; the plots come from `plots`, which escapes its own."""
    return _filled("page.html", report, autoescape=True)


def as_markdown(report: Report) -> str:
    """The report without its plots."""
    return _filled("page.md", report, autoescape=False, escaped=_escaped)


def _filled(template: str, report: Report, *, autoescape: bool, **filters: Callable[[str], Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=autoescape, undefined=StrictUndefined)
    environment.filters |= filters
    text = files("selar_local.evaluation.report").joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report) + "\n"


def _escaped(text: str) -> str:
    """The text as people read it, on one line, whatever characters it has."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", one_line)
