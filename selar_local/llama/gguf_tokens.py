"""Checks the tokenizer's arrays, which llama.cpp takes on trust, without parsing them."""

from __future__ import annotations

import mmap

from selar_local.llama.gguf_reader import Header
from selar_local.llama.gguf_strings import Fault, find_duplicate

__all__ = ["check_tokens"]


def check_tokens(data: mmap.mmap, header: Header) -> None:
    """Raises Fault where the vocabulary would abort llama.cpp."""
    tokens = header.strings.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    twice = find_duplicate(data, *tokens)
    if twice is not None:
        raise Fault(
            f"is damaged: the token {twice.decode(errors='replace')!r} stands in its vocabulary twice"
        )
