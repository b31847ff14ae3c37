"""llama-cpp-python, imported in one place: OpenMP reads how its threads wait when the library is loaded.

llama.cpp's threads meet at a barrier several hundred times a step. GCC's OpenMP spins there for some milliseconds, as
shipped: where another program has a core, the threads that spin hold up the one that has no core. A shorter spin
costs nothing on an idle machine; on a busy one `thread_waiting` shortens it further (docs/BENCHMARKS.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["SPIN", "WAITING_SET_BY_USER", "C", "binding_version"]

#: Rounds that a thread spins at a barrier before it sleeps.
SPIN = 30_000
_VARIABLES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
#: Whether the user has chosen how threads wait: then nothing here changes it.
WAITING_SET_BY_USER = any(name in os.environ for name in _VARIABLES)

# ggml reads it when it aborts; without it an abort would start gdb and hang.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")


@contextmanager
def _short_spin() -> Iterator[None]:
    """Only while the library is loaded: other libraries and child processes see the environment as it was."""
    if WAITING_SET_BY_USER:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPIN)
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


with _short_spin():
    from llama_cpp import __version__ as binding_version
    from llama_cpp import llama_cpp as C
