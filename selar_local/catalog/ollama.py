"""Ollama's store: ``manifests/HOST/NAMESPACE/MODEL/TAG`` are JSON and name files in ``blobs/`` by their SHA-256.

Of a model's files only the GGUF file is used. Nothing in a manifest is trusted.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.file_names import listed
from selar_local.catalog.folders import from_environment, home, is_file, items, unique
from selar_local.errors import ModelFileError, ModelNotFound, UnsupportedModel

_KIND = re.compile(r"application/vnd\.ollama\.image\.(\w+)", re.ASCII)
_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_HOST = re.compile(r"[A-Za-z0-9_][\w.:-]{0,349}", re.ASCII)
_PART = re.compile(r"[A-Za-z0-9_][\w.-]{0,79}", re.ASCII)
_LARGEST_JSON = 1 << 22  # bytes
#: Where Ollama keeps models when it runs as a service, by the packages of Linux.
_SERVICES = (
    "/usr/share/ollama/.ollama/models", "/var/lib/ollama/.ollama/models", "/var/lib/ollama/models", "/var/lib/ollama",
    "/var/snap/ollama/common/models",
)  # fmt: skip
#: What a model of Ollama's may have besides the GGUF file. Only Ollama can use it.
_UNUSED = ("template", "system", "params", "messages")


@dataclass(frozen=True)
class OllamaName:
    """The full name of a model."""

    host: str
    namespace: str
    model: str
    tag: str

    def __str__(self) -> str:
        """As ``ollama list`` shows it."""
        if self.host.lower() != "registry.ollama.ai":
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        return f"{'' if self.namespace.lower() == 'library' else f'{self.namespace}/'}{self.model}:{self.tag}"

    def same(self, other: OllamaName) -> bool:
        """Whether both name one model: upper and lower case are the same to Ollama."""
        return repr(self).lower() == repr(other).lower()


def parse_name(text: str) -> OllamaName | None:
    """``[[host/]namespace/]model[:tag]``, completed as Ollama does it; None for what is no name."""
    path, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:  # such as localhost:5000/library/model
        path, tag = text, "latest"
    given = path.split("/")
    host, namespace, model, *more = [*["registry.ollama.ai", "library"][: max(3 - len(given), 0)], *given]
    if more or not _HOST.fullmatch(host) or not all(map(_PART.fullmatch, (namespace, model, tag))):
        return None
    return OllamaName(host, namespace, model, tag)


@dataclass(frozen=True)
class _Manifest:
    """The files of one model. digests: SHA-256 in hex by kind ("model", "template", "config"), None for a wrong one."""

    name: OllamaName
    store: Path
    digests: Mapping[str, Sequence[str | None]]

    def blob(self, kind: str) -> Path | None:
        """The only file of a kind; None where there is none, or it is not in the store."""
        digests = self.digests.get(kind, ())
        names = [f"sha256{sign}{digests[0]}" for sign in "-:"] if len(digests) == 1 and digests[0] else []
        return next((blob for name in names if is_file(blob := self.store / "blobs" / name)), None)

    def model(self) -> Path:
        """The GGUF file. Raises ModelNotFound, UnsupportedModel."""
        models = self.digests.get("model", ())
        if len(models) == 1 and "adapter" not in self.digests:
            if blob := self.blob("model"):
                return blob
            raise ModelNotFound(f"the file of ollama:{self.name} is missing, or cannot be read; {_get(self.name)}")
        if not models and "tensor" in self.digests:
            reason = "it is stored as safetensors"
        elif not models:
            reason = "its manifest names no file; it may run on Ollama's servers"
        else:
            reason = "it has an adapter, or several files"
        raise UnsupportedModel(f"ollama:{self.name} is no single GGUF file: {reason}")


def find(reference: str) -> Path:
    """The GGUF file of ``ollama:NAME``.

    Raises `ModelNotFound`, `ModelFileError` for a damaged manifest, `UnsupportedModel` for a model of another format.
    """
    name = parse_name(reference.removeprefix("ollama:"))
    if name is None:
        raise ModelNotFound(f"'{reference}' is not of the form ollama:model[:tag] or ollama:namespace/model[:tag]")
    known = [found for store in _stores() for found in _manifests(store)]
    exact = [found for found in known if found[0] == name] or [found for found in known if found[0].same(name)]
    if not exact:
        raise ModelNotFound(_near_misses(name, [other for other, *_ in known]))
    return _read(*exact[0]).model()


def installed() -> Iterator[ModelEntry]:
    """The models in Ollama's stores that can be opened."""
    for found in (found for store in _stores() for found in _manifests(store)):
        try:
            manifest = _read(*found)
            path = manifest.model()
        except (ModelNotFound, ModelFileError, UnsupportedModel, OSError):
            continue
        config = _config(manifest)
        entry = entry_of(
            f"ollama:{manifest.name}", "Ollama", [path],
            quantisation=config.get("file_type"), parameters=config.get("model_type"),
        )  # fmt: skip
        if entry:
            yield entry


def name_of_blob(path: Path) -> str | None:
    """The name of the model that a file in a store belongs to; None for other files."""
    names = [manifest.name for manifest in _owners(path)]
    return str(min(names, key=lambda name: (name.tag == "latest", str(name)))) if names else None


def unused_parts(path: Path) -> list[str]:
    """What Ollama keeps for the model of this file, and only Ollama uses: "template", "system", "params"."""
    kinds = {kind for manifest in _owners(path) for kind in manifest.digests}
    return [kind for kind in _UNUSED if kind in kinds]


def _owners(path: Path) -> list[_Manifest]:
    """The manifests that name this file as their model."""
    digest = _DIGEST.fullmatch(path.name)
    if digest is None or path.parent.name != "blobs":
        return []
    manifests = []
    for found in _manifests(path.parent.parent):
        try:
            manifests.append(_read(*found))
        except ModelFileError:
            continue
    return [manifest for manifest in manifests if digest[1].lower() in manifest.digests.get("model", ())]


def _stores() -> list[Path]:
    """The folders with manifests and blobs: the user's, and the folders of Ollama's services on Linux."""
    if own := from_environment("OLLAMA_MODELS"):
        return unique([own])
    base = home()
    places = [base and base / ".ollama" / "models"]
    if sys.platform.startswith("linux"):
        places += map(Path, _SERVICES)
    return unique(places)


def _manifests(store: Path) -> Iterator[tuple[OllamaName, Path, Path]]:
    """Name, manifest and store. Names are read from the folders; so none leads out of the store."""
    for host in items(store / "manifests"):
        for namespace in items(Path(host.path)):
            for model in items(Path(namespace.path)):
                for tag in items(Path(model.path)):
                    name = parse_name(f"{host.name}/{namespace.name}/{model.name}:{tag.name}")
                    if name is not None:
                        yield name, Path(tag.path), store


def _read(name: OllamaName, path: Path, store: Path) -> _Manifest:
    """The manifest. Raises ModelFileError."""
    try:
        content = _json(path)
        layers = content["layers"]
        kinds: dict[str, list[str | None]] = {"config": [_digest(content.get("config"))]}
        for layer in layers:
            if kind := _KIND.match(layer["mediaType"]):
                kinds.setdefault(kind[1], []).append(_digest(layer))
        return _Manifest(name, store, kinds)
    except OSError as error:
        raise ModelFileError(f"Ollama's manifest of {name} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"Ollama's manifest of {name} is damaged; {_get(name)}") from error


def _config(manifest: _Manifest) -> dict[str, str]:
    """The short texts in the model's own JSON, such as its quantisation; none where it cannot be read."""
    blob = manifest.blob("config")
    try:
        content = _json(blob) if blob else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str) and 0 < len(value) <= 16}


def _json(path: Path) -> dict[str, Any]:
    """A JSON object of moderate size. Raises OSError, ValueError, RecursionError."""
    with path.open("rb") as file:
        data = file.read(_LARGEST_JSON + 1)
    content = json.loads(data) if len(data) <= _LARGEST_JSON else None
    if not isinstance(content, dict):
        raise ValueError("no JSON object")
    return content


def _digest(layer: Any) -> str | None:
    digest = layer.get("digest") if isinstance(layer, dict) else None
    match = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    return match[1].lower() if match else None


def _get(name: OllamaName) -> str:
    return f"get it with: ollama pull {name}"


def _near_misses(name: OllamaName, known: list[OllamaName]) -> str:
    if not known:
        return f"there is no model of Ollama's on this machine (OLLAMA_MODELS can name its folder); {_get(name)}"
    names = sorted(str(other) for other in known if other.same(replace(name, tag=other.tag)))
    close = names if len(names) == 1 else get_close_matches(str(name), map(str, known), n=1, cutoff=0.75)
    if close and not names[1:]:
        near = f"; did you mean 'ollama:{close[0]}'? Else"
    else:
        near = f", only: {listed(names or sorted(map(str, known)))};"
    return f"Ollama has no model '{name}' on this machine{near} {_get(name)}"
