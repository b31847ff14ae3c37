"""The cache of llama.cpp's own programs (``llama-server -hf owner/repo``)."""

from __future__ import annotations

import re
from pathlib import Path

from selar_local.catalog.folders import cache_base, from_environment, gguf_files, items
from selar_local.catalog.hub_cache import cached_files, repositories
from selar_local.catalog.store import Store

_MANIFEST = re.compile(r"manifest=([\w.-]+)=([\w.-]+)=[^=]+\.json", re.ASCII)


def llama_cpp_cache() -> Store:
    """The models by owner/repo, as far as the cache says where a file is from.

    Older versions write ``owner_repo_FILE.gguf``, and ``manifest=owner=repo=TAG.json`` for each download. Newer ones
    use the hub's cache, or its layout where LLAMA_CACHE names a folder.
    """
    base = cache_base()
    folder = from_environment("LLAMA_CACHE") or (base and base / "llama.cpp")
    if folder is None:
        return Store("llamacpp", "llama.cpp", {})
    repos = {f"{match[1]}/{match[2]}" for item in items(folder) if (match := _MANIFEST.fullmatch(item.name))}
    folders: dict[str, dict[str, Path]] = {repo: cached_files(folder, repo) for repo in repositories(folder)}
    for path in gguf_files(folder, 0):
        owner = max((repo for repo in repos if path.name.startswith(_prefix(repo))), key=len, default="")
        folders.setdefault(owner, {})[path.name.removeprefix(_prefix(owner) if owner else "")] = path
    return Store("llamacpp", "llama.cpp", folders)


def _prefix(repo: str) -> str:
    return repo.replace("/", "_") + "_"
