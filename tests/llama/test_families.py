"""Every family of architectures: whether rows are their tokens to the bit, and how its memory works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.family_gguf import FAMILIES

from selar_local.config import EngineConfig
from selar_local.errors import UnsupportedModel
from selar_local.llama.library import C
from selar_local.llama.runtime import LlamaRuntime

CONFIG = EngineConfig(threads=1, ctx_size=256)


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if row.rows])
def test_rows_are_their_tokens_to_the_bit(family_model: Callable[..., Path], family: str) -> None:
    runtime = LlamaRuntime(family_model(family), CONFIG)
    recurrent = bool(C.llama_model_is_recurrent(runtime.model.pointer))
    hybrid = bool(C.llama_model_is_hybrid(runtime.model.pointer))
    window = C.llama_model_n_swa(runtime.model.pointer) > 0
    runtime.close()
    assert runtime.injection_max_abs_diff == 0.0
    kind = {(True, False): "recurrent", (False, True): "hybrid"}.get((recurrent, hybrid), "attention")
    assert FAMILIES[family].kind == ("window" if window and kind == "attention" else kind)


@pytest.mark.parametrize("family", [name for name, row in FAMILIES.items() if not row.rows])
def test_families_that_take_ids_alone(family_model: Callable[..., Path], family: str) -> None:
    with pytest.raises(UnsupportedModel):
        LlamaRuntime(family_model(family), CONFIG)
