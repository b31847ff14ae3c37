"""The texts of a model's tokens without its weights: only the vocabulary is loaded, in a fraction of a second."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from selar_local.errors import ModelFileError
from selar_local.llama import library
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.library import C
from selar_local.llama.probe import Probe


class TokenText(NamedTuple):
    """What a token is: the bytes it spells (maybe half a character), of a control token its name."""

    data: bytes
    control: bool


class Vocabulary(NamedTuple):
    """Some tokens of a vocabulary of `n_vocab`, by id."""

    n_vocab: int
    tokens: dict[int, TokenText]


def read_vocabulary(path: Path, tokens: Iterable[int]) -> Vocabulary:
    """The texts of `tokens` (ids beyond the vocabulary are left out) in the model at `path`.

    Raises ModelNotFound or ModelFileError.
    """
    gguf = open_gguf(path)
    with Probe(gguf.path, gguf.architecture, library.binding_version) as probe:
        probe.survives("open")
    library.start()
    params = C.llama_model_default_params()
    params.vocab_only = True
    model = C.llama_model_load_from_file(os.fsencode(gguf.path), params)
    if not model:
        raise ModelFileError(f"{path.name}: llama.cpp cannot read its vocabulary: {library.recent_errors() or 'why?'}")
    try:
        vocab = C.llama_model_get_vocab(model)
        n_vocab = int(C.llama_vocab_n_tokens(vocab))
        found = {token: _text(vocab, token) for token in tokens if 0 <= token < n_vocab}
        return Vocabulary(n_vocab, found)
    finally:
        C.llama_model_free(model)


def token_bytes(vocab: object, token: int, *, special: bool) -> bytes:
    """The bytes that a token spells. A control token spells its name with `special`, else nothing. Thread-safe."""
    buffer = ctypes.create_string_buffer(64)
    size = C.llama_token_to_piece(vocab, token, buffer, len(buffer), 0, special)
    if size < 0:
        buffer = ctypes.create_string_buffer(-size)
        size = C.llama_token_to_piece(vocab, token, buffer, -size, 0, special)
    return buffer.raw[: max(size, 0)]


def _text(vocab: object, token: int) -> TokenText:
    return TokenText(token_bytes(vocab, token, special=True), bool(C.llama_vocab_is_control(vocab, token)))
