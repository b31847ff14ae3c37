"""Models of another program, named by a folder and, where that has several, a file: ``scheme:folder[:file]``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.file_names import choose, exact, listed, models_among, require_whole, whole_models
from selar_local.errors import ModelNotFound


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
