"""The few facts at the beginning of a GGUF file that a list of models shows, read without llama.cpp.

`selar_local.llama.gguf_file` checks a file before it is opened; this only looks at it, and stops at the tokenizer.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

__all__ = ["FILE_TYPES", "Header", "read_header"]

#: llama.cpp's numbers of a file's usual tensor type (general.file_type).
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

_STRING, _ARRAY = 8, 9
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_MOST_KEYS = 1 << 16
_LONGEST_KEY = 1 << 16  # as in GGUF
_LONGEST_TEXT = 1 << 12  # bytes; longer values are stepped over
_LONGEST_LIST = 1 << 10  # strings that are stepped over one by one
_SIZE_LABEL = re.compile(r"[\w.+-]{1,16}", re.ASCII)
_ENCODER = re.compile(r"bert|embed|t5encoder|^clip$")  # architectures that write no text


@dataclass(frozen=True)
class Header:
    """Facts of one file, "" or None where its beginning does not say. parameters: such as "135M" or "30B-A3B"."""

    architecture: str = ""
    kind: str = "model"
    parameters: str | None = None
    quantisation: str | None = None

    @property
    def writes_text(self) -> bool:
        """False for projectors, adapters, statistics and encoders."""
        return self.kind == "model" and bool(self.architecture) and not _ENCODER.search(self.architecture)


class _Stop(Exception):
    """The rest of the file is of no interest, or it makes no sense."""


def read_header(path: Path) -> Header | None:
    """The facts of the file; None where it cannot be read or is no GGUF file of version 2 or 3."""
    values: dict[str, object] = {}
    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF" or _number(file, "I") not in (2, 3):
                return None
            _number(file, "Q")  # tensors
            for _ in range(min(_number(file, "Q"), _MOST_KEYS)):
                key = _text(file, _LONGEST_KEY)
                if key.startswith("tokenizer."):
                    break  # long lists; what comes after them is not worth the reading
                values[key] = _value(file)
    except (OSError, ValueError):
        return None
    except _Stop:
        pass
    return _header(values)


def _header(values: dict[str, object]) -> Header:
    architecture, kind, label = (values.get(f"general.{key}") for key in ("architecture", "type", "size_label"))
    number = values.get("general.file_type")
    return Header(
        architecture=architecture if isinstance(architecture, str) and architecture.isprintable() else "",
        kind=kind if isinstance(kind, str) else "model",
        parameters=label if isinstance(label, str) and _SIZE_LABEL.fullmatch(label) else None,
        quantisation=FILE_TYPES.get(number) if isinstance(number, int) else None,
    )


def _number(file: BinaryIO, code: str) -> int:
    form = struct.Struct("<" + code)
    data = file.read(form.size)
    if len(data) < form.size:
        raise _Stop
    return int(form.unpack(data)[0]) if code not in "fd" else 0


def _text(file: BinaryIO, longest: int) -> str:
    """A string, "" for one that is too long."""
    length = _number(file, "Q")
    if length > longest:
        _skip(file, length)
        return ""
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO) -> object:
    """A number or a string; None for a list, which is stepped over."""
    kind = _number(file, "I")
    if kind == _STRING:
        return _text(file, _LONGEST_TEXT)
    if kind != _ARRAY:
        return _number(file, _code(kind))
    kind, count = _number(file, "I"), _number(file, "Q")
    if kind != _STRING:
        _skip(file, count * struct.calcsize("<" + _code(kind)))
    elif count > _LONGEST_LIST:
        raise _Stop
    else:
        for _ in range(count):
            _skip(file, _number(file, "Q"))
    return None


def _code(kind: int) -> str:
    if kind not in _CODES:
        raise _Stop
    return _CODES[kind]


def _skip(file: BinaryIO, size: int) -> None:
    if size > 1 << 62:  # no file is so long, and seek takes no larger numbers
        raise _Stop
    file.seek(size, 1)
