"""What a person reads as the name of a model."""

from __future__ import annotations

import re
from pathlib import Path

from selar_local.catalog.ollama import name_of_blob

_PART = re.compile(r"-\d{5}-of-\d{5}$")
#: Words that the name has from a folder or a script; a name of these alone names no model.
_EMPTY_WORDS = frozenset({
    "model", "models", "hf", "gguf", "hub", "llama", "main", "output", "out", "merged", "checkpoint", "snapshot",
    "snapshots", "final", "tmp", "temp", "test", "none", "unknown", "base", "instruct", "chat", "v1", "v2", "v3",
})  # fmt: skip
#: What a training run or a hash is called: "Mix1 Ep2", "checkpoint-1200", "5fd6e1b2c3d4e5f6a7b8".
_OF_A_RUN = re.compile(r"(?:ep|epoch|mix|ckpt|checkpoint|step|iter|run|exp)\d+|(?=.*\d)[0-9a-f]{16,}", re.IGNORECASE)
_CONVERTED = re.compile(r"[-_ ](?:gguf|awq|gptq|hf)$", re.IGNORECASE)  # of what the file was made


def file_label(path: Path) -> str:
    """The name of the file; for a file of Ollama's, which is named by a hash, the reference of its model."""
    return _ollama(path) or path.name


def file_stem(path: Path) -> str:
    """The same without the file's ending."""
    return _ollama(path) or path.stem


def model_name(path: Path, general_name: object = None) -> str:
    """The reference of Ollama's, else the header's general.name if it names a model, else the file's name.

    general_name: the value in the header. The file's name is without its ending and without "-00001-of-00002".
    """
    if name := _ollama(path):
        return name
    text = _CONVERTED.sub("", " ".join(general_name.split())) if isinstance(general_name, str) else ""
    words = re.split(r"[-_ .]+", text)
    if (
        3 <= len(text) <= 80
        and text.isprintable()
        and not re.search(r"[\\/]", text)
        and not set(map(str.lower, words)) <= _EMPTY_WORDS
        and not any(_OF_A_RUN.fullmatch(word) for word in words)
    ):
        return text
    stem = path.name[: -len(path.suffix)] if path.suffix.lower() == ".gguf" else path.name
    return _PART.sub("", stem)


def _ollama(path: Path) -> str | None:
    name = name_of_blob(path)
    return name and f"ollama:{name}"
