"""selar-local: selective latent reasoning for GGUF models, through llama.cpp.

import selar_local as sl
with sl.load("model.gguf") as engine:
    for event in engine.stream("Why is the sky blue?", method=sl.Selar(tau=0.5)):
        print(event.text, end="", flush=True)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from selar_local import errors
from selar_local._version import __version__
from selar_local.config import EngineConfig, from_mapping
from selar_local.engine.events import Result, TokenEvent
from selar_local.errors import SelarError
from selar_local.methods import Coconut, CoT, CoTGreedy, Method, Selar, SoftThinking, SwiReasoning

if TYPE_CHECKING:
    from selar_local.engine.engine import Engine
    from selar_local.engine.stream import Stream

__all__ = [
    "CoT",
    "CoTGreedy",
    "Coconut",
    "Engine",
    "Method",
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
]


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    on_progress: Callable[[float], None] | None = None,
    **options: Any,
) -> Engine:
    """Open a model and return the `Engine`, ready to generate.

    model: a path, ``hf:owner/repo[:file-or-quant]``, a bundled name, or None for the bundled default.
    options: the fields of `EngineConfig` (ctx_size, gpu_layers, threads, cache_type_k, cache_type_v,
    flash_attn, batch_size, mmap, mlock, check_tensors, parallel). on_progress: called in this thread with
    the loaded share, 0 to 1.

    Raises ModelNotFound, ModelFileError, UnsupportedModel, MissingExtra, OptionError.
    """
    from selar_local.catalog import resolve
    from selar_local.engine.engine import Engine

    config = from_mapping(EngineConfig, options)
    return Engine(resolve(model), config, on_progress=on_progress)


def __getattr__(name: str) -> Any:
    # llama.cpp is loaded with the first engine, not with the import of the package.
    if name == "Engine":
        from selar_local.engine.engine import Engine

        return Engine
    if name == "Stream":
        from selar_local.engine.stream import Stream

        return Stream
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
