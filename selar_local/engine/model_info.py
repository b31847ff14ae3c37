"""Facts about an opened model, for doctor, traces and apps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from selar_local.catalog.labels import model_name
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.engine.reprs import call
from selar_local.errors import OptionError
from selar_local.options import described

if TYPE_CHECKING:
    from selar_local.llama.runtime import LlamaRuntime


_PREFIX = "general.sampling."
#: llama.cpp's keys. It has others for mirostat and the order of the samplers, which we do not have.
_NAMES = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold",
    "penalty_last_n": "repeat_last_n",
    "penalty_repeat": "repeat_penalty",
}


def recommended_sampling(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the file sets. A value that an option does not take is left out."""
    options = {option.name: option for option in described(SamplingConfig)}
    found: dict[str, Any] = {}
    for key, name in _NAMES.items():
        value = metadata.get(_PREFIX + key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        try:
            found[name] = options[name].checked(_as_written(value) if options[name].number is float else int(value))
        except (OptionError, ValueError, OverflowError):
            continue
    return found


def _as_written(value: float) -> float:
    """0.7 for the float32 next to it, which is what the file has."""
    return float(str(np.float32(value)))


@dataclass(frozen=True)
class ModelInfo:
    """Facts about the opened model. Sizes in bytes; injection_max_abs_diff in logits.

    name: what a person calls the model. description: llama.cpp's words for its kind, such as "qwen2 1B Q4_K - Medium".
    no_vectors: why the model takes token ids alone; None where it takes vectors, and the difference is a number.
    sampling: what the file recommends, which requests begin with; empty without `model_sampling`.
    warnings: why answers may be worse than the model's, a sentence each.
    placement: which layers are on which GPU, where that was chosen here (``gpu_layers="auto"``).
    """

    path: str
    name: str
    architecture: str
    description: str
    size: int
    n_params: int
    n_vocab: int
    n_embd: int
    n_ctx_train: int
    ctx_size: int
    embedding_type: str
    input_scale: float
    mrope: bool
    chat_template: bool
    threads: int
    injection_max_abs_diff: float | None
    no_vectors: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    placement: str | None = None

    def __repr__(self) -> str:
        difference = self.injection_max_abs_diff or None
        facts = {"architecture": self.architecture, "n_params": self.n_params, "ctx_size": self.ctx_size}
        return call(self, name=self.name, **facts, injection_max_abs_diff=difference)

    def as_dict(self) -> dict[str, Any]:
        """The facts under their names."""
        return asdict(self)


def describe(runtime: LlamaRuntime, config: EngineConfig) -> ModelInfo:
    """The facts about the model `runtime` has open."""
    model, table = runtime.model, runtime.table
    return ModelInfo(
        path=str(model.path),
        name=model_name(model.path, model.gguf.metadata.get("general.name")),
        architecture=model.gguf.architecture,
        description=model.description(),
        size=model.gguf.file_size,
        n_params=model.n_params(),
        n_vocab=model.n_vocab,
        n_embd=model.n_embd,
        n_ctx_train=model.n_ctx_train,
        ctx_size=runtime.capacity,
        embedding_type=table.type_name,
        input_scale=float(table.scale),
        mrope=model.mrope,
        chat_template=config.chat_template is not None or model.chat_template() is not None,
        threads=model.threads,
        injection_max_abs_diff=runtime.injection_max_abs_diff,
        no_vectors=runtime.no_vectors,
        sampling=recommended_sampling(model.gguf.metadata) if config.model_sampling else {},
        warnings=tuple(_warnings(runtime)),
        placement=model.placement.description,
    )


def _warnings(runtime: LlamaRuntime) -> Iterator[str]:
    """What llama.cpp warns of in its log, as far as it changes answers."""
    model, metadata = runtime.model, runtime.model.gguf.metadata
    if metadata.get("tokenizer.ggml.model") == "gpt2" and not metadata.get("tokenizer.ggml.pre"):
        yield (
            "the file does not name its pre-tokenizer (tokenizer.ggml.pre): text is cut into other tokens than those "
            "that the model was trained on; get a newer conversion"
        )
    if 0 < model.n_ctx_train < runtime.capacity:
        yield (
            f"the context of {runtime.capacity} tokens is longer than the {model.n_ctx_train} "
            "that the model was trained for: texts beyond them get worse"
        )
