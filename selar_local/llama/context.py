"""A `llama_context`: decode, logits, memory. One owner at a time: two threads on one context abort the process."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from selar_local.config import CACHE_TYPES, EngineConfig
from selar_local.errors import DecodeError, OptionError, UnsupportedModel
from selar_local.llama.context_memory import measure
from selar_local.llama.ggml import type_traits
from selar_local.llama.layer_states import LayerStates
from selar_local.llama.library import C, recent_errors, uses_openmp
from selar_local.llama.machine import memory_limit
from selar_local.llama.model import LlamaModel
from selar_local.llama.thread_pool import ThreadPool
from selar_local.llama.thread_waiting import ThreadWaiting

#: A saved state: an array of bytes, in llama.cpp's own format.
State = ctypes.Array[ctypes.c_uint8]

# Tokens of several prompts that one batch has room for: more are hardly faster a token, and running answers wait.
_TOGETHER = 256

_PARTIAL = C.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY

# Prompt tokens that get their logits in one batch, where all of them are asked for.
_SCORED = 16

_FLASH = {"on": 1, "off": 0, "auto": -1}


# An address is all that is needed; llama-cpp-python's prototype makes a pointer object of every answer.
_logits_address = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)(("llama_get_logits_ith", C._lib))


class ContextFull(Exception):
    """The KV cache has no place for the batch; its state is kept."""


class Aborted(Exception):
    """The decode was cancelled (`LlamaContext.abortable`)."""


class LlamaContext:
    """The context of one model for `config.parallel` sequences."""

    def __init__(self, model: LlamaModel, config: EngineConfig, layers: LayerStates | None = None) -> None:
        """layers: what is to see the states after each layer."""
        self.model = model
        self._layers = layers
        self._cancelled: Callable[[], bool] = bool
        self._abort_callback = C.ggml_abort_callback(lambda _data: self._cancelled())
        self._no_callback = C.ggml_abort_callback()
        self._views: dict[int, npt.NDArray[np.float32]] = {}
        self._rows: tuple[int, list[npt.NDArray[np.float32]]] = (0, [])  # with the address of the first
        self._pointer: Any = None
        self._pool: ThreadPool | None = None
        self.waiting = ThreadWaiting()
        # Two at least: the injection check decodes two tokens at once.
        self.batch_size = max(config.batch_size, config.parallel, 2)
        self._running_state = bool(C.llama_model_is_recurrent(model.pointer) or C.llama_model_is_hybrid(model.pointer))
        self._swa_full = config.swa_full or self._running_state
        self._require_memory(config)
        self._pointer = C.llama_init_from_model(model.pointer, self._params(config))
        if not self._pointer:
            said = recent_errors()
            raise UnsupportedModel(f"llama.cpp could not create a context{': ' + said if said else ''}")
        if not uses_openmp():
            self._pool = ThreadPool.attach(self._pointer, model.threads)
        self._memory = C.llama_get_memory(self._pointer)
        if not self._memory:
            self.close()
            kind = model.gguf.architecture
            raise UnsupportedModel(f"{model.name}: a {kind} model keeps no KV cache, it cannot generate text")
        self._window = self._forgetful_window()
        # llama.cpp rounds the size up; what was asked for is what counts.
        self.n_ctx_seq = min(int(C.llama_n_ctx_seq(self._pointer)), config.ctx_size or model.n_ctx_train)
        self.n_batch = int(C.llama_n_batch(self._pointer))

    def _forgetful_window(self) -> int:
        """The positions that a sliding window keeps; 0 where the KV cache keeps all."""
        whole, part = (int(C.llama_state_seq_get_size_ext(self._pointer, 0, flags)) for flags in (0, _PARTIAL))
        # Some models have a window and a plain cache: then a part is the whole.
        return 0 if self._swa_full or whole == part else int(C.llama_model_n_swa(self.model.pointer))

    def _require_memory(self, config: EngineConfig) -> None:
        """Refuse a KV cache beyond the machine's memory: llama.cpp would take it and be killed for it.

        It is measured where a rough upper bound is too large. On a GPU the driver says no by itself.
        """
        there = memory_limit()
        if self.model.placement.uses_devices or there is None:
            return
        bound = self._most_bytes(config)
        if bound <= there:
            return
        params = self._params(config)
        tokens, batch = params.n_ctx // config.parallel, params.n_ubatch
        window = 0 if self._swa_full else int(C.llama_model_n_swa(self.model.pointer))
        size = measure(self.model.pointer, params, window)
        needed = config.parallel * size.needed(tokens, batch) if size else bound
        if needed > there:
            raise OptionError(
                f"a context of {tokens * config.parallel} tokens needs about {needed / 1e9:.1f} GB, this machine or "
                f"container has {there / 1e9:.1f} GB: lower the context size (-c)"
            )

    def _most_bytes(self, config: EngineConfig) -> float:
        """An upper bound of the KV cache, as if every layer kept every position of all its heads."""
        model, metadata, kind = self.model.pointer, self.model.gguf.metadata, self.model.gguf.architecture
        n_head = max(int(C.llama_model_n_head(model)), 1)
        lengths = (metadata.get(f"{kind}.attention.{name}_length") for name in ("key", "value"))
        head = max(self.model.n_embd // n_head, *(length for length in lengths if isinstance(length, int)), 0)
        row = max(int(C.llama_model_n_head_kv(model)) * head, self.model.n_embd)
        tokens = (config.ctx_size or self.model.n_ctx_train) * config.parallel
        traits = [type_traits()[CACHE_TYPES[name]] for name in (config.cache_type_k, config.cache_type_v)]
        return tokens * int(C.llama_model_n_layer(model)) * sum(row * t.block_bytes / t.block for t in traits)

    def _params(self, config: EngineConfig) -> C.llama_context_params:
        params = C.llama_context_default_params()
        per_sequence = config.ctx_size or self.model.n_ctx_train
        params.n_ctx = per_sequence * config.parallel
        params.n_batch = params.n_ubatch = max(self.batch_size, min(self.batch_size * config.parallel, _TOGETHER))
        params.n_seq_max = config.parallel
        # Only the last prompt token and the running steps need logits: room for every row would
        # cost n_batch x n_vocab floats.
        params.n_outputs_max = self.most_outputs = max(config.parallel, _SCORED)
        params.n_threads = params.n_threads_batch = self.model.threads
        params.swa_full = self._swa_full
        params.offload_kqv = config.kv_offload
        params.flash_attn_type = _FLASH[config.flash_attn]
        params.type_k = CACHE_TYPES[config.cache_type_k]
        params.type_v = CACHE_TYPES[config.cache_type_v]
        if f"{self.model.gguf.architecture}.pooling_type" in self.model.gguf.metadata:
            # Hidden states belong to single positions, also where the file names a pooling for embeddings.
            params.pooling_type = C.LLAMA_POOLING_TYPE_NONE
        params.no_perf = True
        if self._layers is not None:
            params.cb_eval = self._layers.callback
        return params

    def decode(self, batch: C.llama_batch) -> None:
        """One ``llama_decode``. Raises ContextFull, Aborted or DecodeError."""
        start = time.perf_counter()
        code = C.llama_decode(self._pointer, batch)
        self.waiting.decoded(time.perf_counter() - start)
        if code == 0:
            return
        if code == 1:
            raise ContextFull
        if code == 2:
            raise Aborted
        said = recent_errors()
        raise DecodeError(f"llama.cpp could not decode (code {code}){': ' + said if said else ''}")

    @contextmanager
    def abortable(self, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Within: a decode ends with Aborted once `cancelled()` (CPU only). About 0.4 ms a decode: for prompts."""
        self._cancelled = cancelled
        C.llama_set_abort_callback(self._pointer, self._abort_callback, None)
        try:
            yield
        finally:
            C.llama_set_abort_callback(self._pointer, self._no_callback, None)

    def logits(self, row: int) -> npt.NDArray[np.float32]:
        """The logits of batch row `row`: a (n_vocab,) float32 view, valid until the next decode."""
        address = _logits_address(self._pointer, row)
        if not address:
            raise DecodeError(f"row {row} of the batch has no logits")
        view = self._views.get(address)
        if view is None:
            self._views.clear()  # the buffer moved, older views point at freed memory
            buffer = (ctypes.c_float * self.model.n_vocab).from_address(address)
            view = self._views[address] = np.ctypeslib.as_array(buffer)
        return view

    def logits_of_all(self, n: int) -> list[npt.NDArray[np.float32]]:
        """The logits of a batch's `n` rows, all of them outputs: views as of `logits`. Cheaper than one by one."""
        first, last = (_logits_address(self._pointer, row) for row in (0, n - 1))
        n_vocab = self.model.n_vocab
        if not first or not last or last - first != 4 * n_vocab * (n - 1):
            return [self.logits(row) for row in range(n)]
        address, rows = self._rows
        if address != first or len(rows) < n:
            buffer = (ctypes.c_float * (n_vocab * n)).from_address(first)
            rows = list(np.ctypeslib.as_array(buffer).reshape(n, n_vocab))
            self._rows = first, rows
        return rows[:n]

    @contextmanager
    def giving_hidden_states(self) -> Iterator[None]:
        """Within: every token decoded is an output, and its hidden state is there beside its logits."""
        C.llama_set_embeddings(self._pointer, True)
        try:
            yield
        finally:
            C.llama_set_embeddings(self._pointer, False)

    def hidden_state(self, row: int) -> npt.NDArray[np.float32]:
        """The last layer's state of batch row `row` after the final norm: a copy, (n_embd,) float32."""
        pointer = C.llama_get_embeddings_ith(self._pointer, row)
        if not pointer:
            raise DecodeError(f"row {row} of the batch has no hidden state")
        state: npt.NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self.model.n_embd,)).copy()
        return state

    def forget(self, sequence: int) -> None:
        """Free everything the sequence holds in the KV cache."""
        if not C.llama_memory_seq_rm(self._memory, sequence, -1, -1):
            raise DecodeError(f"llama.cpp could not free sequence {sequence}")

    @property
    def needs_checkpoints(self) -> bool:
        """Whether a sequence can go back to where it was saved alone: the model keeps a running state, or a window."""
        return self._running_state or self._window > 0

    @property
    def exact_cut(self) -> int:
        """A sequence that is cut here or before is to the bit as it was. Beyond it a window's cells have another order,
        which counts: there a saved state alone is exact.
        """
        return self._window or 2**31 - 1

    def tidy(self, sequence: int, length: int) -> None:
        """Put the cells of a window in the order that they have after `restore`, and drop what has left it.

        After a whole chunk of a prompt: so it makes no difference whether one goes on, or comes back to a saved state.
        """
        if length > self.exact_cut and not self.restore(sequence, self.save(sequence), length):
            raise DecodeError(f"llama.cpp could not restore the state of sequence {sequence}")

    def length(self, sequence: int) -> int:
        """The positions that the sequence has, without those that it has forgotten behind a window."""
        return int(C.llama_memory_seq_pos_max(self._memory, sequence)) + 1

    def can_cut(self, sequence: int, length: int) -> bool:
        """Whether `truncate` can. (With a running state llama.cpp may say yes and leave a wrong one.)"""
        if self._running_state:
            return False
        if not self._window or not length:
            return True
        first = int(C.llama_memory_seq_pos_min(self._memory, sequence))  # -1: it holds nothing
        return 0 <= first <= max(0, length - self._window)

    def truncate(self, sequence: int, length: int) -> bool:
        """Free what the sequence holds from position `length` on; False, and no change, where that cannot be."""
        return self.can_cut(sequence, length) and self._cut(sequence, length)

    def _cut(self, sequence: int, length: int) -> bool:
        return bool(C.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def save(self, sequence: int, *, whole: bool = False) -> State:
        """The sequence's running state, or its window; whole: with the KV cache that can be cut."""
        flags = 0 if whole else _PARTIAL
        size = int(C.llama_state_seq_get_size_ext(self._pointer, sequence, flags))
        state = (ctypes.c_uint8 * size)()
        written = int(C.llama_state_seq_get_data_ext(self._pointer, state, size, sequence, flags))
        if written != size:
            raise DecodeError(f"llama.cpp could not save the state of sequence {sequence}")
        return state

    def restore(self, sequence: int, state: State, length: int) -> bool:
        """Put a sequence that has gone on back to where it had `length` positions and was saved. False: it could not.

        The sequence must have the positions that it had then; then nothing is left of what came later.
        """
        return self._load(sequence, state, _PARTIAL) and self._cut(sequence, length)

    def _load(self, sequence: int, state: State, flags: int) -> bool:
        read = C.llama_state_seq_set_data_ext(self._pointer, state, len(state), sequence, flags)
        return int(read) == len(state)

    def copy(self, source: int, target: int) -> None:
        """Make the empty sequence `target` hold what `source` holds, all of it: of a part llama.cpp would abort."""
        if self.needs_checkpoints:  # llama.cpp's own copy of some running states is another state
            self._load(target, self.save(source, whole=True), 0)
        else:
            C.llama_memory_seq_cp(self._memory, source, target, -1, -1)

    def clear(self) -> None:
        """Empty the KV cache and the recurrent state of all sequences."""
        C.llama_memory_clear(self._memory, True)

    def close(self) -> None:
        """Free the context. Idempotent."""
        if self._pointer:
            C.llama_free(self._pointer)
            self._pointer = None
            self._views.clear()
            self._rows = 0, []
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        self.waiting.close()
