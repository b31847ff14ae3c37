"""Traces: every step of a run as JSON Lines. What writes them, and what reads them."""

from selar_local.trace.records import read_trace
from selar_local.trace.trace import Step, Trace, load_trace
from selar_local.trace.writer import TraceRecorder, TraceWriter

__all__ = ["Step", "Trace", "TraceRecorder", "TraceWriter", "load_trace", "read_trace"]
