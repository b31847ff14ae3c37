"""A store as Ollama keeps it, with models of ours in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

__all__ = ["put_model"]


def put_model(store: Path, model: str, tag: str, source: Path, *, template: bool = False) -> Path:
    """Copy a GGUF file into the store as ``model:tag``; the blob. template: with Ollama's own template beside it."""
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    blob = store / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, blob)
    kinds = ["model", *(["template"] if template else [])]
    layers = [{"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"} for kind in kinds]
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / model / tag
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"config": {}, "layers": layers}), encoding="utf-8")
    return blob
