"""Checks the hyperparameters that llama.cpp takes on trust and aborts or divides by zero over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selar_local.llama.gguf_file import GgufFile

__all__ = ["check_hyperparameters"]


def check_hyperparameters(gguf: GgufFile) -> None:
    """Raises ModelFileError for values that would crash llama.cpp while loading or decoding."""
