"""The batch API that takes embeddings: one `llama_batch` of token ids or of rows, on the public C API.

llama.cpp reads either `token` or `embd` of a batch, never both, and aborts or reads out of bounds on
wrong sizes: everything is checked here, before it gets there.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selar_local.errors import DecodeError
from selar_local.llama.library import C


class InputBatch:
    """Buffers for up to `capacity` inputs, filled and handed to ``llama_decode`` again and again.

    width: floats of one row (``llama_model_n_embd_inp``). mrope: rows then carry four positions each,
    section-major ``[p, p, p, 0]``; token batches carry one, llama.cpp expands it.
    """

    def __init__(self, capacity: int, width: int, n_vocab: int, *, mrope: bool = False) -> None:
        self.capacity = capacity
        self.width = width
        self._n_vocab = n_vocab
        self._mrope = mrope
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(4 * capacity if mrope else capacity, np.int32)
        self._sequences = np.zeros(capacity, np.int32)
        self._one = np.ones(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        self._sequence_of = (self._sequences.ctypes.data + 4 * np.arange(capacity, dtype=np.uint64)).astype(np.uint64)
        self._rows = np.zeros((0, width), np.float32)
        self._token_batch = self._struct(token=self._tokens)
        self._row_batch = self._struct()

    def _struct(self, token: npt.NDArray[np.int32] | None = None) -> C.llama_batch:
        batch = C.llama_batch()
        if token is not None:
            batch.token = token.ctypes.data_as(ctypes.POINTER(C.llama_token))
        batch.pos = self._positions.ctypes.data_as(ctypes.POINTER(C.llama_pos))
        batch.n_seq_id = self._one.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        batch.seq_id = self._sequence_of.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(C.llama_seq_id)))
        batch.logits = self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        return batch

    def rows(self, n: int) -> npt.NDArray[np.float32]:
        """A writable (n, width) float32 view: fill it, then call `of_rows`."""
        if n > self._rows.shape[0]:  # grown on demand: prompts are fed as ids, so it stays small
            self._rows = np.zeros((n, self.width), np.float32)
            self._row_batch.embd = self._rows.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        return self._rows[:n]

    def of_tokens(
        self, ids: Sequence[int], positions: Sequence[int], sequences: Sequence[int], outputs: Sequence[bool]
    ) -> C.llama_batch:
        """A batch of token ids. Raises DecodeError on an id outside the vocabulary or a bad position."""
        n = self._fill(len(ids), positions, sequences, outputs)
        self._tokens[:n] = ids
        if n == 1:
            inside = 0 <= ids[0] < self._n_vocab
        else:
            inside = self._tokens[:n].min() >= 0 and self._tokens[:n].max() < self._n_vocab
        if not inside:
            raise DecodeError(f"a token id lies outside the vocabulary of {self._n_vocab}")
        self._positions[:n] = positions
        self._token_batch.n_tokens = n
        return self._token_batch

    def of_rows(
        self, n: int, positions: Sequence[int], sequences: Sequence[int], outputs: Sequence[bool]
    ) -> C.llama_batch:
        """A batch of the first `n` rows of `rows`. Raises DecodeError when one is not finite.

        (llama.cpp answers an infinite input with finite garbage and return code 0.)
        """
        self._fill(n, positions, sequences, outputs)
        if n > self._rows.shape[0]:
            raise DecodeError(f"{n} rows asked for, {self._rows.shape[0]} filled")
        rows = self._rows[:n]
        # NaN is both: cheaper than isfinite over every element.
        largest, smallest = np.maximum.reduce(rows, axis=None), np.minimum.reduce(rows, axis=None)
        if not (math.isfinite(largest) and math.isfinite(smallest)):
            raise DecodeError("an input embedding is not finite: the embedding table is damaged")
        self._positions[:n] = positions
        if self._mrope:
            self._positions[n : 2 * n] = positions
            self._positions[2 * n : 3 * n] = positions
            self._positions[3 * n : 4 * n] = 0
        self._row_batch.n_tokens = n
        return self._row_batch

    def _fill(self, n: int, positions: Sequence[int], sequences: Sequence[int], outputs: Sequence[bool]) -> int:
        if not 0 < n <= self.capacity:
            raise DecodeError(f"a batch of {n} inputs, room for {self.capacity}")
        if not len(positions) == len(sequences) == len(outputs) == n:
            raise DecodeError(f"a batch of {n} inputs with positions, sequences or outputs of another number")
        if min(positions) < 0:  # llama.cpp would return 0 and lose the token
            raise DecodeError("a position is negative")
        self._sequences[:n] = sequences
        self._outputs[:n] = outputs
        return n
