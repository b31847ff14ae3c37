"""One model on this machine, as a list shows it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selar_local.catalog.file_names import parameters_in, quantisation_in

#: llama.cpp's numbers of a file's usual tensor type (general.file_type).
FILE_TYPES: Mapping[object, str] = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip

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


def read_header(path: Path) -> Header | None:
    """The facts of the file; None where it cannot be read or is no GGUF file of version 2 or 3."""
    from selar_local.llama.gguf_reader import Fault, glance

    try:
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                return None
            with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
                return _header(glance(data))
    except (OSError, ValueError, Fault):
        return None


def _header(values: Mapping[str, object]) -> Header:
    architecture, kind, label = (values.get(f"general.{key}") for key in ("architecture", "type", "size_label"))
    number = values.get("general.file_type")
    return Header(
        architecture=architecture if isinstance(architecture, str) and architecture.isprintable() else "",
        kind=kind if isinstance(kind, str) else "model",
        parameters=label if isinstance(label, str) and _SIZE_LABEL.fullmatch(label) else None,
        quantisation=FILE_TYPES.get(number),
    )


@dataclass(frozen=True)
class ModelEntry:
    """A model that `resolve` opens.

    name: what a person types. source: who keeps the file, such as "Ollama". path: the (first) file. size: bytes of all
    its parts. quantisation, parameters: such as "Q4_K_M" and "8B", None where neither header nor name say.
    """

    name: str
    source: str
    path: Path
    size: int
    quantisation: str | None = None
    parameters: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON types."""
        return {**vars(self), "path": str(self.path)}


def entry_of(
    name: str, source: str, parts: Sequence[Path], *, quantisation: str | None = None, parameters: str | None = None
) -> ModelEntry | None:
    """The entry of a model; None where its file cannot be read or writes no text, or its name cannot be typed.

    parts: its files in order. What is not given comes from the header, else from the names.
    """
    header = read_header(parts[0])
    if header is None or not header.writes_text or not name.isprintable():
        return None
    try:
        size = sum(part.stat().st_size for part in parts)
    except OSError:
        return None
    file = parts[0].name
    return ModelEntry(
        name=name,
        source=source,
        path=parts[0],
        size=size,
        quantisation=quantisation or header.quantisation or quantisation_in(file),
        parameters=parameters or header.parameters or parameters_in(file) or parameters_in(name),
    )
