"""Rows of a tensor, read from the file's memory map and dequantised when they are asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selar_local.errors import ModelFileError
from selar_local.llama import ggml
from selar_local.llama.gguf_file import TensorInfo

Floats = npt.NDArray[np.float32]


class TensorRows:
    """A tensor of any type as (n_rows, width) float32, never copied whole."""

    def __init__(self, tensor: TensorInfo) -> None:
        """Raises ModelFileError when the file cannot be mapped."""
        self.width, self.n_rows = tensor.shape[0], int(np.prod(tensor.shape[1:], dtype=np.int64))
        self._type = tensor.type
        self._row_bytes = ggml.row_size(tensor.type, self.width)
        try:
            self._data = np.memmap(
                tensor.part, np.uint8, mode="r", offset=tensor.offset, shape=(self.n_rows * self._row_bytes,)
            )
        except (OSError, ValueError) as error:
            raise ModelFileError(f"{tensor.part.name}: {tensor.name} cannot be read: {error}") from None
        self._address = self._data.ctypes.data
        self._to_float = ggml.to_float(tensor.type)
        self._one = np.empty(self.width, np.float32)
        self._one_address = self._one.ctypes.data

    def row(self, number: int) -> Floats:
        """One row: (width,) float32."""
        if self._to_float is None:
            slow: Floats = self._slowly(number, number + 1)[0]
            return slow
        # Into memory of a known address: NumPy takes longer to give an address than ggml for the row.
        self._to_float(self._address + number * self._row_bytes, self._one_address, self.width)
        row: Floats = self._one.copy()
        return row

    def block(self, start: int, end: int) -> Floats:
        """Rows one after the other: (end - start, width) float32."""
        rows = np.empty((end - start, self.width), np.float32)
        if self._to_float is None:
            rows[:] = self._slowly(start, end)
        else:
            self._to_float(self._address + start * self._row_bytes, rows.ctypes.data, rows.size)
        return rows

    def scattered(self, numbers: npt.NDArray[np.int64], out: Floats) -> None:
        """Rows from anywhere, written to `out` (len(numbers), width) float32."""
        if self._to_float is None:
            for i, number in enumerate(numbers.tolist()):
                out[i] = self._slowly(number, number + 1)[0]
            return
        to_float, width, target = self._to_float, self.width, out.ctypes.data
        for address in (self._address + numbers * self._row_bytes).tolist():
            to_float(address, target, width)
            target += 4 * width

    def _slowly(self, start: int, end: int) -> Floats:
        """F32, which ggml has no function for, and every type where its function cannot be reached."""
        from gguf import GGMLQuantizationType
        from gguf.quants import dequantize

        raw = self._data[start * self._row_bytes : end * self._row_bytes].reshape(end - start, self._row_bytes)
        rows: Floats = dequantize(raw, GGMLQuantizationType(self._type))
        return rows
