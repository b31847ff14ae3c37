"""The trace page: one HTML file that needs nothing else, made of the files in this folder."""

from selar_local.analysis.page.document import trace_page

__all__ = ["trace_page"]
