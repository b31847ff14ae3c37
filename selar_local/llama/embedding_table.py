"""Rows of ``token_embd.weight``, read from the file's memory map and dequantised one by one as they are asked for."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from selar_local.errors import UnsupportedModel
from selar_local.llama.gguf_file import GgufFile
from selar_local.llama.tensor_rows import TensorRows

_RECENT_BYTES = 4 << 20  # of dequantised rows kept
_BLOCK = 256
_FEW = 32  # rows of a mixture that are worth keeping
#: Architectures that scale token inputs by sqrt(n_embd), and inputs fed as vectors not at all.
_SCALED_BY_ROOT = frozenset({"gemma3", "gemma4", "gemma-embedding"})


def input_scale(gguf: GgufFile, n_embd_inp: int) -> float:
    """What a row is multiplied by (in float32, as llama.cpp does it) before it is fed as a vector."""
    architecture = gguf.architecture
    n_embd = gguf.tensors["token_embd.weight"].shape[0]
    if architecture in _SCALED_BY_ROOT:
        return float(np.float32(math.sqrt(n_embd)))
    if architecture.startswith("granite") and n_embd_inp > n_embd:  # with deepstack the scale hits tokens only
        return float(np.float32(gguf.metadata.get(f"{architecture}.embedding_scale") or 1.0))
    return 1.0


class EmbeddingTable:
    """Read access to the token-embedding matrix: (n_vocab, n_embd), any tensor type, never copied whole.

    `width` (n_embd_inp) may exceed n_embd: the rest of an input row is zero (deepstack models).
    """

    def __init__(self, gguf: GgufFile, width: int | None = None) -> None:
        """Raises UnsupportedModel without a token-embedding tensor, ModelFileError when it cannot be read."""
        tensor = gguf.tensors.get("token_embd.weight")
        if tensor is None or len(tensor.shape) < 2:
            raise UnsupportedModel(f"{gguf.path.name} has no token-embedding matrix")
        self.n_embd, self.n_vocab = tensor.shape[0], tensor.shape[1]
        self.width = width or self.n_embd
        self.type_name = tensor.type_name
        self.scale = input_scale(gguf, self.width)
        self._rows = TensorRows(tensor)
        self._recent: dict[int, npt.NDArray[np.float32]] = {}
        self._recent_limit = max(16, _RECENT_BYTES // (4 * self.n_embd))
        self._scratch = np.zeros((0, self.n_embd), np.float32)

    def rows(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Rows of the matrix, dequantised: (len(ids), n_embd) float32. The array is reused by the next call.

        Raises IndexError on an id outside the vocabulary.
        """
        n = len(ids)
        if n > self._scratch.shape[0]:
            self._scratch = np.zeros((n, self.n_embd), np.float32)
        out = self._scratch[:n]
        if n > _FEW:  # so many rows at once would only push the others out of memory
            if ids.min() < 0 or ids.max() >= self.n_vocab:
                raise IndexError(f"a token id lies outside the vocabulary of {self.n_vocab}")
            self._rows.scattered(ids, out)
            return out
        for i, token in enumerate(ids.tolist()):
            recent = self._recent.get(token)
            out[i] = self._read(token) if recent is None else recent
        return out

    def _read(self, token: int) -> npt.NDArray[np.float32]:
        """One dequantised row, remembered: candidates come back, and a first touch of the map is a page fault."""
        if not 0 <= token < self.n_vocab:
            raise IndexError(f"token id {token} outside the vocabulary of {self.n_vocab}")
        row = self._rows.row(token)
        if len(self._recent) >= self._recent_limit:
            self._recent.clear()
        self._recent[token] = row
        return row

    def mix(self, ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], out: npt.NDArray[np.float32]) -> None:
        """``out = scale * sum weights[i] * E[ids[i]]``: out is (width,) float32, its tail beyond n_embd zero.

        A single id of weight 1 gives its row to the bit.
        """
        head = out[: self.n_embd]
        rows = self.rows(ids)
        if len(ids) == 1 and weights[0] == 1.0:
            head[:] = rows[0]
        elif len(ids) <= _FEW:
            np.dot(weights.astype(np.float32), rows, out=head)
        else:
            head[:] = _sum_many(weights.astype(np.float32), rows)
        self._finish(out, head)

    def row(self, token: int, out: npt.NDArray[np.float32]) -> None:
        """The input row of one token, written to `out` (width,) float32. Raises IndexError as `rows` does."""
        head = out[: self.n_embd]
        recent = self._recent.get(token)
        head[:] = self._read(token) if recent is None else recent
        self._finish(out, head)

    def _finish(self, out: npt.NDArray[np.float32], head: npt.NDArray[np.float32]) -> None:
        if self.scale != 1:
            np.multiply(head, np.float32(self.scale), out=head)
        if self.width > self.n_embd:
            out[self.n_embd :] = 0


def _sum_many(weights: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """``weights @ rows`` without BLAS, which would wake threads of its own that fight llama.cpp's for the cores.

    In blocks, whose sums are added in float64: einsum adds one row after the other.
    """
    total = np.zeros(rows.shape[1])
    for start in range(0, len(weights), _BLOCK):
        end = start + _BLOCK
        total += np.einsum("i,ij->j", weights[start:end], rows[start:end])
    return total
