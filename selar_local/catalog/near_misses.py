"""What may have been meant by a name that is no model."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from selar_local.catalog.bundled import BUNDLED
from selar_local.catalog.file_names import listed, models_among
from selar_local.catalog.installed import installed_models

_WEB = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)")
_OLLAMA = re.compile(r"[\w.-]+:[\w.-]+")
_FORMS = f"a GGUF file, hf:owner/repo, {', '.join(BUNDLED)}, or one that 'selar-local models' lists"


def near_misses(name: str) -> str:
    """Why there is no such model, and what may have been meant; one line."""
    if not name.strip():
        return f"the model's name is empty; name {_FORMS}"
    if web := _WEB.match(name):
        return f"'{name}' is a web address; say hf:{web[1]}"
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _in_folder(name, path)
        beside = sorted(item.name for item in path.parent.iterdir() if item.suffix.lower() == ".gguf")
    except (OSError, RuntimeError, ValueError):
        path, beside = Path(name), []
    meant = _file(path, beside) or _installed(name)
    if meant is not None:
        return f"there is no model '{name}'; did you mean '{meant}'?"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not name.lower().endswith(".gguf"):
        return f"there is no file '{name}'; a repository on Hugging Face is named hf:{name}"
    if _OLLAMA.fullmatch(name):
        return f"there is no model '{name}'; a model of Ollama is named ollama:{name}"
    return f"there is no model '{name}'; name {_FORMS}"


def _file(path: Path, beside: list[str]) -> str | None:
    """A file in the same folder, or a bundled name."""
    lowered = {item.lower(): item for item in reversed(beside)}
    wanted = path.name.lower()
    close = lowered.get(wanted + ".gguf") or lowered.get(wanted)
    if close is None:
        found = get_close_matches(wanted, [*lowered, *BUNDLED], n=1, cutoff=0.75)
        close = lowered.get(found[0], found[0]) if found else None
    return close if close is None or close in BUNDLED else str(path.with_name(close))


def _installed(name: str) -> str | None:
    """The name of a model on this machine that is this one with a prefix, or close to it."""
    known = {entry.name.lower(): entry.name for entry in installed_models()}
    bare = {lowered.partition(":")[2] or lowered: full for lowered, full in known.items()}
    wanted = name.lower()
    for one in (wanted, f"{wanted}:latest", f"{wanted}.gguf"):
        if one in bare:
            return bare[one]
    close = get_close_matches(wanted, [*known, *bare], n=1, cutoff=0.75)
    return known.get(close[0]) or bare[close[0]] if close else None


def _in_folder(name: str, folder: Path) -> str:
    models = models_among(item.name for item in folder.iterdir() if item.is_file())
    if not models:
        return f"'{name}' is a folder without a GGUF model"
    if len(models) == 1:
        return f"'{name}' is a folder; name the model in it: '{folder / models[0][0]}'"
    return f"'{name}' is a folder; name one of the models in it: {listed(parts[0] for parts in models)}"
