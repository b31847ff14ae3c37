"""A machine of our own: a home without models, and what fills its stores."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.raw_gguf import ARCHITECTURE, STRING, U32, gguf, key, text

from selar_local.catalog import ollama

_VARIABLES = (
    "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME", "OLLAMA_MODELS", "LLAMA_CACHE",
    "LOCALAPPDATA", "SELAR_LOCAL_MODELS",
)  # fmt: skip


def model_bytes(name: str = "", *more: bytes, architecture: str = "llama", file_type: int | None = None) -> bytes:
    """A GGUF file too small to be opened, whose header says what a list shows."""
    keys = [key("general.architecture", STRING, text(architecture)) if architecture != "llama" else ARCHITECTURE]
    keys += [key("general.name", STRING, text(name))] if name else []
    keys += [] if file_type is None else [key("general.file_type", U32, struct.pack("<I", file_type))]
    return gguf([*keys, *more])


def write(path: Path, data: bytes | str | None = None) -> Path:
    """A file with its folders; without data, a model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_bytes() if data is None else data.encode() if isinstance(data, str) else data)
    return path


@dataclass(frozen=True)
class Machine:
    """The user's home, and writers for each store in it."""

    home: Path

    @property
    def hub(self) -> Path:
        return self.home / ".cache" / "huggingface" / "hub"

    def hub_file(self, repo: str, file: str, data: bytes | None = None, commit: str = "c" * 40) -> Path:
        """A file of a repository's snapshot, which is the newest one."""
        base = self.hub / f"models--{repo.replace('/', '--')}"
        write(base / "refs" / "main", commit)
        return write(base / "snapshots" / commit / file, data)

    @property
    def ollama(self) -> Path:
        return self.home / ".ollama" / "models"

    def ollama_blob(self, data: bytes) -> tuple[str, Path]:
        digest = hashlib.sha256(data).hexdigest()
        return f"sha256:{digest}", write(self.ollama / "blobs" / f"sha256-{digest}", data)

    def ollama_model(self, name: str, data: bytes | None = None, config: Any = None, **more: bytes) -> Path:
        """A model by host/namespace/model/tag. more: further files by kind."""
        digest, blob = self.ollama_blob(model_bytes() if data is None else data)
        layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": digest, "size": blob.stat().st_size}]
        for kind, content in more.items():
            layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": self.ollama_blob(content)[0]})
        manifest = {
            "schemaVersion": 2,
            "config": {"digest": self.ollama_blob(json.dumps(config or {}).encode())[0]},
            "layers": layers,
        }
        self.manifest(name, json.dumps(manifest))
        return blob

    def manifest(self, name: str, content: bytes | str) -> Path:
        return write(self.ollama / "manifests" / name, content)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """An empty home; the settings of the real one are not seen."""
    home = tmp_path / "home"
    home.mkdir()
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(home / "own-cache"))
    monkeypatch.setattr(ollama, "_SERVICES", ())
    return Machine(home)
