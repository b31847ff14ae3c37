"""Models that only the comparisons with the oracle need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.tiny_gguf import IM_END, QuickReader, dequantise_to_f32, tiny_vocabulary, write_tiny_gguf

from .prompts import with_line_break

Maker = Callable[[str], Path]


def talkative(folder: Path, token: str, factor: Callable[[str], float]) -> Maker:
    """Makes tiny models with thinking tokens that often say this one."""

    def model(architecture: str) -> Path:
        path = folder / f"{architecture}.gguf"
        if not path.exists():
            write_tiny_gguf(path, architecture=architecture, seed=1, thinking_tokens=True, metadata=with_line_break())
            (rows,) = (tensor.data for tensor in QuickReader(path, "r+").tensors if tensor.name == "token_embd.weight")
            # A longer row spreads a token's logits wider: it is among the likely ones more often.
            rows[tiny_vocabulary(True).id_of(token)] *= factor(architecture)
            rows.flush()
        return path

    return model


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`thinker(architecture)`: a tiny model with thinking tokens that often closes its thinking before long."""
    return talkative(tmp_path_factory.mktemp("thinker"), "</think>", lambda name: 1.8 if name == "qwen3" else 2.5)


@pytest.fixture(scope="session")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`opener(architecture)`: a tiny model with thinking tokens that often opens a thinking."""
    return talkative(tmp_path_factory.mktemp("opener"), "<think>", lambda name: 4.0)


@pytest.fixture(scope="session")
def ender(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """`ender(architecture)`: a tiny model that often ends its text before long."""
    return talkative(tmp_path_factory.mktemp("ender"), IM_END, lambda name: 6.0 if name.startswith("qwen2") else 10.0)


@pytest.fixture(scope="session")
def smollm2_f32(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """SmolLM2 with all its tensors in F32."""
    path = dequantise_to_f32(smollm2, tmp_path_factory.mktemp("f32") / "smollm2-f32.gguf")
    yield path
    path.unlink()  # half a gigabyte, and pytest keeps the folders of three sessions
