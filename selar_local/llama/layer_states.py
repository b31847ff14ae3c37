"""The residual stream after every layer, copied out of llama.cpp's graph while a decode computes it (``cb_eval``)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.errors import DecodeError, UnsupportedModel
from selar_local.llama import ggml
from selar_local.llama.library import C
from selar_local.llama.model import LlamaModel

_PREFIX = b"l_out-"  # what llama.cpp calls a layer's output; copies of it for other devices have longer names
_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_size_t


class LayerStates:
    """Give `callback` to a context when it is created; within `capturing` every decode leaves its states here.

    A context without it pays nothing. With it a decode costs some 0.2 ms more, while capturing a few per cent.
    """

    def __init__(self, model: LlamaModel) -> None:
        """Raises UnsupportedModel where ggml's functions cannot be reached."""
        self.n_layer, self.n_embd = int(C.llama_model_n_layer(model.pointer)), model.n_embd
        name = ggml.symbol("ggml_get_name", ctypes.c_char_p, [_POINTER])
        n_bytes = ggml.symbol("ggml_nbytes", _SIZE, [_POINTER])
        n_rows = ggml.symbol("ggml_nrows", ctypes.c_int64, [_POINTER])
        contiguous = ggml.symbol("ggml_is_contiguous", ctypes.c_bool, [_POINTER])
        copy = ggml.symbol("ggml_backend_tensor_get", None, [_POINTER, _POINTER, _SIZE, _SIZE])
        if not (name and n_bytes and n_rows and contiguous and copy):
            raise UnsupportedModel("this build of llama.cpp does not let its layers be looked at: ggml is out of reach")
        self._name, self._n_bytes, self._n_rows = name, n_bytes, n_rows
        self._contiguous, self._copy = contiguous, copy
        self._capturing = False
        self._taken: dict[int, npt.NDArray[np.float32]] = {}
        self._fault: BaseException | None = None
        #: llama.cpp keeps its address alone: it lives as long as this object, which must outlive the context.
        self.callback = C.ggml_backend_sched_eval_callback(self._on_node)

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Within: the states of a decode are kept until the next one. What went wrong in it is raised at the end."""
        self._capturing, self._fault = True, None
        self._taken.clear()
        try:
            yield
        finally:
            self._capturing = False
        if self._fault is not None:
            raise self._fault

    def states(self) -> npt.NDArray[np.float32]:
        """The states of the last captured decode, layer by layer: a copy, (n_layer, n_rows, n_embd) float32.

        n_rows: the inputs of the batch, which must all have been outputs, because the last layer has no other rows.
        Raises UnsupportedModel where the model's graph does not name them all, DecodeError where nothing was captured,
        or a batch was computed in pieces or had inputs that were no outputs.
        """
        if not self._taken:
            raise UnsupportedModel("llama.cpp names no layer states for this architecture")
        missing = [layer for layer in range(self.n_layer) if layer not in self._taken]
        if missing:
            raise UnsupportedModel(f"llama.cpp names no state after layer {missing[0] + 1} for this architecture")
        layers = [self._taken[layer] for layer in range(self.n_layer)]
        if len({layer.shape for layer in layers}) > 1:
            raise DecodeError("inputs of the batch were no outputs: the last layer has no states of them")
        return np.stack(layers)

    def _on_node(self, tensor: Any, asking: bool, _data: Any) -> bool:
        """llama.cpp asks before a node is computed whether it is wanted, and comes again with its values."""
        if not self._capturing:
            return not asking
        try:
            layer = self._layer(tensor)
            if asking:
                return layer is not None
            if layer is not None:
                self._take(tensor, layer)
        except BaseException as error:  # nothing may be raised through llama.cpp
            self._fault = self._fault or error
        return not asking

    def _layer(self, tensor: Any) -> int | None:
        name: bytes = self._name(tensor) or b""
        number = name[len(_PREFIX) :]
        return int(number) if name.startswith(_PREFIX) and number.isdigit() else None

    def _take(self, tensor: Any, layer: int) -> None:
        """Copy it now: llama.cpp reuses its memory for the layers that follow."""
        n_rows, n_bytes = int(self._n_rows(tensor)), int(self._n_bytes(tensor))
        if layer in self._taken:
            raise DecodeError("llama.cpp computed the batch in pieces: fewer inputs at a time are needed")
        if n_bytes != 4 * n_rows * self.n_embd or not self._contiguous(tensor):
            raise UnsupportedModel("the layer states of this architecture have another shape than is known here")
        values = np.empty((n_rows, self.n_embd), np.float32)
        self._copy(tensor, values.ctypes.data, 0, n_bytes)
        self._taken[layer] = values
