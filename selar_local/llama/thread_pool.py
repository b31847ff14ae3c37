"""llama.cpp's own pool of threads, for builds without OpenMP (macOS): made once instead of at every decode."""

from __future__ import annotations

import ctypes
from typing import Any

from selar_local.llama.ggml import symbol

_MAX_THREADS = 512  # GGML_MAX_N_THREADS


class _Params(ctypes.Structure):
    """``struct ggml_threadpool_params`` of ggml.h."""

    _fields_ = [
        ("cpumask", ctypes.c_bool * _MAX_THREADS),
        ("n_threads", ctypes.c_int),
        ("prio", ctypes.c_int),
        ("poll", ctypes.c_uint32),
        ("strict_cpu", ctypes.c_bool),
        ("paused", ctypes.c_bool),
    ]


class ThreadPool:
    """A pool attached to a context. Close it after the context."""

    def __init__(self, pool: int, free: Any) -> None:
        self._pool = pool
        self._free = free

    @classmethod
    def attach(cls, context: Any, threads: int) -> ThreadPool | None:
        """Make a pool with llama.cpp's default polling and attach it; None where the library has no such function."""
        init = symbol("ggml_threadpool_params_init", None, [ctypes.POINTER(_Params), ctypes.c_int])
        new = symbol("ggml_threadpool_new", ctypes.c_void_p, [ctypes.POINTER(_Params)])
        free = symbol("ggml_threadpool_free", None, [ctypes.c_void_p])
        attach = symbol("llama_attach_threadpool", None, [ctypes.c_void_p] * 3)
        if init is None or new is None or free is None or attach is None:
            return None
        params = _Params()
        init(ctypes.byref(params), threads)
        pool = new(ctypes.byref(params))
        if not pool:
            return None
        attach(context, pool, pool)
        return cls(pool, free)

    def close(self) -> None:
        """End its threads."""
        if self._pool:
            self._free(self._pool)
            self._pool = 0
