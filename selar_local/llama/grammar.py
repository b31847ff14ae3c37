"""What a text may be: llama.cpp's grammars (GBNF)."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.errors import DecodeError, OptionError
from selar_local.llama.library import C, recent_errors
from selar_local.llama.model import LlamaModel
from selar_local.methods.distribution import top_k

_MAX_CHARACTERS = 1 << 18
_MAX_DEPTH = 48
_MAX_REPEAT = 1000
_QUANTIFIER = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")
_LITERAL = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*')


def check_grammar(text: str) -> None:
    """Raises OptionError for a GBNF text that is too long, nested too deep, or repeats too often.

    llama.cpp's parser recurses into nesting, and into every repetition: it would not survive such a text.
    """
    if len(text) > _MAX_CHARACTERS or "\0" in text:
        raise OptionError("grammar is too long, or has a NUL character")
    bare = _LITERAL.sub("", text)
    depth = deepest = 0
    for bracket in re.findall(r"[()]", bare):
        depth += 1 if bracket == "(" else -1
        deepest = max(deepest, depth)
    if deepest > _MAX_DEPTH:
        raise OptionError(f"grammar is nested deeper than {_MAX_DEPTH}")
    if any(count > _MAX_REPEAT for count in _counts(bare)):
        raise OptionError(f"grammar repeats more than {_MAX_REPEAT} times")


def _counts(text: str) -> list[int]:
    return [int(count) for found in _QUANTIFIER.findall(text) for count in found if count]


_FIRST = 1024  # candidates tried before the whole vocabulary, which takes milliseconds
_TOKEN_DATA = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])


class Grammar:
    """A grammar at one place of one text. One thread at a time; freed with the object."""

    def __init__(self, model: LlamaModel, text: str) -> None:
        """Raises OptionError for a text that llama.cpp cannot read as a grammar with a rule `root`."""
        self._sampler: Any = None
        check_grammar(text)
        self._sampler = C.llama_sampler_init_grammar(model.vocab, text.encode("utf-8", "replace"), b"root")
        if not self._sampler:
            said = recent_errors()
            raise OptionError(f"grammar cannot be read{': ' + said if said else ''}")

    def mask(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The logits with -inf for every token that the grammar does not allow next: (n_vocab,) float32.

        Where some of the 1024 most probable tokens are allowed, less probable ones are left out as well.
        Raises DecodeError where no token is allowed.
        """
        ids, values = top_k(logits, _FIRST)
        allowed = self._allowed(ids, values)
        if not allowed.any():
            ids, values = np.arange(len(logits)), logits
            allowed = self._allowed(ids, values)
        if not allowed.any():
            raise DecodeError("the grammar allows no token of this model here")
        masked = np.full(len(logits), -np.inf, np.float32)
        masked[ids[allowed]] = values[allowed]
        return masked

    def _allowed(self, ids: npt.NDArray[np.int64], values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        data = np.zeros(len(ids), _TOKEN_DATA)
        data["id"], data["logit"] = ids, values
        array = C.llama_token_data_array(
            data=data.ctypes.data_as(ctypes.POINTER(C.llama_token_data)), size=len(ids), selected=-1, sorted=False
        )
        C.llama_sampler_apply(self._sampler, ctypes.byref(array))
        kept: npt.NDArray[np.bool_] = np.isfinite(data["logit"])
        return kept

    def accept(self, token: int) -> None:
        """`token`, one that `mask` allowed, comes next. (One that it did not would end the process.)"""
        C.llama_sampler_accept(self._sampler, token)

    def __del__(self) -> None:
        if self._sampler:
            C.llama_sampler_free(self._sampler)
            self._sampler = None
