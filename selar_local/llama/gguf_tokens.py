"""Checks the tokenizer's arrays, which llama.cpp takes on trust, without parsing them."""

from __future__ import annotations

import mmap

from selar_local.llama.gguf_reader import Header
from selar_local.llama.gguf_strings import Fault, StringTable

__all__ = ["check_tokens"]

# tokenizers that look up the token of a single byte, and stop the process if there is none
_BYTE_FALLBACK = ("llama", "plamo2")
# ids of the first and last token of a text where the file names none
_DEFAULT_BOS = {"llama": 1, "gpt2": 11, "hybriddna": 11, "whitespace": 11, "bert": 101, "plamo2": 1}
_DEFAULT_EOS = {"llama": 2, "gpt2": 11, "hybriddna": 11, "whitespace": 11, "t5": 1, "plamo2": 2}
_UTF8_BYTES = frozenset(range(0x80)) | frozenset(range(0x80, 0xC0)) | frozenset(range(0xC2, 0xF5))
_ESCAPES = {ord("t"): 9, ord("n"): 10, ord("r"): 13}


def check_tokens(data: mmap.mmap, header: Header) -> None:
    """Raises Fault where the vocabulary would abort llama.cpp, or keep it in an endless loop."""
    model = header.metadata.get("tokenizer.ggml.model")
    tokens = header.strings.get("tokenizer.ggml.tokens")
    if tokens is None:
        return  # a later part of a split model, or refused by llama.cpp
    table = StringTable(data, *tokens)
    twice = table.duplicate()
    if twice is not None:
        raise Fault(f"is damaged: the token {twice.decode(errors='replace')!r} stands in its vocabulary twice")
    _check_ends(header, str(model), len(tokens[0]))
    if model in _BYTE_FALLBACK:
        texts = table.short(b"<0x", 6)
        known = {text[0] for text in texts if len(text) == 1}
        known |= {byte for byte in range(256) if b"<0x%02X>" % byte in texts}
    elif model == "rwkv":
        known = {_unescaped(text) for text in table.short(b"\\x", 4)}
    else:
        return
    missing = _UTF8_BYTES - known
    if missing:
        raise Fault(
            f"is damaged: its vocabulary has no token for the byte 0x{min(missing):02X}, so some text cannot be read"
        )


def _check_ends(header: Header, model: str, size: int) -> None:
    """A token that llama.cpp is to put before or after a text must exist."""
    for name, defaults in (("bos", _DEFAULT_BOS), ("eos", _DEFAULT_EOS)):
        wanted = header.metadata.get(f"tokenizer.ggml.add_{name}_token")
        own = header.metadata.get(f"tokenizer.ggml.{name}_token_id")
        known = isinstance(own, int) and 0 <= own < size
        if not known and defaults.get(model, size) >= size and (wanted or (wanted is None and model in defaults)):
            raise Fault(f"is damaged: texts are to get a {name} token, but its vocabulary has none")


def _unescaped(text: bytes) -> int:
    """The single byte that an entry of RWKV's vocabulary stands for, or -1."""
    if len(text) == 1:
        return text[0]
    if len(text) == 2 and text[0] == 0x5C:
        return _ESCAPES.get(text[1], text[1])
    if len(text) == 4 and text[:2] == b"\\x":
        try:
            return int(text[2:], 16)
        except ValueError:
            return -1
    return -1
