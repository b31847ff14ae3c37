"""Weights and hyper-parameters of a GGUF file as NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.quants import dequantize
from support.tiny_gguf import QuickReader, field_value

Array = npt.NDArray[np.float64]

FLAVOURS = ("llama", "qwen2", "qwen2vl", "qwen3", "gemma3")


@dataclass(frozen=True)
class HyperParameters:
    """What the transformer needs to know beyond its tensors."""

    architecture: str
    n_embd: int
    n_layer: int
    n_head: int
    n_head_kv: int
    head_dim: int
    n_rot: int
    norm_epsilon: float
    rope_base: float
    rope_base_windowed: float
    window: int  # 0: no layer has a sliding window
    window_pattern: int  # every window_pattern-th layer looks at the whole text

    def is_windowed(self, layer: int) -> bool:
        """Whether the layer sees only the last `window` positions."""
        return self.window > 0 and (layer + 1) % self.window_pattern != 0


@dataclass(frozen=True)
class Weights:
    """Hyper-parameters and all tensors by name, matrices as (outputs, inputs)."""

    hyper: HyperParameters
    tensors: Mapping[str, Array]

    @classmethod
    def load(cls, path: Path | str) -> Weights:
        """Read an unsplit GGUF file of any type that gguf can dequantise."""
        reader = QuickReader(path)
        metadata = {name: field_value(field) for name, field in reader.fields.items()}
        tensors = {
            tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float64) for tensor in reader.tensors
        }
        return cls(_hyper_parameters(metadata), tensors)

    def __getitem__(self, name: str) -> Array:
        return self.tensors[f"{name}.weight"]

    def bias(self, name: str) -> Array | float:
        """The bias of a matrix, 0 where it has none."""
        return self.tensors.get(f"{name}.bias", 0.0)

    @property
    def output(self) -> Array:
        """The output matrix; the token embeddings where it is tied."""
        return self.tensors.get("output.weight", self["token_embd"])


def _hyper_parameters(metadata: Mapping[str, Any]) -> HyperParameters:
    architecture = metadata["general.architecture"]
    if architecture not in FLAVOURS:
        raise ValueError(f"the oracle knows {', '.join(FLAVOURS)}, not {architecture!r}")
    own = {key.removeprefix(f"{architecture}."): value for key, value in metadata.items()}
    if own.get("rope.scaling.type", "none") != "none":
        raise ValueError("the oracle has no rope scaling")
    n_head = own["attention.head_count"]
    head_dim = own.get("attention.key_length", own["embedding_length"] // n_head)
    rope_base = own.get("rope.freq_base", 10000.0)
    return HyperParameters(
        architecture=architecture,
        n_embd=own["embedding_length"],
        n_layer=own["block_count"],
        n_head=n_head,
        n_head_kv=own.get("attention.head_count_kv", n_head),
        head_dim=head_dim,
        n_rot=own.get("rope.dimension_count", head_dim),
        norm_epsilon=own["attention.layer_norm_rms_epsilon"],
        rope_base=rope_base,
        rope_base_windowed=own.get("rope.freq_base_swa", 10000.0 if architecture == "gemma3" else rope_base),
        window=own.get("attention.sliding_window", 0) if architecture == "gemma3" else 0,
        window_pattern=own.get("attention.sliding_window_pattern", 6),
    )
