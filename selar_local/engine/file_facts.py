"""Facts about a model file that need no open model, for logs and for those who ask a server."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local.cache import sha256_of
from selar_local.catalog import file_label
from selar_local.catalog.entries import FILE_TYPES
from selar_local.formats import format_of

if TYPE_CHECKING:
    from selar_local.llama.gguf_file import GgufFile


#: Options of the engine that change the last bits of logits, or where a text ends.
ENGINE_SETTINGS = ("ctx_size", "parallel", "batch_size", "cache_type_k", "cache_type_v", "flash_attn", "gpu_layers")


def model_facts(path: Path, chat_template: str | None = None) -> dict[str, Any]:
    """The file's name, SHA-256, quantisation and the hash of the chat template. Raises ModelFileError, TemplateError.

    chat_template: as in `EngineConfig`. Of a model in several parts the hash is that of the parts' hashes.
    """
    gguf = header(path)
    hashes = [sha256_of(part) for part in gguf.parts]
    template = _template(gguf, chat_template)
    return {
        "model": file_label(gguf.path),
        "model_sha256": hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "quantisation": FILE_TYPES.get(gguf.metadata.get("general.file_type"), "unknown"),
        "architecture": gguf.architecture,
        "template_hash": hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None,
    }


def thinks(path: Path, chat_template: str | None = None) -> bool:
    """Whether the model's chat template mentions a thinking before the answer: it opens one, or knows its end."""
    template = _template(header(path), chat_template)
    return isinstance(template, str) and format_of(template).thinking is not None


def _template(gguf: GgufFile, chosen: str | None) -> Any:
    from selar_local.templates import template_text  # loads jinja2

    own = gguf.metadata.get("tokenizer.chat_template" if chosen is None else f"tokenizer.chat_template.{chosen}")
    return own if own is not None or chosen is None else template_text(chosen)


def header(path: Path) -> GgufFile:
    """The file's header; llama.cpp is loaded here, and not with the commands."""
    from selar_local.llama.gguf_file import open_gguf

    return open_gguf(path)
