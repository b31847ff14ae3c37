"""LM Studio's models: ``PUBLISHER/MODEL/FILE.gguf`` in its own folder, or in the one that its settings name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from selar_local.catalog.folders import gguf_files, home, unique
from selar_local.catalog.store import Store

_DEPTH = 4  # publisher, model, and what a person may have added
_LARGEST_SETTINGS = 1 << 20  # bytes


def lm_studio() -> Store:
    """The models by publisher/model."""
    folders: dict[str, dict[str, Path]] = {}
    for base in unique(_model_folders()):
        for path in gguf_files(base, _DEPTH):
            *parents, _ = path.relative_to(base).parts
            folder = "/".join(parents[:2])
            file = path.relative_to(base.joinpath(*parents[:2])).as_posix()
            folders.setdefault(folder, {}).setdefault(file, path)
    return Store("lmstudio", "LM Studio", folders)


def _model_folders() -> Iterator[Path | None]:
    """Of each place that LM Studio has had for its files: the folder that the settings name, and its own."""
    user = home()
    if user is None:
        return
    pointed = _text(user / ".lmstudio-home-pointer").strip()
    for base in ([Path(pointed)] if pointed else []) + [user / ".lmstudio", user / ".cache" / "lm-studio"]:
        try:
            settings = json.loads(_text(base / "settings.json"))
            yield Path(settings["downloadsFolder"])
        except (ValueError, TypeError, KeyError, RecursionError):  # no settings, or none that name a folder
            pass
        yield base / "models"


def _text(path: Path) -> str:
    """The text of a small file, "" where it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LARGEST_SETTINGS)
    except (OSError, ValueError):
        return ""
