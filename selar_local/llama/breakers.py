"""Texts that break DRY's repetitions, as the tokens of a model that write them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

from selar_local.llama.library import C
from selar_local.llama.model import LlamaModel

_LONGEST_TEXT = 40  # bytes; llama.cpp's own limits
_LONGEST_TAIL = 20  # tokens


def breakers_of(model: LlamaModel, texts: Iterable[str]) -> dict[int, set[tuple[int, ...]]]:
    """The tokens that contain one of `texts`, or begin it, each with the tokens that then complete it.

    () where the token has all of it. Reads every token of the vocabulary, which takes tenths of a second.
    """
    wanted = [raw[:_LONGEST_TEXT] for text in texts if (raw := text.encode("utf-8", "replace"))]
    rests: dict[bytes, tuple[int, ...]] = {}
    found: dict[int, set[tuple[int, ...]]] = {}
    for token in range(model.n_vocab):
        word = _word(model, token)
        for text in wanted:
            if text in word:
                found.setdefault(token, set()).add(())
                continue
            for size in _begun(text, word):
                rest = text[size:]
                if rest not in rests:
                    rests[rest] = tuple(model.encode(rest.decode("utf-8", "replace"))[:_LONGEST_TAIL])
                found.setdefault(token, set()).add(rests[rest])
    return found


def _begun(text: bytes, word: bytes) -> Iterable[int]:
    """Lengths of what `text` begins with and `word` ends with."""
    return (size for size in range(1, min(len(text), len(word) + 1)) if word.endswith(text[:size]))


def _word(model: LlamaModel, token: int) -> bytes:
    """The token alone, as a text of its own."""
    buffer = ctypes.create_string_buffer(64)
    tokens = (C.llama_token * 1)(token)
    size = C.llama_detokenize(model.vocab, tokens, 1, buffer, len(buffer), False, True)
    if size < 0:
        buffer = ctypes.create_string_buffer(-size)
        size = C.llama_detokenize(model.vocab, tokens, 1, buffer, -size, False, True)
    return buffer.raw[: max(size, 0)]
