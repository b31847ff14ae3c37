"""Checks the hyperparameters that llama.cpp takes on trust and aborts, hangs or divides by zero over.

Each rule answers an assertion in the pinned llama.cpp, or a crash that ``scripts/fuzz_gguf.py`` found. What llama.cpp
itself refuses with an error is left to it, as is a key of the wrong type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from selar_local.errors import ModelFileError, UnsupportedModel

if TYPE_CHECKING:
    from selar_local.llama.gguf_file import GgufFile

__all__ = ["check_hyperparameters"]

_MAX_LAYERS = 512
_MAX_EXPERTS = 1024
_MAX_WINDOW = 1 << 30
_ENCODER_TOKENIZERS = ("bert", "t5")
_ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# architectures without attention heads, without rotary positions, and always with sectioned ones (M-RoPE)
_NO_HEADS = _names("mamba mamba2 rwkv6 rwkv6qwen2 rwkv7 arwkv7 wavtokenizer-dec")
_NO_ROPE = _NO_HEADS | _names(
    "gpt2 gptj mpt refact bloom jamba jina-bert-v2 t5 t5encoder jais nemotron_h nemotron_h_moe kimi-linear kimi-k3 "
    "glm5-next"
)
_SECTIONS = _names("qwen2vl paddleocr qwen3vl qwen3vlmoe qwen35 qwen35moe qwen4exp qwen3tts")
# those whose graph asserts that a head is rotated whole, its keys being as long as its values
_WHOLE_HEAD = _names(
    "apertus arcee arctic baichuan chameleon codeshell cogvlm cohere2moe dbrx deci deepseek dots1 dream ernie4_5 "
    "ernie4_5-moe exaone exaone-moe exaone4 falcon granite granite_swa graniteswitch grok grovemoe hunyuan-dense "
    "hunyuan-moe hunyuan_vl hy_v3 internlm2 jais2 llada llada-moe llama llama-embed llama4 maincoder mellum mistral3 "
    "olmo olmo2 olmoe orion paddleocr pangu-embedded plamo pockettts qwen2 qwen2moe qwen2vl qwen3 qwen3moe qwen3vl "
    "qwen3vlmoe rnd1 seed_oss smallthinker smollm3 starcoder2 talkie xverse"
)
# those that assert only the latter
_EQUAL_HEADS = _WHOLE_HEAD | _names(
    "afmoe bailingmoe2 bert bitnet bloom chatglm cohere2 command-r eurobert glm4 glm4moe gpt2 gptneox granitehybrid "
    "jais laguna maple minimax-01 minimax-m2 minimax-m3 modern-bert mpt muse-glimmer nanbeige nemotron nemotron_h "
    "neo-bert openelm phi2 phi3 qwen qwen35 qwen35moe qwen3next qwen4exp refact spark2_5 stablelm starcoder"
)
# tensor types no matrix product of llama.cpp takes; they hold tables of numbers
_NO_WEIGHT_TYPES = frozenset({"i8", "i16", "i32", "i64", "f64", "q8_1", "q8_K"})
_TABLES = ("tid2eid", "d2t", "token_types")


def check_hyperparameters(gguf: GgufFile) -> None:
    """Raises ModelFileError for values that would crash llama.cpp while loading or decoding.

    UnsupportedModel for tokenizers that cannot be used safely.
    """
    _check_tokenizer(gguf)
    keys = _Keys(gguf)
    layers = keys.number("block_count", 1)
    if not 1 <= layers <= _MAX_LAYERS:
        raise keys.wrong("block_count", layers, f"between 1 and {_MAX_LAYERS}")
    if keys.number("nextn_predict_layers", 0) >= layers:
        raise keys.wrong("nextn_predict_layers", keys.number("nextn_predict_layers", 0), "less than block_count")
    if keys.number("context_length", 1) < 1:
        raise keys.wrong("context_length", 0, "positive")
    _check_floats(keys)
    _check_experts(keys)
    _check_heads(keys)
    _check_rope(keys)
    _check_window(keys, layers)
    _check_tensor_types(keys)


def _check_tokenizer(gguf: GgufFile) -> None:
    model = gguf.metadata.get("tokenizer.ggml.model")
    if model in ("none", "no_vocab"):
        raise UnsupportedModel(f"{gguf.path.name} has no tokenizer, so it cannot read or write text")
    if model in _ENCODER_TOKENIZERS:
        # llama.cpp's code for them throws or aborts on damaged tables, and no model that decodes has one
        raise UnsupportedModel(f"{gguf.path.name} has a {str(model).upper()} tokenizer, made for encoder models")


class _Keys:
    """The keys of the model's own architecture, as llama.cpp reads them."""

    def __init__(self, gguf: GgufFile) -> None:
        self.gguf = gguf

    def number(self, key: str, default: int) -> int:
        """An u32 value."""
        full = f"{self.gguf.architecture}.{key}"
        return int(self.gguf.metadata[full]) if self.gguf.value_types.get(full) == "u32" else default

    def per_layer(self, key: str) -> tuple[int, ...]:
        """A value that may differ from layer to layer; one entry if it does not, none if the key is missing."""
        full = f"{self.gguf.architecture}.{key}"
        kind = self.gguf.value_types.get(full, "")
        if kind in ("[u32]", "[i32]", "[bool]"):
            return tuple(int(value) & 0xFFFFFFFF for value in self.gguf.small_arrays.get(full, ()))
        return (self.number(key, 0),) if kind == "u32" else ()

    def wrong(self, key: str, value: object, demand: str) -> ModelFileError:
        name = f"{self.gguf.architecture}.{key}"
        return ModelFileError(f"{self.gguf.path.name} is damaged: {name} is {value}, but must be {demand}")


def _check_floats(keys: _Keys) -> None:
    """Epsilons must be numbers from 0 on; every other float must be a number."""
    own = f"{keys.gguf.architecture}."
    for full, kind in keys.gguf.value_types.items():
        if kind != "f32" or not full.startswith(own):
            continue
        value, key = float(keys.gguf.metadata[full]), full[len(own) :]
        if not math.isfinite(value) and not key.endswith(("lower_bound", "upper_bound", "limit")):
            raise keys.wrong(key, value, "a finite number")
        if key.endswith("epsilon") and value < 0:
            raise keys.wrong(key, value, "a small positive number")


def _check_experts(keys: _Keys) -> None:
    experts, groups = keys.number("expert_count", 0), keys.number("expert_group_count", 0)
    used = max(keys.per_layer("expert_used_count"), default=0)
    if keys.gguf.architecture in ("hunyuan-dense", "hunyuan_vl") and experts <= 1:
        experts = used = 0
    if experts > _MAX_EXPERTS:
        raise keys.wrong("expert_count", experts, f"at most {_MAX_EXPERTS}")
    if used > experts or (experts > 0 and used == 0):
        raise keys.wrong("expert_used_count", used, f"between 1 and expert_count ({experts})")
    if groups and groups >= experts:
        raise keys.wrong("expert_group_count", groups, f"less than expert_count ({experts})")
    if groups > 1:
        chosen = keys.number("expert_group_used_count", 0)
        if experts % groups:
            raise keys.wrong("expert_group_count", groups, f"a divisor of expert_count ({experts})")
        if not 0 < chosen < groups:
            raise keys.wrong("expert_group_used_count", chosen, f"between 1 and {groups - 1}")


def _check_heads(keys: _Keys) -> None:
    heads = keys.per_layer("attention.head_count")
    if len(heads) == 1 and heads[0] == 0 and keys.gguf.architecture not in _NO_HEADS:
        raise keys.wrong("attention.head_count", 0, "positive")
    heads_kv = keys.per_layer("attention.head_count_kv")
    layers = max(len(heads), len(heads_kv))
    if not heads or not heads_kv or {len(heads), len(heads_kv)} - {1, layers}:
        return
    for count, count_kv in zip(heads * (layers // len(heads)), heads_kv * (layers // len(heads_kv)), strict=True):
        if count_kv and count % count_kv:
            raise keys.wrong("attention.head_count_kv", count_kv, f"a divisor of head_count ({count})")


def _check_rope(keys: _Keys) -> None:
    """Sizes of heads and of the rotated part of them; kind of scaling."""
    architecture, metadata = keys.gguf.architecture, keys.gguf.metadata
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    if isinstance(scaling, str) and scaling not in _ROPE_SCALINGS:
        raise keys.wrong("rope.scaling.type", repr(scaling[:40]), f"one of {', '.join(_ROPE_SCALINGS)}")
    heads = keys.per_layer("attention.head_count")[:1]
    if not heads or not heads[0]:
        return
    size = keys.number("embedding_length", 0) // heads[0]
    key, value = keys.number("attention.key_length", size), keys.number("attention.value_length", size)
    if architecture in _EQUAL_HEADS and key != value:
        raise keys.wrong("attention.key_length", key, f"equal to attention.value_length ({value})")
    if architecture in _NO_ROPE:
        return
    rotated = keys.number("rope.dimension_count", key)
    if architecture in _WHOLE_HEAD and rotated != key:
        raise keys.wrong("rope.dimension_count", rotated, f"the size of a head ({key})")
    key_swa = keys.number("attention.key_length_swa", key)
    for name, dimensions, head in (
        ("rope.dimension_count", rotated, key),
        ("rope.dimension_count_swa", keys.number("rope.dimension_count_swa", rotated), key_swa),
    ):
        if dimensions < 2 or dimensions % 2 or dimensions > head:
            raise keys.wrong(name, dimensions, f"an even number from 2 to the size of a head ({head})")
    _check_sections(keys, key)


def _check_sections(keys: _Keys, head: int) -> None:
    """How M-RoPE divides a head among its kinds of position; a single number stands for four equal parts."""
    full = f"{keys.gguf.architecture}.rope.dimension_sections"
    single = keys.gguf.metadata.get(full)
    sections = (single,) * 4 if isinstance(single, int) else keys.gguf.small_arrays.get(full, ())
    if any(section < 0 for section in sections) or sum(sections) > head:
        raise keys.wrong("rope.dimension_sections", list(sections), f"at most the size of a head ({head}) in all")
    if keys.gguf.architecture in _SECTIONS and not any(sections[:3]):
        raise keys.wrong("rope.dimension_sections", list(sections), "there, and not all zero")


def _check_window(keys: _Keys, layers: int) -> None:
    window = keys.number("attention.sliding_window", 0)
    if window > _MAX_WINDOW:
        raise keys.wrong("attention.sliding_window", window, f"at most {_MAX_WINDOW}")
    pattern = keys.per_layer("attention.sliding_window_pattern")
    kind = keys.gguf.value_types.get(f"{keys.gguf.architecture}.attention.sliding_window_pattern", "")
    windowed = any(pattern[:layers]) if kind.startswith("[") else pattern != (1,)
    if window and pattern and not windowed:
        raise keys.wrong("attention.sliding_window_pattern", pattern[0], "such that some layer has the window")


def _check_tensor_types(keys: _Keys) -> None:
    """Vectors are added and multiplied as float32; matrices are multiplied in types that have such a product."""
    for tensor in keys.gguf.tensors.values():
        if any(word in tensor.name for word in _TABLES):
            continue
        if len(tensor.shape) == 1 and tensor.type_name != "f32" and tensor.name.endswith((".weight", ".bias")):
            demand = "f32, as every vector"
        elif tensor.type_name in _NO_WEIGHT_TYPES and tensor.name.endswith(".weight"):
            demand = "a type for weights"
        else:
            continue
        name = keys.gguf.path.name
        raise ModelFileError(f"{name} is damaged: tensor {tensor.name} has type {tensor.type_name} instead of {demand}")
