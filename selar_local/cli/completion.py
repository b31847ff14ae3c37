"""What a shell offers for MODEL: GGUF files, folders and bundled names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from selar_local.catalog import bundled_models

__all__ = ["complete_model", "model_files"]


def complete_model(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """GGUF files, folders and bundled names that begin with `incomplete` (click's hook)."""
    names = [name for name, path in bundled_models().items() if path is not None and name.startswith(incomplete)]
    return [*map(CompletionItem, names), *model_files(incomplete)]


def model_files(incomplete: str) -> list[CompletionItem[Any]]:
    """GGUF files and folders that begin with `incomplete`. What is in a folder that is alone is listed, too."""
    found = _matching(incomplete)
    if len(found) == 1 and found[0].endswith(os.sep):
        found += _matching(found[0])
    return [CompletionItem(path) for path in found]


def _matching(incomplete: str) -> list[str]:
    start = incomplete.rpartition(os.sep)[2]
    typed = incomplete.removesuffix(start)
    try:
        entries = sorted(Path(typed or ".").expanduser().iterdir())
    except (OSError, RuntimeError):
        return []
    shown = [entry for entry in entries if entry.name.startswith(start) and (start or not entry.name.startswith("."))]
    return [
        typed + entry.name + (os.sep if entry.is_dir() else "")
        for entry in shown
        if entry.is_dir() or entry.suffix.lower() == ".gguf"
    ]
