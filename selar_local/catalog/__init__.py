"""Which models are on this machine, and what a MODEL argument means. Knows no llama.cpp; a file each for a source."""

from __future__ import annotations

from selar_local.catalog.bundled import bundled_models
from selar_local.catalog.entries import ModelEntry
from selar_local.catalog.labels import file_label, file_stem, model_name
from selar_local.catalog.ollama import unused_parts
from selar_local.catalog.references import installed_models, pull, resolve

__all__ = [
    "ModelEntry",
    "bundled_models",
    "file_label",
    "file_stem",
    "installed_models",
    "model_name",
    "pull",
    "resolve",
    "unused_parts",
]
