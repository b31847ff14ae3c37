"""What llama.cpp would allocate for a model, asked without its weights: it logs the sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from selar_local.config import EngineConfig
from selar_local.errors import SelarError
from selar_local.llama import library
from selar_local.llama.context import LlamaContext
from selar_local.llama.fit import Needs
from selar_local.llama.gguf_file import GgufFile
from selar_local.llama.model import LlamaModel
from selar_local.llama.placement import Placement

_CACHE = re.compile(r": size = +([\d.]+) MiB \(")
_BUFFERS = re.compile(r": +(\S+) compute buffer size = +([\d.]+) MiB")
_MIB = 1 << 20
_UNKNOWN = Needs(cache=0, buffers=512 * _MIB)


def forecast(gguf: GgufFile, config: EngineConfig, placement: Placement) -> Needs:
    """The needs of this placement. Where llama.cpp does not say, a guess: then loading shows what is wrong."""
    with library.listening() as lines:
        try:
            model = LlamaModel(gguf, config, placement, weights=False)
            try:
                LlamaContext(model, config).close()
            finally:
                model.close()
        except SelarError:
            return _UNKNOWN
    needs = needs_in(lines)
    return needs if config.kv_offload else needs._replace(cache=0)


def needs_in(lines: Iterable[str]) -> Needs:
    """The sizes in llama.cpp's log: the sum of the caches, the largest of the buffers that are not the CPU's."""
    cache, buffers = 0.0, 0.0
    for line in lines:
        if found := _CACHE.search(line):
            cache += float(found[1])
        elif (found := _BUFFERS.search(line)) and found[1] != "CPU" and not found[1].endswith("_Host"):
            buffers = max(buffers, float(found[2]))
    return Needs(int(cache * _MIB), int(buffers * _MIB))
