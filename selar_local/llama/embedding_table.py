"""Rows of ``token_embd.weight``, read from the file's memory map and dequantised one by one as they are asked for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize

from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama import ggml
from selar_local.llama.gguf_file import GgufFile

__all__ = ["EmbeddingTable", "input_scale"]

_F32 = 0
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
        self._type = tensor.type
        self._row_bytes = ggml.row_size(tensor.type, self.n_embd)
        self._data = _map(tensor.part, tensor.offset, self.n_vocab * self._row_bytes)
        self._address = self._data.ctypes.data
        self._to_float = ggml.to_float(tensor.type)
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
        if n > _FEW and self._to_float is not None:
            self._read_many(ids, out)
            return out
        for i, token in enumerate(ids.tolist()):
            recent = self._recent.get(token)
            out[i] = self._read(token) if recent is None else recent
        return out

    def _read_many(self, ids: npt.NDArray[np.int64], out: npt.NDArray[np.float32]) -> None:
        """Dequantise straight into `out`: so many rows at once would only push the others out of memory."""
        if ids.min() < 0 or ids.max() >= self.n_vocab:
            raise IndexError(f"a token id lies outside the vocabulary of {self.n_vocab}")
        to_float, width, target = self._to_float, self.n_embd, out.ctypes.data
        if to_float is None:
            return
        for address in (self._address + ids * self._row_bytes).tolist():
            to_float(address, target, width)
            target += 4 * width

    def _read(self, token: int) -> npt.NDArray[np.float32]:
        """One dequantised row, remembered: candidates come back, and a first touch of the map is a page fault."""
        if not 0 <= token < self.n_vocab:
            raise IndexError(f"token id {token} outside the vocabulary of {self.n_vocab}")
        if self._to_float is None:
            row = self._slow_row(token)
        else:
            row = np.empty(self.n_embd, np.float32)
            self._to_float(self._address + token * self._row_bytes, row.ctypes.data, self.n_embd)
        if len(self._recent) >= self._recent_limit:
            self._recent.clear()
        self._recent[token] = row
        return row

    def _slow_row(self, token: int) -> npt.NDArray[np.float32]:
        raw = self._data[token * self._row_bytes : (token + 1) * self._row_bytes]
        if self._type == _F32:
            return raw.view(np.float32)
        from gguf import GGMLQuantizationType  # where ggml's own function cannot be reached

        result: npt.NDArray[np.float32] = dequantize(raw[np.newaxis], GGMLQuantizationType(self._type))[0]
        return result

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


def _map(path: Path, offset: int, size: int) -> npt.NDArray[np.uint8]:
    try:
        return np.memmap(path, np.uint8, mode="r", offset=offset, shape=(size,))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path.name}: the token-embedding matrix cannot be read: {error}") from None
