"""What a shell offers for MODEL: GGUF files, folders and bundled names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from selar_local.catalog import bundled_models


def complete_model(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """GGUF files, folders and bundled names that begin with `incomplete` (click's hook)."""
    names = [name for name, path in bundled_models().items() if path is not None and name.startswith(incomplete)]
    return [*map(CompletionItem, names), *model_files(incomplete)]


def model_files(incomplete: str) -> list[CompletionItem[Any]]:
    """GGUF files and folders that begin with `incomplete`. What is in a folder that is alone is listed, too."""
    found = paths(incomplete, ".gguf")
    if len(found) == 1 and found[0].endswith(os.sep):
        found += paths(found[0], ".gguf")
    return [CompletionItem(path) for path in found]


def paths(begun: str, suffix: str = "") -> list[str]:
    """The folders, and the files with this suffix, that begin with `begun`; a folder ends with a separator."""
    start = os.path.split(begun)[1]
    typed = begun.removesuffix(start)
    try:
        entries = sorted(Path(typed or ".").expanduser().iterdir())
        shown = [one for one in entries if one.name.startswith(start) and (start or not one.name.startswith("."))]
        marked = [(one, os.sep if one.is_dir() else "") for one in shown]
    except (OSError, RuntimeError, ValueError):  # RuntimeError: ~nobody
        return []
    return [typed + one.name + mark for one, mark in marked if mark or one.name.lower().endswith(suffix)]
