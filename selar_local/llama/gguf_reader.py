"""Walks one GGUF file from magic to the last tensor and trusts no number in it.

Plain Python and NumPy: on the tokenizer's arrays it is no slower than ``gguf_init_from_file``, it works wherever Python
does, and it can say what is wrong. Everything gguf.cpp refuses is refused here first, with a reason.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selar_local.llama.gguf_strings import Fault, skip_strings

if TYPE_CHECKING:
    from selar_local.llama.ggml import TypeTraits

__all__ = ["Fault", "Header", "Scalar", "TensorInfo", "glance", "read_header"]

Scalar = int | float | bool | str

UINT32, BOOL, STRING, ARRAY, UINT64 = 4, 7, 8, 9, 10
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "b", 10: "Q", 11: "q", 12: "d"}
SCALARS = {number: struct.Struct("<" + code) for number, code in _CODES.items()}
_VALUE_TYPES = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64"]
_MAX_KEYS = 1 << 16
_MAX_TENSORS = 1 << 20
_MAX_TEXT = 1 << 30
_MAX_NAME = 63
_MAX_ELEMENTS = 1 << 48


class TensorInfo(NamedTuple):
    """One tensor of the table: ``shape`` as ggml's ne, without the trailing ones a GGUF leaves out."""

    name: str
    shape: tuple[int, ...]
    type: int
    type_name: str
    offset: int
    nbytes: int
    part: Path


@dataclass
class Header:
    """What stands before the tensor data of one file."""

    version: int
    size: int
    metadata: dict[str, Scalar] = field(default_factory=dict)
    value_types: dict[str, str] = field(default_factory=dict)
    tensors: list[TensorInfo] = field(default_factory=list)


def read_header(data: mmap.mmap, path: Path) -> Header:
    """Reads and checks all of one file but its tensor data. Raises Fault."""
    walker = _Walker(data)
    header = Header(_version(walker), len(data))
    tensors, keys = _counts(walker)
    for _ in range(keys):
        _read_pair(walker, header)
    alignment = header.metadata.get("general.alignment", 32)
    kind = header.value_types.get("general.alignment", "u32")
    if kind != "u32" or not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise Fault(f"is damaged: general.alignment is {alignment!r} ({kind}), not a power of two")
    table = [_read_tensor(walker) for _ in range(tensors)]
    _place_tensors(header, table, walker.position, alignment, path)
    return header


def glance(data: mmap.mmap) -> dict[str, Scalar]:
    """The metadata before the tokenizer's, as far as they make sense; nothing is checked. Raises Fault for no GGUF."""
    walker = _Walker(data)
    header = Header(_version(walker), len(data))
    with suppress(Fault):
        _, keys = walker.u64(), walker.u64()
        for _ in range(keys):
            if _read_pair(walker, header).startswith("tokenizer."):
                break
    return header.metadata


class _Walker:
    """A position in the file; every read checks that the file goes that far."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> int:
        """The position of the next ``size`` bytes, stepping over them."""
        start = self.position
        if size > len(self.data) - start:
            raise Fault("ends inside its header", cut=True)
        self.position = start + size
        return start

    def number(self, form: struct.Struct) -> int | float:
        value: int | float = form.unpack_from(self.data, self.take(form.size))[0]
        return value

    def u32(self) -> int:
        return int(self.number(SCALARS[UINT32]))

    def u64(self) -> int:
        return int(self.number(SCALARS[UINT64]))

    def text(self, what: str) -> bytes:
        length = self.u64()
        if length > _MAX_TEXT:
            raise Fault(f"is damaged: {what} is {length} bytes long")
        start = self.take(length)
        return self.data[start : start + length]

    def name(self, what: str) -> str:
        raw = self.text(what)
        try:
            name = raw.decode()
        except UnicodeDecodeError:
            raise Fault(f"is damaged: {what} is not text") from None
        if not name or not name.isprintable():
            raise Fault(f"is damaged: {what} is empty or holds control characters")
        return name


def _version(walker: _Walker) -> int:
    """The caller has seen the magic."""
    walker.take(4)
    version = walker.u32()
    if version & 0xFFFF == 0 and version:
        raise Fault("is a big-endian GGUF file, which this machine cannot read: get or convert to a little-endian one")
    if version == 1:
        raise Fault("is a GGUF file of version 1, which llama.cpp no longer reads: convert or download it again")
    if version not in (2, 3):
        raise Fault(f"is a GGUF file of version {version}; versions 2 and 3 can be read")
    return version


def _counts(walker: _Walker) -> tuple[int, int]:
    """Numbers of tensors and keys."""
    tensors, keys = walker.u64(), walker.u64()
    if tensors > _MAX_TENSORS or keys > _MAX_KEYS:
        raise Fault(f"is damaged: it claims {tensors} tensors and {keys} keys")
    return tensors, keys


def _read_pair(walker: _Walker, header: Header) -> str:
    """Reads a key and its value; the key."""
    key = walker.name("a key")
    if key in header.value_types:
        raise Fault(f"is damaged: the key {key!r} stands in it twice")
    kind = walker.u32()
    if kind == ARRAY:
        _read_array(walker, header, key)
        return key
    header.value_types[key] = value_type_name(kind, key)
    if kind == STRING:
        header.metadata[key] = walker.text(f"the value of {key}").decode(errors="replace")
    elif kind == BOOL:
        header.metadata[key] = walker.number(SCALARS[BOOL]) != 0
    else:
        header.metadata[key] = walker.number(SCALARS[kind])
    return key


def _read_array(walker: _Walker, header: Header, key: str) -> None:
    """Steps over an array."""
    kind, count = walker.u32(), walker.u64()
    header.value_types[key] = f"[{value_type_name(kind, key)}]"
    if kind == ARRAY:
        raise Fault(f"is damaged: {key} is an array of arrays")
    if count > _MAX_TEXT:
        raise Fault(f"is damaged: {key} claims {count} entries")
    if kind == STRING:
        walker.position = skip_strings(walker.data, walker.position, count)
    else:
        walker.take(SCALARS[kind].size * count)


def value_type_name(kind: int, key: str) -> str:
    """GGUF's short name of a value type ("u32"). Raises Fault for a number that is none."""
    if kind >= len(_VALUE_TYPES):
        raise Fault(f"is damaged: {key} has the unknown value type {kind}")
    return _VALUE_TYPES[kind]


def _read_tensor(walker: _Walker) -> tuple[str, tuple[int, ...], int, int, int]:
    """Name, shape, type, size in bytes and offset in the data section of one entry of the table."""
    name = walker.name("a tensor's name")
    if len(name.encode()) > _MAX_NAME:
        raise Fault(f"is damaged: the tensor name {name[:40]!r}... is too long")
    dimensions = walker.u32()
    if dimensions > 4:
        raise Fault(f"is damaged: tensor {name} has {dimensions} dimensions")
    *sizes, kind, offset = struct.unpack_from(f"<{dimensions}QIQ", walker.data, walker.take(8 * dimensions + 12))
    shape = tuple(sizes)
    traits = _type_traits().get(kind)
    if traits is None:
        raise Fault(f"cannot be read: tensor {name} has type {kind}, which this llama.cpp does not know")
    if 0 in shape:
        raise Fault(f"is damaged: tensor {name} of shape {shape} is empty")
    row = shape[0] if shape else 1
    if row % traits.block:
        raise Fault(f"is damaged: a row of tensor {name} ({row}) is no whole number of {traits.name} blocks")
    nbytes = math.prod(shape) // traits.block * traits.block_bytes
    if math.prod(shape) >= _MAX_ELEMENTS:
        raise Fault(f"is damaged: tensor {name} of shape {shape} is larger than any file")
    return name, shape, kind, nbytes, offset


def _type_traits() -> Mapping[int, TypeTraits]:
    """llama.cpp's types; it is not loaded for a glance at the metadata."""
    from selar_local.llama.ggml import type_traits

    return type_traits()


def _place_tensors(
    header: Header,
    table: list[tuple[str, tuple[int, ...], int, int, int]],
    end: int,
    alignment: int,
    path: Path,
) -> None:
    """Checks that the tensors lie one after the other inside the file, as gguf.cpp demands."""
    data_start = -(-end // alignment) * alignment
    expected = need = 0
    names: set[str] = set()
    for name, shape, kind, nbytes, offset in table:
        if name in names:
            raise Fault(f"is damaged: the tensor {name} stands in it twice")
        if offset != expected:
            raise Fault(f"is damaged: tensor {name} lies at {offset} of the tensor data instead of {expected}")
        names.add(name)
        need = data_start + offset + nbytes
        expected += -(-nbytes // alignment) * alignment
        kind_name = _type_traits()[kind].name
        header.tensors.append(TensorInfo(name, shape, kind, kind_name, data_start + offset, nbytes, path))
    if need > header.size:
        raise Fault(f"is incomplete: {megabytes(header.size, need)} are there; download it again")
    if table and data_start > header.size:
        raise Fault("ends inside its header", cut=True)


def megabytes(size: int, whole: int) -> str:
    """ "12.3 MB of 98.4 MB"; in bytes where megabytes would not show the difference."""
    if whole - size < 100_000:
        return f"{size} of {whole} bytes"
    return f"{size / 1e6:.1f} MB of {whole / 1e6:.1f} MB"
