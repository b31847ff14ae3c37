"""The process of a probe: opens a model and decodes two tokens, printing each stage when it begins.

``python -m selar_local.llama.probe_process FILE`` imports as little as it can, since every new file waits for it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import threading
import time
import types
from typing import Any, NoReturn

#: What the process prints, in this order, and the seconds that each may take: some damaged files never end.
STAGES = {"open": 300, "tokenize": 20, "context": 30, "ids": 30, "rows": 30, "end": 0}
LATE = 75  # the exit code where one takes longer
_COMPUTING = 0.25  # seconds of a decode: the first layers of a large model show what the others do
#: A text with every byte that UTF-8 can have: some vocabularies lack one.
_ALL_BYTES = b" ".join(bytes([byte]) for byte in (*range(1, 0xC0), *range(0xC2, 0xF5)))
_watch: threading.Timer | None = None


def main(path: str) -> NoReturn:
    """Try the model out, and leave."""
    C = _bindings()
    silent = C.llama_log_callback(lambda _level, _text, _data: None)
    C.llama_log_set(silent, ctypes.c_void_p(0))
    C.llama_backend_init()
    try_out(C, path)
    os._exit(0)


def try_out(C: Any, path: str) -> None:
    """Use the model as a run does. Each stage is printed when it begins. C: the bindings."""
    _begin("open")
    params = C.llama_model_default_params()
    no_devices = (ctypes.c_void_p * 1)(None)
    params.devices = ctypes.cast(no_devices, ctypes.c_void_p)
    params.n_gpu_layers, params.load_mode, params.use_extra_bufts = 0, C.LLAMA_LOAD_MODE_MMAP, False
    model = C.llama_model_load_from_file(os.fsencode(path), params)
    if model:  # else llama.cpp says what is wrong, and lives
        _begin("tokenize")
        tokens = (C.llama_token * (2 * len(_ALL_BYTES)))()
        C.llama_tokenize(C.llama_model_get_vocab(model), _ALL_BYTES, len(_ALL_BYTES), tokens, len(tokens), True, True)
        if C.llama_model_has_decoder(model) and not C.llama_model_is_diffusion(model):
            _decode(C, model)
    _begin("end")


def _bindings() -> Any:
    """llama_cpp.llama_cpp alone: what the package imports beside it, such as NumPy, takes longer than the probe."""
    found = importlib.util.find_spec("llama_cpp")
    package = types.ModuleType("llama_cpp")
    package.__path__ = list((found and found.submodule_search_locations) or ())
    package.__version__ = ""  # type: ignore[attr-defined]
    sys.modules["llama_cpp"] = package
    from selar_local.llama.native import C

    return C


def _begin(stage: str) -> None:
    global _watch
    if _watch is not None:
        _watch.cancel()
    if STAGES[stage]:
        _watch = threading.Timer(STAGES[stage], os._exit, (LATE,))
        _watch.daemon = True
        _watch.start()
    os.write(1, f"{stage}\n".encode())


def _decode(C: Any, model: Any) -> None:
    """Two tokens as ids, then two rows."""
    _begin("context")
    params = C.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max, params.n_outputs_max = 1024, 512, 512, 1, 2
    params.n_threads = params.n_threads_batch = 1  # the process that waits opens the file meanwhile
    params.pooling_type = C.LLAMA_POOLING_TYPE_NONE
    context = C.llama_init_from_model(model, params)
    memory = C.llama_get_memory(context) if context else None
    if not memory:
        return
    until = 0.0
    late = C.ggml_abort_callback(lambda _data: time.monotonic() > until)
    C.llama_set_abort_callback(context, late, None)
    for stage, width in (("ids", 0), ("rows", C.llama_model_n_embd_inp(model))):
        _begin(stage)
        until = time.monotonic() + _COMPUTING
        C.llama_memory_clear(memory, True)
        batch = C.llama_batch_init(8, width, 1)  # 8 positions: with M-RoPE each of two rows has four
        batch.n_tokens = 2
        for i in range(2):
            batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = i, 1, 0, i
        if width:
            for i in range(2 * width):
                batch.embd[i] = 0.01
            for i, position in enumerate((0, 1, 0, 1, 0, 1, 0, 0)):
                batch.pos[i] = position
        else:
            batch.token[0], batch.token[1] = 0, 1
        C.llama_decode(context, batch)


if __name__ == "__main__":
    main(sys.argv[1])
