"""GGUF files put together byte by byte, right or wrong."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from selar_local.errors import ModelFileError
from selar_local.llama.gguf_file import open_gguf

U16, U32, STRING, ARRAY = 2, 4, 8, 9


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARCHITECTURE = key("general.architecture", STRING, text("llama"))
SMALL = tensor("a", (8,))


def gguf(
    keys: list[bytes] = [ARCHITECTURE],  # noqa: B006
    tensors: list[bytes] = [SMALL],  # noqa: B006
    data: bytes = bytes(32),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    alignment: int = 32,
) -> bytes:
    """The bytes of a GGUF file, right or wrong."""
    n_tensors, n_keys = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def refusal(path: Path, content: bytes | None = None) -> str:
    """The one line with which `path` is refused, less the file's name at its beginning."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        open_gguf(path)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"{path.name} ")
    return line[len(path.name) + 1 :]
