"""The cache of the Hugging Face hub, read by its layout: ``models--owner--name/snapshots/COMMIT/FILE``.

It is read without huggingface_hub, which takes long to import and need not be installed. llama.cpp uses the layout too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.file_names import exact, missing_part, models_among, whole_models
from selar_local.catalog.folders import from_environment, gguf_files, home, items

_FOLDER = re.compile(r"models--(?P<owner>[\w.-]+?)--(?P<name>[\w.-]+)", re.ASCII)
_DEPTH = 3  # folders below a snapshot


def hub_folder() -> Path | None:
    """Where huggingface_hub keeps downloads."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := from_environment(variable):
            return folder
    if base := from_environment("HF_HOME"):
        return base / "hub"
    base = from_environment("XDG_CACHE_HOME") or ((user := home()) and user / ".cache")  # .cache on every system
    return base and base / "huggingface" / "hub"


def installed() -> Iterator[ModelEntry]:
    """The models in the cache."""
    folder = hub_folder()
    for repo in repositories(folder) if folder else ():
        for file, parts in whole_models(cached_files(folder, repo)).items():
            if entry := entry_of(f"hf:{repo}:{file}", "Hugging Face", parts):
                yield entry


def repositories(folder: Path) -> list[str]:
    """The repositories, as owner/name, that a folder of this layout has something of."""
    found = (_FOLDER.fullmatch(item.name) for item in items(folder))
    return [f"{match['owner']}/{match['name']}" for match in found if match]


def cached_files(folder: Path | None, repo: str) -> dict[str, Path]:
    """The GGUF files of a repository: path in it -> path here, each of the newest state that has it."""
    if folder is None:
        return {}
    base = folder / f"models--{repo.replace('/', '--')}"
    try:
        main = (base / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        main = ""
    states = [(item.name == main, _changed(item), Path(item.path)) for item in items(base / "snapshots")]
    return {
        path.relative_to(state).as_posix(): path for *_, state in sorted(states) for path in gguf_files(state, _DEPTH)
    }


def cached_exactly(folder: Path | None, repo: str, file: str) -> Path | None:
    """The first part of the model with this file, if all of it is in the cache."""
    files = cached_files(folder, repo)
    found = [parts for parts in exact(models_among(files), file) if missing_part(parts) is None]
    return files[found[0][0]] if len(found) == 1 else None


def _changed(item: os.DirEntry[str]) -> float:
    try:
        return item.stat().st_mtime
    except OSError:
        return 0.0
