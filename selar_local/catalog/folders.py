"""Where programs keep their files, and what lies there. Folders that are missing or locked are empty."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path


def home() -> Path | None:
    """The user's home; None for a user without one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def from_environment(variable: str) -> Path | None:
    """The folder that an environment variable names; None where it is not set."""
    value = os.environ.get(variable, "").strip()
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError:  # the home of an unknown user
        return Path(value)


def cache_base() -> Path | None:
    """The folder of the user's caches, as the system has it."""
    if sys.platform == "win32":
        return from_environment("LOCALAPPDATA")
    if sys.platform != "darwin" and (xdg := from_environment("XDG_CACHE_HOME")):
        return xdg
    base = home()
    return base and base / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def items(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; hidden items are left out."""
    try:
        with os.scandir(folder) as found:
            return sorted((item for item in found if not item.name.startswith(".")), key=lambda item: item.name)
    except (OSError, ValueError):
        return []


def is_file(path: Path) -> bool:
    """Whether a file stands there that may be looked at."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def gguf_files(folder: Path, depth: int) -> Iterator[Path]:
    """The ``.gguf`` files in a folder and `depth` levels of folders below. Links are followed, loops are not."""
    seen: set[tuple[int, int]] = set()
    pending = [(folder, depth)]
    while pending:
        current, left = pending.pop()
        try:
            status = current.stat()
        except (OSError, ValueError):
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for item in items(current):
            try:
                if item.is_dir() and left:
                    pending.append((Path(item.path), left - 1))
                elif item.name.lower().endswith(".gguf") and item.is_file():
                    yield Path(item.path)
            except OSError:  # a link without an end
                continue


def unique(folders: Iterable[Path | None]) -> list[Path]:
    """The folders that are there, each once."""
    found: dict[Path, Path] = {}
    for folder in folders:
        try:
            if folder is not None and folder.is_dir():
                found.setdefault(folder.resolve(), folder)
        except (OSError, RuntimeError, ValueError):  # locked; a loop of links; a NUL character
            continue
    return list(found.values())
