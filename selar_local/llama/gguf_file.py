"""Reads the header of a GGUF model, possibly of several parts, and says what is wrong with a file that is none.

Whether llama.cpp survives the values in it is the probe's question.
"""

from __future__ import annotations

import mmap
import re
import stat
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from selar_local.errors import ModelFileError, ModelNotFound
from selar_local.llama.gguf_reader import Fault, Header, Scalar, TensorInfo, read_header

__all__ = ["GgufFile", "TensorInfo", "open_gguf"]

_PART_NAME = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_MAX_PARTS = 0xFFFF


@dataclass(frozen=True)
class GgufFile:
    """A checked model file.

    ``path`` is the first part, ``file_size`` the bytes of all parts. ``value_types`` has GGUF's names ("u32",
    "[str]"). Arrays are not read.
    """

    path: Path
    parts: tuple[Path, ...]
    version: int
    architecture: str
    file_size: int
    metadata: Mapping[str, Scalar] = field(repr=False)
    value_types: Mapping[str, str] = field(repr=False)
    tensors: Mapping[str, TensorInfo] = field(repr=False)


def open_gguf(path: Path) -> GgufFile:
    """Reads and checks a model; of a split model any part may be named.

    Raises ModelNotFound if nothing stands at ``path``, ModelFileError for everything that is no sound GGUF model.
    """
    first = _read(path)
    if _split_number(first, path) > 0:
        path = _first_part(first, path)
        first = _read(path)
        if _split_number(first, path) != 0:
            raise ModelFileError(f"{path.name} is not the first part of the split model, whatever its name says")
    architecture = first.metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture.isprintable() or not 0 < len(architecture) <= 64:
        raise ModelFileError(f"{path.name} does not say which architecture it has (general.architecture)")
    parts = _parts(first, path)
    headers = [first, *(_read(part) for part in parts[1:])]
    return GgufFile(
        path=path,
        parts=parts,
        version=first.version,
        architecture=architecture,
        file_size=sum(header.size for header in headers),
        metadata=MappingProxyType(first.metadata),
        value_types=MappingProxyType(first.value_types),
        tensors=MappingProxyType(_all_tensors(headers, parts)),
    )


def _read(path: Path) -> Header:
    """One part, checked for itself."""
    size = _size(path)
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            if start[:4] != b"GGUF":
                raise ModelFileError(f"{path.name} is not a GGUF file: {_likeness(start)}")
            if size < 24:
                raise ModelFileError(f"{path.name} is incomplete: it has {size} bytes; download it again")
            data = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{path.name} cannot be read: {reason}") from None
    try:
        with closing(data):
            return read_header(data, path)
    except Fault as fault:
        text = f"is incomplete or damaged: it {fault}; download it again" if fault.cut else str(fault)
        raise ModelFileError(f"{path.name} {text}") from None


def _size(path: Path) -> int:
    """Size in bytes of the regular file at ``path``."""
    try:
        status = path.stat()
    except PermissionError:
        raise ModelFileError(f"{path.name} cannot be read: permission denied") from None
    except (OSError, ValueError):
        raise ModelNotFound(f"there is no model at {path}") from None
    if stat.S_ISDIR(status.st_mode):
        raise ModelFileError(f"{path.name or path} is a directory; name the .gguf file in it")
    if not stat.S_ISREG(status.st_mode):
        raise ModelFileError(f"{path.name} is not a regular file")
    if status.st_size == 0:
        raise ModelFileError(f"{path.name} is empty; download it again")
    return status.st_size


_MAGIC = {
    b"tjgg": "it is an old GGML file from before GGUF; get the model as GGUF",
    b"fmgg": "it is an old GGML file from before GGUF; get the model as GGUF",
    b"lmgg": "it is an old GGML file from before GGUF; get the model as GGUF",
    b"\x1f\x8b": "it is gzip-compressed; unpack it first",
    b"\x28\xb5\x2f\xfd": "it is zstd-compressed; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "it is a 7z archive; unpack it first",
    b"\x80\x02": "it looks like a PyTorch checkpoint; get or convert the model as GGUF",
    b"version https://git-lfs": "it is a Git LFS pointer, not the model; run `git lfs pull` or download it again",
    b"\x89HDF": "it is an HDF5 file; get or convert the model as GGUF",
}


def _likeness(start: bytes) -> str:
    """What a file with this beginning looks like, and what to do about it."""
    for magic, text in _MAGIC.items():
        if start.startswith(magic):
            return text
    if start.startswith(b"PK\x03\x04"):
        return _MAGIC[b"\x80\x02"] if b"data.pkl" in start else "it is a zip archive; unpack it first"
    if start[8:9] == b"{" and len(start) > 16 and int.from_bytes(start[:8], "little") < 1 << 32:
        return "it looks like safetensors; get or convert the model as GGUF"
    if start.lstrip()[:1] == b"<":
        return "it is a web page, most likely an error message saved in the model's place; download it again"
    if not start.strip(b"\0"):
        return "it holds only zeros; download it again"
    if all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return "it is a text file"
    return f"it begins with {start[:4]!r} instead of b'GGUF'"


def _split_number(header: Header, path: Path) -> int:
    """Which part of a split model this is, from 0; 0 too for a model in one file. Checks the three split keys."""
    count = _split_value(header, path, "split.count", "u16", 0)
    number = _split_value(header, path, "split.no", "u16", 0)
    if count > 1 and number >= count:
        raise ModelFileError(f"{path.name} is damaged: it is part {number + 1} of {count}")
    return number if count > 1 else 0


def _split_value(header: Header, path: Path, key: str, kind: str, default: int) -> int:
    # llama.cpp reads these without asking for their type, and aborts over a wrong one
    if header.value_types.get(key, kind) != kind:
        raise ModelFileError(f"{path.name} is damaged: {key} is of type {header.value_types[key]} instead of {kind}")
    return int(header.metadata.get(key, default))


def _first_part(header: Header, path: Path) -> Path:
    """The first part of the split model that ``path`` is a later part of."""
    number, count = int(header.metadata["split.no"]), int(header.metadata["split.count"])
    first = path.with_name(_PART_NAME.sub(f"-00001-of-{count:05d}.gguf", path.name))
    if first == path or not first.exists():
        raise ModelFileError(
            f"{path.name} is part {number + 1} of {count} of a split model; name its first part, "
            f"with all parts in one directory"
        )
    return first


def _parts(first: Header, path: Path) -> tuple[Path, ...]:
    """All parts of the model; their names follow from the first one's."""
    count = _split_value(first, path, "split.count", "u16", 0)
    if count <= 1:
        return (path,)
    ending = f"-00001-of-{count:05d}.gguf"
    if not path.name.endswith(ending) or path.name == ending:
        raise ModelFileError(f"{path.name} is part 1 of {count} of a split model: its name must end in {ending}")
    stem = path.name[: -len(ending)]
    parts = tuple(path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1))
    missing = [part.name for part in parts if not part.exists()]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ModelFileError(f"{path.name} is one of {count} parts, and {missing[0]} is missing{more}")
    return parts


def _all_tensors(headers: list[Header], parts: tuple[Path, ...]) -> dict[str, TensorInfo]:
    """The tensors of all parts, which must be the parts of one model."""
    tensors: dict[str, TensorInfo] = {}
    for number, (header, path) in enumerate(zip(headers, parts, strict=True)):
        if len(parts) > 1 and (
            header.value_types.get("split.no") != "u16"
            or header.metadata["split.no"] != number
            or _split_value(header, path, "split.count", "u16", len(parts)) != len(parts)
        ):
            raise ModelFileError(f"{path.name} is not part {number + 1} of {len(parts)}, whatever its name says")
        for tensor in header.tensors:
            if tensor.name in tensors:
                raise ModelFileError(f"{path.name} is damaged: tensor {tensor.name} stands in another part too")
            tensors[tensor.name] = tensor
    if len(parts) > 1:
        expected = _split_value(headers[0], parts[0], "split.tensors.count", "i32", -1)
        if expected != len(tensors):
            raise ModelFileError(f"{parts[0].name} promises {expected} tensors, but its parts hold {len(tensors)}")
    if not tensors:
        raise ModelFileError(f"{parts[0].name} holds no tensors: it is a vocabulary, not a model")
    return tensors
