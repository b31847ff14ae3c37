"""Reports of studies: the paper's tables and plots in one HTML file that opens offline, or as Markdown."""

from selar_local.evaluation.report.content import Report, report_of
from selar_local.evaluation.report.pages import as_html, as_markdown

__all__ = ["Report", "as_html", "as_markdown", "report_of"]
