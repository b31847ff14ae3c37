"""Can this model be fed rows? Two tokens are fed both ways: as ids and as rows."""

from __future__ import annotations

import numpy as np

from selar_local import cache
from selar_local.config import EngineConfig
from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama.context import LlamaContext
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.input_batch import InputBatch
from selar_local.llama.library import binding_version
from selar_local.llama.model import LlamaModel

#: Largest difference, as a share of the largest logit, that still counts as the same input. On CPU it
#: is 0; a GPU may round a row gathered on the device and one sent to it through different kernels.
TOLERANCE = 1e-2


def injection_difference(
    model: LlamaModel,
    context: LlamaContext,
    table: EmbeddingTable,
    batch: InputBatch,
    config: EngineConfig,
    check_again: bool = False,
) -> float:
    """The largest difference between the logits after two tokens fed as ids and fed as their rows.

    Cached per file, build and device placement when passed, unless `check_again`. Leaves the context empty. Raises
    UnsupportedModel when the two differ by more than `TOLERANCE` of the largest logit, ModelFileError when the
    logits are not numbers.
    """
    key = cache.file_key(model.path, "injection", binding_version, model.placement.key, config.flash_attn,
                         config.cache_type_k, config.cache_type_v, str(model.threads))  # fmt: skip
    known = None if check_again else cache.read(key)
    passed = known.get("difference") if known else None
    if isinstance(passed, float) and passed >= 0:
        return passed
    difference, largest = _measure(model, context, table, batch)
    if not difference <= TOLERANCE * largest:
        raise UnsupportedModel(
            f"{model.name} takes no vectors: fed as embeddings, tokens give other logits than fed as ids (they differ "
            f"by {difference:.3g}; architecture {model.gguf.architecture})"
        )
    cache.write(key, {"difference": difference})
    return difference


def _measure(model: LlamaModel, context: LlamaContext, table: EmbeddingTable, batch: InputBatch) -> tuple[float, float]:
    # Two positions, so that wrong positions (M-RoPE) show as well as wrong rows.
    tokens = (model.encode("Hello world") or [0])[:2]
    tokens = (tokens * 2)[:2]
    positions, sequences, outputs = [0, 1], [0, 0], [False, True]
    context.clear()
    context.decode(batch.of_tokens(tokens, positions, sequences, outputs))
    as_ids = context.logits(1).copy()
    if not np.isfinite(as_ids).all():
        raise ModelFileError(
            f"{model.name}: its logits are not numbers: the weights are damaged, or a cache type or GPU kernel "
            "overflows (try -ctk f32 -ctv f32 -fa off)"
        )
    context.clear()
    for row, token in zip(batch.rows(2), tokens, strict=True):
        table.row(token, row)
    context.decode(batch.of_rows(2, positions, sequences, outputs))
    difference = float(np.abs(context.logits(1) - as_ids).max())
    context.clear()
    return difference, float(np.abs(as_ids).max())
