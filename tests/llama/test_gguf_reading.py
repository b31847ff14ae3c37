"""What is read from a GGUF file is what ggml and gguf read from it; ggml's table of types."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from support.tiny_gguf import QuickReader, field_value, write_tiny_gguf

from selar_local.llama import ggml
from selar_local.llama.gguf_file import open_gguf

TinyModel = Callable[..., Path]


def as_ggml_reads_it(path: Path) -> dict[str, Any]:
    """The file through ggml's own reader."""

    class Params(ctypes.Structure):
        _fields_ = (("no_alloc", ctypes.c_bool), ("ctx", ctypes.c_void_p))

    def call(name: str, restype: Any, *arguments: Any) -> Any:
        types = [type(value) if isinstance(value, Params) else kind for kind, value in arguments]
        function = ggml.symbol(name, restype, types)
        assert function is not None
        return function(*(value for _, value in arguments))

    context = call(
        "gguf_init_from_file", ctypes.c_void_p, (ctypes.c_char_p, os.fsencode(path)), (None, Params(True, None))
    )
    here = (ctypes.c_void_p, context)
    data = call("gguf_get_data_offset", ctypes.c_size_t, here)
    read: dict[str, Any] = {"kinds": {}, "tensors": {}}
    for index in range(call("gguf_get_n_kv", ctypes.c_int64, here)):
        at = (ctypes.c_int64, index)
        name = call("gguf_get_key", ctypes.c_char_p, here, at).decode()
        read["kinds"][name] = call("gguf_get_kv_type", ctypes.c_int, here, at)
    for index in range(call("gguf_get_n_tensors", ctypes.c_int64, here)):
        at = (ctypes.c_int64, index)
        name = call("gguf_get_tensor_name", ctypes.c_char_p, here, at).decode()
        offset = data + call("gguf_get_tensor_offset", ctypes.c_size_t, here, at)
        kind = call("gguf_get_tensor_type", ctypes.c_int, here, at)
        size = call("gguf_get_tensor_size", ctypes.c_size_t, here, at)
        read["tensors"][name] = (offset, kind, size)
    call("gguf_free", None, here)
    return read


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"architecture": "gemma3", "weight_type": "Q8_0"},
        {"architecture": "qwen2vl", "weight_type": "F16"},
        {"architecture": "bert"},
        {"weight_type": "Q4_1", "token_embd_type": "Q8_0", "chat_template": "é{{ messages }}"},
    ],
    ids=repr,
)
def test_it_reads_what_ggml_and_gguf_read(tiny: TinyModel, options: dict[str, Any]) -> None:
    path = tiny(**options)
    ours, native, reference = open_gguf(path), as_ggml_reads_it(path), QuickReader(path)
    assert list(ours.value_types) == list(native["kinds"])
    assert {info.name: (info.offset, info.type, info.nbytes) for info in ours.tensors.values()} == native["tensors"]
    for name, value in ours.metadata.items():
        assert value == field_value(reference.fields[name]), name
        assert isinstance(value, type(field_value(reference.fields[name])))
    for item in reference.tensors:
        assert ours.tensors[item.name].shape == tuple(item.shape.tolist())
        assert ours.tensors[item.name].type_name.lower() == item.tensor_type.name.lower()
    assert ours.file_size == path.stat().st_size
    assert (ours.parts, ours.version) == ((path,), 3)


def test_the_file_is_let_go(tmp_path: Path) -> None:
    """Nothing keeps the file mapped: on Windows it could not be deleted."""
    path = write_tiny_gguf(tmp_path / "m.gguf")
    open_gguf(path)
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(path) not in maps.read_text()
    path.unlink()


@pytest.mark.gguf
def test_real_models(models_dir: Path) -> None:
    for path in sorted(models_dir.glob("*.gguf")):
        assert open_gguf(path).architecture


def test_the_table_of_types_agrees_with_gguf() -> None:
    traits = ggml.type_traits()
    for kind, (block, size) in GGML_QUANT_SIZES.items():
        if int(kind) in traits and kind != GGMLQuantizationType.Q8_1:  # gguf has the size of long ago
            assert (traits[int(kind)].block, traits[int(kind)].block_bytes) == (block, size), kind
    assert max(traits) < ggml.TYPE_COUNT
    assert ggml.type_name(12) == "q4_K"
    assert ggml.type_name(999) == "unknown"
    assert ggml.row_size(8, 64) == 68
    for kind, elements in ((8, 33), (999, 32), (8, -32)):
        with pytest.raises(ValueError, match="no row of"):
            ggml.row_size(kind, elements)
    assert ggml.to_float(0) is None
    assert ggml.to_float(8) is not None
    assert ggml.symbol("no_such_function", None, []) is None
