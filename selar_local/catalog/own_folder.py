"""The folder of models that is selar-local's own: ``$SELAR_LOCAL_MODELS``, else ``models`` in its cache."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

from selar_local.cache import cache_dir
from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.file_names import exact, missing_part, models_among, whole_models
from selar_local.catalog.folders import from_environment, gguf_files

_DEPTH = 3


def models_folder() -> Path | None:
    """The folder, which need not exist; None for a user without a home."""
    if own := from_environment("SELAR_LOCAL_MODELS"):
        return own
    try:
        return cache_dir() / "models"
    except RuntimeError:
        return None


def find(name: str) -> Path | None:
    """The (first) file of the model with this path in the folder, or this file name; None where there is none."""
    files = _files()
    found = [parts for parts in exact(models_among(files), name) if missing_part(parts) is None]
    return files[found[0][0]] if len(found) == 1 else None


def installed(but: Set[str] = frozenset()) -> Iterator[ModelEntry]:
    """The models in the folder, named by their path in it. but: files that are listed otherwise."""
    for file, parts in whole_models(_files()).items():
        if file not in but and (entry := entry_of(file, "models folder", parts)):
            yield entry


def _files() -> dict[str, Path]:
    folder = models_folder()
    return {path.relative_to(folder).as_posix(): path for path in gguf_files(folder, _DEPTH)} if folder else {}
