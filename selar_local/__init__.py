"""selar-local: selective latent reasoning for GGUF models, through llama.cpp.

import selar_local as sl
with sl.load("model.gguf") as engine:
    for event in engine.stream("Why is the sky blue?", method=sl.Selar(tau=0.5)):
        print(event.text, end="", flush=True)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, overload

from selar_local import errors
from selar_local._version import __version__
from selar_local.errors import SelarError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from selar_local.engine.async_stream import AsyncStream
    from selar_local.engine.conversation import Conversation
    from selar_local.engine.engine import Engine
    from selar_local.engine.events import Logprobs, Result, TokenEvent
    from selar_local.engine.isolated import IsolatedEngine
    from selar_local.engine.request_options import EngineOptions
    from selar_local.engine.stream import Stream
    from selar_local.methods import Coconut, CoT, CoTGreedy, Method, MoI, Multiplex, Selar, SoftThinking, SwiReasoning

__all__ = [
    "AsyncStream",
    "CoT",
    "CoTGreedy",
    "Coconut",
    "Conversation",
    "Engine",
    "IsolatedEngine",
    "Logprobs",
    "Method",
    "MoI",
    "Multiplex",
    "Result",
    "Selar",
    "SelarError",
    "SoftThinking",
    "Stream",
    "SwiReasoning",
    "TokenEvent",
    "__version__",
    "errors",
    "load",
    "run_child_if_asked",
]

#: Where the other names are. They are imported with their first use: NumPy and llama.cpp take time to load.
_MODULES = {
    "AsyncStream": "selar_local.engine.async_stream",
    "Conversation": "selar_local.engine.conversation",
    "Engine": "selar_local.engine.engine",
    "IsolatedEngine": "selar_local.engine.isolated",
    "Logprobs": "selar_local.engine.events",
    "Result": "selar_local.engine.events",
    "Stream": "selar_local.engine.stream",
    "TokenEvent": "selar_local.engine.events",
    **dict.fromkeys(
        ("CoT", "CoTGreedy", "Coconut", "Method", "MoI", "Multiplex", "Selar", "SoftThinking", "SwiReasoning"),
        "selar_local.methods",
    ),
}
_SUBMODULES = ("config", "methods")


@overload
def load(
    model: str | os.PathLike[str] | None = ...,
    *,
    on_progress: Callable[[float], None] | None = ...,
    isolated: Literal[False] = ...,
    **options: Unpack[EngineOptions],
) -> Engine: ...


@overload
def load(
    model: str | os.PathLike[str] | None = ...,
    *,
    on_progress: Callable[[float], None] | None = ...,
    isolated: Literal[True],
    **options: Unpack[EngineOptions],
) -> IsolatedEngine: ...


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
    isolated: bool = False,
    **options: Unpack[EngineOptions],
) -> Engine | IsolatedEngine:
    """Open a model and return the `Engine`, ready to generate.

    model: a path, ``hf:owner/repo[:file-or-quant]``, a name that ``selar-local models`` lists (such as
    ``ollama:qwen3:8b``), or None for the bundled default.
    isolated: run llama.cpp in a process of its own, so that native code that dies does not take this one along.
    options: the fields of `EngineConfig` (ctx_size, gpu_layers, device, rpc, threads, cache_type_k, cache_type_v,
    flash_attn, batch_size, mmap, mlock, repack, check_tensors, parallel, queue_size, prompt_cache, reuse_answers).
    on_progress: called in this thread with the loaded share, 0 to 1.

    An engine that nobody has any more is closed by itself; `close`, or ``with``, does it at a place of your choice.

    Raises ModelNotFound, ModelFileError, UnsupportedModel, MissingExtra, OptionError; isolated also EngineCrashed,
    and WorkerUnavailable where a worker of ``rpc`` does not answer.
    """
    from selar_local.catalog import resolve
    from selar_local.config import EngineConfig, from_mapping

    config = from_mapping(EngineConfig, options)
    if config.rpc and not isolated:
        raise errors.OptionError("rpc needs isolated=True: llama.cpp ends its process when a worker is lost")
    if isolated:
        from selar_local.engine.isolated import IsolatedEngine

        return IsolatedEngine(resolve(model), config, on_progress=on_progress)
    from selar_local.engine.engine import Engine

    return Engine(resolve(model), config, on_progress=on_progress)


def run_child_if_asked() -> None:
    """First line of a frozen app (PyInstaller) that loads ``isolated``: the app itself is started as the child.

    Elsewhere, and in the app proper, it does nothing.
    """
    if sys.argv[1:2] == ["--selar-local-child"]:
        from selar_local.engine.child import main

        main()
        sys.exit(0)
    if sys.argv[1:2] == ["--selar-local-probe"]:
        from selar_local.llama.probe_process import main as probe

        probe(sys.argv[2])


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBMODULES})
