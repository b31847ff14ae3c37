"""What the names of GGUF files say: which files are one model, and which model a person means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeVar

from selar_local.errors import ModelNotFound

T = TypeVar("T")

_PART = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
_NOT_A_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)  # projectors and statistics also come as GGUF
_QUANTISATION = re.compile(
    r"(?<![A-Z0-9])(?:IQ[1-9]_[A-Z]+|T?Q[1-9](?:_(?:[01KLMS]|XX?[LS]))+|BF16|F(?:16|32)|(?:MX|NV)FP4(?:_MOE)?)(?![A-Z0-9])",
    re.IGNORECASE,
)
_PARAMETERS = re.compile(r"(?<![A-Z0-9.])\d+(?:\.\d+)?[BM](?:-A\d+(?:\.\d+)?B)?(?![A-Z0-9])", re.IGNORECASE)
_PREFERRED = ("Q4_K_M", "Q8_0")
_SHOWN = 8  # choices named in an error


def models_among(files: Iterable[str]) -> list[list[str]]:
    """The models among these files, each as its parts in order. Paths have forward slashes."""
    models: dict[str, list[str]] = {}
    for file in sorted(files):
        if file.lower().endswith(".gguf") and not _NOT_A_MODEL.search(PurePosixPath(file).name):
            part = _PART.fullmatch(file)
            models.setdefault(f"{part['stem']}/{part['parts']}" if part else file, []).append(file)
    return list(models.values())


def whole_models(files: Mapping[str, T]) -> dict[str, list[T]]:
    """The models that have all their parts. files: values by path; the result has all parts' values under the first."""
    models = [parts for parts in models_among(files) if missing_part(parts) is None]
    return {parts[0]: [files[part] for part in parts] for parts in models}


def missing_part(parts: list[str]) -> str | None:
    """The first part that a split model lacks."""
    part = _PART.fullmatch(parts[0])
    names = {file.lower() for file in parts}
    if part is None:
        return None
    wanted = (f"{part['stem']}-{i:05d}-of-{part['parts']}.gguf" for i in range(1, int(part["parts"]) + 1))
    return next((name for name in wanted if name.lower() not in names), None)


def require_whole(name: str, parts: list[str]) -> list[str]:
    """The parts. Raises ModelNotFound where one is missing. name: of the model."""
    if missing := missing_part(parts):
        raise ModelNotFound(f"{name} is incomplete: it lacks {missing}")
    return parts


def first_part(path: Path) -> Path:
    """The first part of a split model, of which `path` may be any part. Raises `ModelNotFound` where it is missing."""
    part = _PART.fullmatch(path.name)
    if part is None or part["part"] == "00001":
        return path
    first = path.with_name(f"{part['stem']}-00001-of-{part['parts']}{path.suffix}")
    if not first.exists():
        raise ModelNotFound(f"'{path}' is a part of a split model; its first part, {first.name}, is not beside it")
    return first


def choose(folder: str, files: Iterable[str], wanted: str | None) -> list[str]:
    """The parts of the model meant by ``wanted``: a file's name, a quantisation's, None for the usual.

    folder: the reference of what the files are in, such as ``hf:owner/repo``. Raises `ModelNotFound`.
    """
    models = models_among(files)
    name = folder.partition(":")[2]
    if not models:
        more = "; look for a repository whose name ends in -GGUF" if folder.startswith("hf:") else ""
        raise ModelNotFound(f"{name} has no GGUF model{more}")
    if wanted is None:
        found = next((fit for quant in _PREFERRED if (fit := _matching(models, quant))), models)
        fits = f"{name} has several models"
    else:
        found = exact(models, wanted) or _matching(models, wanted)
        fits = f"several models in {name} fit '{wanted}'"
        if not found:
            raise ModelNotFound(f"{name} has no model '{wanted}'; it has: {listed(parts[0] for parts in models)}")
    if len(found) > 1:
        raise ModelNotFound(f"{fits}; say {folder}:FILE with one of: {listed(parts[0] for parts in found)}")
    return found[0]


def exact(models: list[list[str]], wanted: str) -> list[list[str]]:
    """The models with a file of this path, else those with a file of this name."""
    return [parts for parts in models if wanted in parts] or [
        parts for parts in models if any(wanted == PurePosixPath(file).name for file in parts)
    ]


def _matching(models: list[list[str]], wanted: str) -> list[list[str]]:
    """Models with ``wanted`` as a whole word of the name (Q4_K is not Q4_K_M), else anywhere in it."""
    word = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(wanted)}(?![A-Za-z0-9_])", re.IGNORECASE)
    whole = [m for m in models if word.search(PurePosixPath(m[0]).name)] or [m for m in models if word.search(m[0])]
    return whole or [m for m in models if wanted.lower() in m[0].lower()]


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def quantisation_in(name: str) -> str | None:
    """The quantisation that a file's name ends with or names last, such as "Q4_K_M"."""
    found = _QUANTISATION.findall(name)
    return str(found[-1]).upper() if found else None


def parameters_in(name: str) -> str | None:
    """The number of parameters in a model's name, such as "0.6B" or "30B-A3B"."""
    found = _PARAMETERS.search(name)
    return found[0].upper() if found else None
