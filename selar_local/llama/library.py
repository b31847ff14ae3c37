"""llama.cpp itself: loaded once, its log sent to Python's logging, its abort kept from starting a debugger."""

from __future__ import annotations

import collections
import ctypes
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selar_local.config import LLAMA_LOG
from selar_local.llama.native import C, binding_version

__all__ = [
    "C",
    "binding_version",
    "can_offload",
    "listening",
    "recent_errors",
    "repacking_is_safe",
    "start",
    "system_info",
    "uses_openmp",
]

logger = logging.getLogger(LLAMA_LOG)

# ggml_log_level: 1 debug, 2 info, 3 warning, 4 error, 5 the line before goes on
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR}
_GGML_CONTINUE = 5
_lock = threading.Lock()
_started = False
_errors: collections.deque[str] = collections.deque(maxlen=8)
_last_level = logging.DEBUG
_listeners: dict[int, list[str]] = {}


@C.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _user_data: Any) -> None:
    """llama.cpp's log line -> logging. Its INFO is our DEBUG: nobody asked for it."""
    global _last_level
    line = text.decode("utf-8", errors="replace").rstrip()
    if level != _GGML_CONTINUE:
        _last_level = _LEVELS.get(level, logging.DEBUG)
    if line and line != ".":
        if (heard := _listeners.get(threading.get_ident())) is not None:
            heard.append(line)
        if _last_level >= logging.ERROR:
            _errors.append(line)
        # Also its errors go out at WARNING: what matters is raised as an exception that quotes them.
        logger.log(min(_last_level, logging.WARNING), "%s", line)


def start() -> None:
    """Initialise llama.cpp, once per process. Every call takes its log and clears the remembered error lines."""
    global _started
    with _lock:
        if not _started:
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
                logger.propagate = True
            C.llama_backend_init()
            _started = True
        # There is one log in a process, and another user of llama.cpp may have taken it since the last call.
        C.llama_log_set(_log, ctypes.c_void_p(0))
        _errors.clear()


@contextmanager
def listening() -> Iterator[list[str]]:
    """Within: all lines that llama.cpp logs in this thread."""
    heard = _listeners[threading.get_ident()] = []
    try:
        yield heard
    finally:
        del _listeners[threading.get_ident()]


def recent_errors() -> str:
    """The most telling of llama.cpp's last error lines, without its function-name prefix; "" when it said nothing."""
    for line in _errors.copy():  # another thread may be loading
        text = line.split(": ", 1)[-1].strip()
        if text and "failed to load model" not in text.lower():
            return text
    return ""


def can_offload() -> bool:
    """Whether this build of llama.cpp can put layers on a GPU that is there."""
    return bool(C.llama_supports_gpu_offload())


def system_info() -> str:
    """llama.cpp's own line about the instruction sets and backends it was built with."""
    return str(C.llama_print_system_info().decode("utf-8", errors="replace")).strip(" |\n")


def uses_openmp() -> bool:
    """Whether OpenMP runs the threads of this build, instead of llama.cpp's own pool."""
    return "OPENMP = 1" in system_info()


def repacking_is_safe() -> bool:
    """False where this build multiplies with AMX: GCC 12 and older drop most of its tile configuration.

    (Their ``_tile_loadconfig`` declares 8 of the 64 bytes it reads; the first batch of several tokens on
    quantised weights then kills the process.) Only server CPUs have AMX; without repacking it is not used.
    """
    return "AMX_INT8 = 1" not in system_info()
