"""A report as Markdown: sentences and tables. The plots are in the HTML file."""

from __future__ import annotations

import re

from selar_local.evaluation.report.content import Report
from selar_local.evaluation.report.table import Table

__all__ = ["as_markdown"]

_NOTE = "The plots are in the HTML report: `selar-local report LOGS -o report.html`."
_SPECIAL = re.compile(r"([\\`*_\[\]#|~])")


def as_markdown(report: Report) -> str:
    """The report as GitHub's Markdown."""
    blocks = [f"# {_escaped(report.title)}", _NOTE]
    for section in report.sections:
        blocks.append(f"## {_escaped(section.title)}")
        if section.sentences:
            blocks.append("\n".join(f"- {_escaped(line)}" for line in section.sentences))
        blocks += [block for table in section.tables for block in _table(table)]
    return "\n\n".join(blocks) + "\n"


def _table(table: Table) -> list[str]:
    lines = [table.head, tuple("---" for _ in table.head)]
    rows = [
        "| " + " | ".join(map(_escaped, row) if row is not lines[1] else row) + " |" for row in [*lines, *table.rows]
    ]
    return [f"### {_escaped(table.title)}", "\n".join(rows), *([_escaped(table.note)] if table.note else [])]


def _escaped(text: str) -> str:
    """The text as it is read, on one line, whatever characters it has."""
    one_line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", one_line)
