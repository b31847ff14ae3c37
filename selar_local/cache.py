"""Small facts about model files (hashes, results of checks), kept from run to run.

One JSON file per key. Nothing here may fail a run: a cache that cannot be read or written is an empty one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selar_local.errors import ModelFileError, ModelNotFound

_BLOCK = 1 << 20  # bytes hashed between two looks at ``cancelled``


def cache_dir() -> Path:
    """Where the facts lie: ``$SELAR_LOCAL_CACHE``, else ``selar-local`` in the user's cache folder.

    The folder need not exist. Raises `RuntimeError` for a user without a home.
    """
    if own := os.environ.get("SELAR_LOCAL_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        base = Path(local) if local else Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        base = Path(xdg) if Path(xdg).is_absolute() else Path.home() / ".cache"  # relative: invalid by XDG
    return base / "selar-local"


def file_key(path: Path, *more: str) -> str:
    """A key for facts about this very file: by real path, size, time of change and ``more``.

    Raises `ModelNotFound` where there is no such file.
    """
    try:
        real = path.resolve(strict=True)
        status = real.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise ModelNotFound(f"cannot look at {path}: {reason}") from error
    facts = json.dumps([str(real), status.st_size, status.st_mtime_ns, *more])
    return hashlib.sha256(facts.encode("utf-8", "surrogateescape")).hexdigest()


def read(key: str) -> dict[str, Any] | None:
    """What `write` kept under this key; None if there is nothing, or nothing sound."""
    try:
        value = json.loads(_entry(key).read_bytes())
    except (OSError, RuntimeError, ValueError):  # RuntimeError: no home; nested too deep
        return None
    return value if isinstance(value, dict) else None


def write(key: str, value: dict[str, Any]) -> None:
    """Keeps a value of JSON types, by atomic replacement. Failures are silent."""
    with suppress(OSError, RuntimeError, TypeError, ValueError):
        text = json.dumps(value)
        entry = _entry(key)
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".new-", dir=entry.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            part.replace(entry)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def sha256_of(path: Path, *, cancelled: Callable[[], bool] = bool) -> str:
    """The SHA-256 of a file in hex; hashed once per path, size and time of change.

    cancelled: asked between blocks of the file. Raises `InterruptedError` once it is true, `ModelNotFound` or
    `ModelFileError` where the file is missing or cannot be read.
    """
    key = file_key(path, "sha256")
    kept = (read(key) or {}).get("sha256")
    if isinstance(kept, str) and re.fullmatch("[0-9a-f]{64}", kept):
        return kept
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while (block := file.read(_BLOCK)) and not cancelled():
                digest.update(block)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    if cancelled():
        raise InterruptedError("hashing was cancelled")
    if file_key(path, "sha256") == key:  # else it was written to meanwhile
        write(key, {"sha256": digest.hexdigest()})
    return digest.hexdigest()


def _entry(key: str) -> Path:
    """The file of a key; keys that would not do as file names are hashed."""
    name = key if re.fullmatch(r"[\w-]{1,100}", key, re.ASCII) else hashlib.sha256(key.encode()).hexdigest()
    return cache_dir() / f"{name}.json"
