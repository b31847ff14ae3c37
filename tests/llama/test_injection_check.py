"""The check at load: a token fed as its row must give what it gives fed as id, and what does not is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selar_local import cache
from selar_local.config import EngineConfig
from selar_local.errors import ModelFileError, UnsupportedModel
from selar_local.llama import embedding_table, injection_check, runtime
from selar_local.llama.input_batch import InputBatch
from selar_local.llama.runtime import LlamaRuntime

Tiny = Callable[..., Path]
ARCHITECTURES = ["llama", "qwen2", "qwen3", "gemma3", "qwen2vl"]


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def measured(monkeypatch) -> list[tuple[float, float]]:
    """What was measured, not read from the cache."""
    results: list[tuple[float, float]] = []
    original = injection_check._measure
    monkeypatch.setattr(injection_check, "_measure", lambda *parts: (results.append(original(*parts)), results[-1])[1])
    return results


def difference(path: Path, **options: Any) -> float:
    check_again = options.pop("check_again", False)
    opened = LlamaRuntime(path, EngineConfig(threads=1, ctx_size=256, **options), check_again=check_again)
    opened.close()
    assert opened.rows_are_exact is (opened.injection_max_abs_diff == 0)
    return opened.injection_max_abs_diff


def refused(path: Path) -> bool:
    """Whether the model opens, and takes no vectors."""
    opened = LlamaRuntime(path, EngineConfig(threads=1, ctx_size=256))
    opened.close()
    assert (opened.injection_max_abs_diff is None) is (opened.no_vectors is not None) is not opened.rows_are_exact
    return "fed as embeddings, tokens give other logits than fed as ids" in (opened.no_vectors or "")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_rows_are_their_tokens_to_the_bit(tiny, measured, architecture, kind):
    assert difference(tiny(architecture=architecture, weight_type=kind)) == 0.0
    assert len(measured) == 1


@pytest.mark.parametrize("options", [{"flash_attn": "off"}, {"batch_size": 1}, {"parallel": 4}, {"mmap": False}])
def test_under_other_options(tiny, measured, options):
    assert difference(tiny(), **options) == 0.0
    assert len(measured) == 1


def test_measured_once_per_file_and_settings(tiny, measured):
    path = tiny()
    assert difference(path) == difference(path) == 0.0
    assert len(measured) == 1
    difference(path, check_again=True)
    assert len(measured) == 2
    difference(path)
    assert len(measured) == 2
    difference(path, flash_attn="off")
    assert len(measured) == 3
    difference(tiny(seed=1))
    assert len(measured) == 4


@pytest.mark.parametrize("entry", [{}, {"difference": None}, {"difference": "0"}, {"difference": -1.0}, {"x": 1}])
def test_a_cache_entry_that_is_not_sound(tiny, measured, monkeypatch, entry):
    monkeypatch.setattr(cache, "read", lambda _key: entry)
    assert difference(tiny()) == 0.0
    assert len(measured) == 1


def test_a_wrong_scale_is_refused_each_time_anew(tiny, measured, monkeypatch):
    path = tiny(architecture="gemma3")
    with monkeypatch.context() as patch:
        patch.setattr(embedding_table, "input_scale", lambda *_: 1.0)
        for _ in range(2):
            assert refused(path)
    assert len(measured) == 2
    assert difference(path) == 0.0


def test_a_slightly_wrong_scale_is_refused(tiny, monkeypatch):
    right = embedding_table.input_scale
    monkeypatch.setattr(embedding_table, "input_scale", lambda *facts: right(*facts) * 1.5)
    assert refused(tiny(architecture="gemma3"))


def test_wrong_rows_are_refused(tiny, monkeypatch):
    original = embedding_table.EmbeddingTable.row
    monkeypatch.setattr(
        embedding_table.EmbeddingTable, "row", lambda table, token, out: original(table, token + 1, out)
    )
    assert refused(tiny())


def test_wrong_positions_of_mrope_are_noticed(tiny, monkeypatch):
    monkeypatch.setattr(runtime, "InputBatch", lambda *sizes, mrope: InputBatch(*sizes, mrope=False))
    assert refused(tiny(architecture="qwen2vl"))
    assert difference(tiny()) == 0.0


def test_logits_that_are_not_numbers(tiny):
    with pytest.raises(ModelFileError, match="not numbers"):
        difference(tiny(nan_tensor="blk.0.ffn_up.weight"))


def test_an_encoder_is_refused(tiny):
    with pytest.raises(UnsupportedModel, match="keeps no KV cache"):
        difference(tiny(architecture="bert"))
