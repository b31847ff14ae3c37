"""The final norm and the output matrix of a model, applied outside llama.cpp: from any layer's state to logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selar_local.errors import UnsupportedModel
from selar_local.llama.gguf_file import GgufFile
from selar_local.llama.tensor_rows import TensorRows

Floats = npt.NDArray[np.float32]

#: Those whose head was compared with llama.cpp's source; of others the check of the last layer decides.
KNOWN_ARCHITECTURES = frozenset({"llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"})
_BLOCK_BYTES = 16 << 20  # of dequantised rows at a time
_DIVIDED_BY_SCALE = ("granite", "minicpm")  # the others multiply
#: llama.cpp's own values where the file names none.
_DEFAULT_SOFTCAP = {"gemma2": 30.0}
_EPSILON = "attention.layer_norm_rms_epsilon"


class OutputHead:
    """``logits = softcap(scale * W norm(x))``: RMS norm, output matrix (or the tied embedding matrix), bias.

    The matrix is read from the file's memory map and dequantised a block of rows at a time, each block serving all
    the states of a call. Gemma's norm weights are stored with their 1 added, so they need nothing of their own.
    """

    def __init__(self, gguf: GgufFile, n_vocab: int) -> None:
        """n_vocab: logits of the model. Raises UnsupportedModel for a head of another kind."""
        self._gguf = gguf
        name, own = gguf.path.name, gguf.metadata
        epsilon = own.get(f"{gguf.architecture}.{_EPSILON}")
        norm = gguf.tensors.get("output_norm.weight")
        matrix = gguf.tensors.get("output.weight", gguf.tensors.get("token_embd.weight"))
        if norm is None or not isinstance(epsilon, float) or "output_norm.bias" in gguf.tensors:
            raise UnsupportedModel(f"{name}: the final norm of architecture {gguf.architecture} is no RMS norm")
        if matrix is None or len(matrix.shape) != 2 or norm.shape != matrix.shape[:1] or matrix.shape[1] < n_vocab:
            raise UnsupportedModel(f"{name}: the output matrix of architecture {gguf.architecture} is of another kind")
        self.n_vocab, self.n_embd = n_vocab, matrix.shape[0]
        self.tied = "output.weight" not in gguf.tensors
        self.matrix_type = matrix.type_name
        self._epsilon = np.float32(epsilon)
        self._norm = TensorRows(norm).block(0, 1)[0]
        self._matrix = TensorRows(matrix)
        bias = gguf.tensors.get("output.bias")
        self._bias = None if bias is None else TensorRows(bias).block(0, 1)[0]
        self._scale = self._factor()
        self._softcap = self._number("final_logit_softcapping", _DEFAULT_SOFTCAP.get(gguf.architecture, 0.0))
        self._block = max(_BLOCK_BYTES // (4 * self.n_embd), 1)

    def logits(self, states: Floats, out: Floats | None = None) -> Floats:
        """The logits that the states of any layer give: (m, n_embd) float32 to (m, n_vocab) float32.

        out: written to instead of a new array. One pass over the matrix, whatever m is.
        """
        if out is None:
            out = np.empty((states.shape[0], self.n_vocab), np.float32)
        normed = self.normed(states)
        for start in range(0, self.n_vocab, self._block):
            end = min(start + self._block, self.n_vocab)
            np.matmul(normed, self._matrix.block(start, end).T, out=out[:, start:end])
        if self._bias is not None:
            out += self._bias[: self.n_vocab]
        if self._scale != 1.0:
            out *= np.float32(self._scale)
        if self._softcap:
            out /= np.float32(self._softcap)
            np.tanh(out, out=out)
            out *= np.float32(self._softcap)
        return out

    def normed(self, states: Floats) -> Floats:
        """The states after the final norm: (m, n_embd) float32."""
        squares = np.einsum("ij,ij->i", states, states, dtype=np.float64) / self.n_embd
        shrunk: Floats = states * (1.0 / np.sqrt(squares + self._epsilon)).astype(np.float32)[:, None]
        shrunk *= self._norm
        return shrunk

    def _factor(self) -> float:
        scale = self._number("logit_scale", 0.0) or 1.0
        return 1.0 / scale if self._gguf.architecture.startswith(_DIVIDED_BY_SCALE) else scale

    def _number(self, key: str, default: float) -> float:
        value = self._gguf.metadata.get(f"{self._gguf.architecture}.{key}", default)
        return float(value) if isinstance(value, (int, float)) else default
