"""All models on this machine that can be opened by name."""

from __future__ import annotations

from collections.abc import Iterator

from selar_local.catalog import bundled, hub_cache, ollama, own_folder
from selar_local.catalog.entries import ModelEntry
from selar_local.catalog.store import llama_cpp_cache, lm_studio


def installed_models() -> Iterator[ModelEntry]:
    """The models, by source and name. `resolve` takes each of the names, without the network.

    They come from the bundled models, selar-local's own folder, the hub's cache, Ollama, LM Studio, and llama.cpp.
    Only the beginnings of the files are read. What is damaged, incomplete or writes no text is left out.
    """
    yield from bundled.installed()
    yield from own_folder.installed(but={model.file for model in bundled.BUNDLED.values()})
    for found in (hub_cache.installed(), ollama.installed(), lm_studio().installed(), llama_cpp_cache().installed()):
        yield from sorted(found, key=lambda entry: entry.name.lower())
