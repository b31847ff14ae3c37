"""Models of another program, named by a folder and, where that has several, a file: ``scheme:folder[:file]``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.file_names import choose, exact, listed, models_among, require_whole, whole_models
from selar_local.catalog.folders import cache_base, from_environment, gguf_files, home, items, unique
from selar_local.catalog.hub_cache import cached_files, repositories
from selar_local.errors import ModelNotFound

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


@dataclass(frozen=True)
class Store:
    """GGUF files of one program. folders: by name the files by their path in it; "" has files of no folder."""

    scheme: str
    program: str
    folders: Mapping[str, Mapping[str, Path]]

    def installed(self) -> Iterator[ModelEntry]:
        """The models, by names that `find` takes."""
        for folder, files in self.folders.items():
            alone = folder and len(models_among(files)) == 1
            for file, parts in whole_models(files).items():
                name = folder if alone else f"{folder}:{file}" if folder else file
                if entry := entry_of(f"{self.scheme}:{name}", self.program, parts):
                    yield entry

    def find(self, reference: str) -> Path:
        """The (first) file of ``scheme:folder[:file-or-quant]`` or ``scheme:file``. Raises ModelNotFound."""
        text = reference.removeprefix(f"{self.scheme}:")
        loose = self.folders.get("", {})
        if found := exact(models_among(loose), text):
            return loose[require_whole(text, found[0])[0]]
        name, _, wanted = text.partition(":")
        folder = next((known for known in self.folders if known and known.lower() == name.lower()), None)
        if folder is None:
            raise ModelNotFound(self._near_misses(text))
        files = self.folders[folder]
        parts = choose(f"{self.scheme}:{folder}", files, wanted or None)
        return files[require_whole(folder, parts)[0]]

    def _near_misses(self, text: str) -> str:
        names = [name for name in self.folders if name] + list(self.folders.get("", ()))
        if not names:
            return f"there is no model of {self.program}'s on this machine"
        close = get_close_matches(text.partition(":")[0], names, n=1, cutoff=0.6)
        if close:
            return f"{self.program} has no model '{text}'; did you mean '{self.scheme}:{close[0]}'?"
        return f"{self.program} has no model '{text}'; it has: {listed(sorted(names))}"
