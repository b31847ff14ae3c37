"""One model on this machine, as a list shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selar_local.catalog.file_names import parameters_in, quantisation_in
from selar_local.catalog.header import read_header


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
