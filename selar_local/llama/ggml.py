"""The few functions of ggml that llama-cpp-python does not bind: tensor types, their sizes, dequantising."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from selar_local.llama.native import C

# GGML_TYPE_COUNT of the pinned llama.cpp: ggml indexes its table without looking, so no number beyond may reach it
TYPE_COUNT = 43

_TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


class TypeTraits(NamedTuple):
    """One ggml tensor type: ``block_bytes`` bytes hold ``block`` elements."""

    name: str
    block: int
    block_bytes: int


class _NativeTraits(ctypes.Structure):
    """``struct ggml_type_traits`` of ggml.h."""

    _fields_ = [
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    ]


@functools.lru_cache(maxsize=1)
def _libraries() -> tuple[ctypes.CDLL, ...]:
    """The loaded libraries that may hold ggml's symbols."""
    loaded: list[ctypes.CDLL] = [C._lib]
    if sys.platform == "win32":
        # a DLL exports its own symbols only; elsewhere the loader searches what llama was linked against, and
        # loading libggml-base by name there would bring a second copy with its own state
        folder = Path(C.__file__).parent / "lib"
        beside = [folder / name for name in ("ggml-base.dll", "ggml.dll", "ggml-cpu.dll", "ggml-rpc.dll")]
        loaded += [ctypes.CDLL(str(path)) for path in beside if path.exists()]
    return tuple(loaded)


def address_of(name: str) -> int | None:
    """The address of the C function ``name`` in the libraries that llama.cpp runs on, or None where it is not there."""
    for library in _libraries():
        try:
            return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        except AttributeError:
            continue
    return None


def symbol(name: str, restype: Any, argtypes: list[Any]) -> Callable[..., Any] | None:
    """The C function ``name`` of the ggml that llama.cpp runs on, or None where it cannot be reached."""
    address = address_of(name)
    # a prototype of our own: llama-cpp-python's view of the same function stays as it is
    return ctypes.CFUNCTYPE(restype, *argtypes)(address) if address else None


@functools.lru_cache(maxsize=1)
def _native() -> dict[int, _NativeTraits]:
    traits = symbol("ggml_get_type_traits", ctypes.POINTER(_NativeTraits), [ctypes.c_int])
    if traits is None:
        return {}
    found = {number: traits(number).contents for number in range(TYPE_COUNT)}
    return {number: entry for number, entry in found.items() if entry.blck_size > 0 and entry.type_size > 0}


@functools.lru_cache(maxsize=1)
def type_traits() -> dict[int, TypeTraits]:
    """Every tensor type this llama.cpp can read, by its number; removed types are left out."""
    native = _native()
    if native:
        return {
            number: TypeTraits(entry.type_name.decode(), entry.blck_size, entry.type_size)
            for number, entry in native.items()
        }
    return {
        int(kind): TypeTraits(GGMLQuantizationType(kind).name.lower(), block, size)
        for kind, (block, size) in GGML_QUANT_SIZES.items()
        if int(kind) < TYPE_COUNT
    }


def type_name(number: int) -> str:
    """ggml's own name of a tensor type ("q4_K"), "unknown" for a number it does not know."""
    traits = type_traits().get(number)
    return traits.name if traits else "unknown"


def row_size(number: int, elements: int) -> int:
    """Bytes of a row of ``elements`` values. Raises ValueError if the type is unknown or cuts a block."""
    traits = type_traits().get(number)
    if traits is None or elements < 0 or elements % traits.block:
        raise ValueError(f"no row of {elements} elements of tensor type {number}")
    return elements // traits.block * traits.block_bytes


@functools.lru_cache(maxsize=64)
def to_float(number: int) -> Callable[[int, int, int], None] | None:
    """``f(source address, float32 target address, elements)`` dequantising rows of a type; None if ggml has none.

    F32 has none, and so has every type where ggml's symbols cannot be reached.
    """
    entry = _native().get(number)
    if entry is None or not entry.to_float:
        return None
    return _TO_FLOAT(entry.to_float)
