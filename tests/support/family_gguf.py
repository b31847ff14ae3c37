"""Tiny random-weight GGUF models of any architecture that llama.cpp builds.

llama.cpp itself says which tensors a file of some metadata needs (`llama_model_init_from_user`). They are filled with
random numbers and written with gguf's writer. Architectures are rows of a table: what differs from `_COMMON`.
"""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize

from selar_local.llama.ggml import symbol
from selar_local.llama.library import C, start
from support.tiny_gguf import FloatArray, add_metadata, tiny_vocabulary, tokenizer_metadata

__all__ = ["FAMILIES", "Family", "write_family_gguf"]

#: What llama.cpp multiplies by: the rest is in F32 in every file.
_MATRIX = re.compile(r"(attn_(q|k|v|qkv|output|gate)|ffn_(gate|up|down)|ssm_(in|out)|token_embd|output)\.weight$")

_HEADS, _HEAD, _LAYERS = 2, 32, 2
_EMBD = _HEADS * _HEAD

_COMMON: dict[str, Any] = {
    "context_length": 512,
    "embedding_length": _EMBD,
    "block_count": _LAYERS,
    "feed_forward_length": 96,
    "attention.head_count": _HEADS,
    "attention.head_count_kv": _HEADS,
    "attention.layer_norm_epsilon": 1e-5,
    "attention.layer_norm_rms_epsilon": 1e-5,
}
_WINDOW = {"attention.sliding_window": 16, "attention.sliding_window_pattern": 2}
_EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}
_SHARED_EXPERTS = {**_EXPERTS, "expert_shared_count": 1, "expert_gating_func": 2, "leading_dense_block_count": 1}
_LATENT = {
    "attention.head_count_kv": 1, "attention.q_lora_rank": 32, "attention.kv_lora_rank": 32, "rope.dimension_count": 16,
    "attention.key_length": 48, "attention.value_length": 32, "attention.key_length_mla": 32,
    "attention.value_length_mla": 32,
}  # fmt: skip
_DEEPSEEK4 = {
    **_SHARED_EXPERTS, "block_count": 4, "embedding_length": 128, "attention.head_count": 8,
    "attention.head_count_kv": 1, "attention.key_length": 64, "attention.value_length": 64,
    "rope.dimension_count": 32, "attention.q_lora_rank": 32, "attention.output_group_count": 8,
    "attention.output_lora_rank": 32, "attention.compress_ratios": [0, 0, 4, 128], "hash_layer_count": 1,
    "attention.compress_rope_freq_base": 160000.0, "attention.sliding_window": 32, "hyper_connection.count": 4,
    "hyper_connection.sinkhorn_iterations": 2, "hyper_connection.epsilon": 1e-6, "swiglu_clamp_exp": [10.0]*4,
    "expert_weights_scale": 1.0, "expert_weights_norm": True, "expert_gating_func": 4,
    "attention.indexer.head_count": 64, "attention.indexer.key_length": 128, "attention.indexer.top_k": 131072,
}  # fmt: skip
_MAMBA = {"ssm.conv_kernel": 4, "ssm.inner_size": 2 * _EMBD, "ssm.state_size": 16, "ssm.time_step_rank": 4}
_MAMBA2 = {**_MAMBA, "ssm.group_count": 2}
_DELTA_NET = {**_MAMBA2, "ssm.inner_size": 32, "ssm.time_step_rank": 2, "full_attention_interval": 2}
_SECTIONS = {"rope.dimension_sections": [4, 6, 6, 0]}
_ATTENTION_EVERY_OTHER = {"attention.head_count_kv": [_HEADS, 0]}
_KEYS = {"attention.key_length": _HEAD, "attention.value_length": _HEAD}
_GEMMA4_VALUES = {
    **_KEYS, **_WINDOW, "attention.sliding_window_pattern": [True, False], "attention.key_length_swa": _HEAD,
    "attention.value_length_swa": _HEAD, "rope.freq_base_swa": 10000.0,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """One architecture's tiny file.

    models: what people know it by. form: the name of the format that they write. values: metadata under the
    architecture's name. kind: how its memory works. rows: whether it takes vectors. controls: the family's control
    tokens; the first ends a turn.
    """

    models: str
    form: str
    values: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "attention"  # or "window", "hybrid", "recurrent"
    rows: bool = True
    controls: tuple[str, ...] = ("<|im_end|>", "<|im_start|>")
    architecture: str = ""  # where it differs from the family's name
    note: str = ""  # for the table of models


_GEMMA = ("<end_of_turn>", "<start_of_turn>", "<bos>")
_GEMMA4 = ("<turn|>", "<|turn>", "<bos>", "<|channel>", "<channel|>")
_GLM = ("<|user|>", "<|assistant|>", "<|system|>", "<|observation|>", "[gMASK]", "<sop>")
_GRANITE = ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>")
_HARMONY = ("<|return|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>")
_LLAMA3 = ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
_END = ("<|endoftext|>",)
_MISTRAL = ("</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]", "<s>")
_DEEPSEEK = ("<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>")
_HUNYUAN = ("<|eos|>", "<|startoftext|>", "<|extra_0|>")
_COHERE = ("<|END_OF_TURN_TOKEN|>", "<|START_OF_TURN_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|USER_TOKEN|>", "<BOS_TOKEN>")

FAMILIES: dict[str, Family] = {
    "llama": Family("Llama 3, SmolLM2 and many others", "llama", controls=_LLAMA3),
    "mistral3": Family("Ministral 3", "mistral", _KEYS, controls=_MISTRAL),
    "llama4": Family(
        "Llama 4",
        "llama-4",
        {**_EXPERTS, "block_count": 4, "interleave_moe_layer_step": 2, "attention.chunk_size": 16},
        "window",
        controls=("<|eot|>", "<|begin_of_text|>", "<|header_start|>", "<|header_end|>"),
    ),
    "qwen2": Family("Qwen 2 and 2.5, QwQ", "hermes"),
    "qwen2moe": Family("Qwen 1.5 MoE", "hermes", {**_EXPERTS, "expert_shared_feed_forward_length": 32}),
    "qwen3": Family("Qwen 3", "hermes", _KEYS),
    "qwen3moe": Family("Qwen 3 MoE, Qwen3-Coder", "qwen-coder", {**_KEYS, **_EXPERTS}),
    "gpt-oss": Family("gpt-oss", "harmony", {**_KEYS, **_EXPERTS, **_WINDOW}, "window", controls=_HARMONY),
    "gemma": Family("Gemma", "general", _KEYS, controls=_GEMMA),
    "gemma2": Family("Gemma 2", "general", {**_KEYS, **_WINDOW}, "window", controls=_GEMMA),
    "gemma3": Family(
        "Gemma 3", "general", {**_KEYS, **_WINDOW}, "window", controls=_GEMMA, note="rows are scaled as tokens are"
    ),
    "gemma4": Family(
        "Gemma 4 26B-A4B, 31B",
        "gemma-4",
        {**_GEMMA4_VALUES, "embedding_length_per_layer_input": 0},
        "window",
        controls=_GEMMA4,
    ),
    "gemma4-e2b": Family(
        "Gemma 4 E2B, E4B",
        "gemma-4",
        {**_GEMMA4_VALUES, "embedding_length_per_layer_input": 32, "attention.shared_kv_layers": 0},
        "window",
        rows=False,
        controls=_GEMMA4,
        note="per-layer embeddings",
        architecture="gemma4",
    ),
    "gemma3n": Family(
        "Gemma 3n",
        "general",
        {**_KEYS, **_WINDOW, "block_count": 22, "embedding_length_per_layer_input": 16},
        "window",
        rows=False,
        controls=_GEMMA,
        note="per-layer embeddings",
    ),
    "qwen2vl": Family("Qwen 2 and 2.5 VL", "hermes", _SECTIONS, note="M-RoPE"),
    "qwen3vl": Family(
        "Qwen 3 VL",
        "hermes",
        {**_KEYS, **_SECTIONS, "block_count": 3, "n_deepstack_layers": 2},
        note="M-RoPE, deepstack",
    ),
    "glm4": Family("GLM-4", "glm", rows=False, controls=_GLM, note="no `rope.dimension_sections` in the file"),
    "glm4v": Family("GLM-4.1V", "glm", _SECTIONS, controls=_GLM, architecture="glm4", note="M-RoPE"),
    "glm4moe": Family(
        "GLM 4.5, 4.6",
        "glm",
        {**_KEYS, **_SHARED_EXPERTS},
        rows=False,
        controls=_GLM,
        note="no `rope.dimension_sections` in the file",
    ),
    "deepseek2": Family("DeepSeek V2, V3, R1", "deepseek", {**_LATENT, **_SHARED_EXPERTS}, controls=_DEEPSEEK),
    "deepseek4": Family(
        "DeepSeek V4", "dsml", _DEEPSEEK4, "hybrid", rows=False, controls=_DEEPSEEK, note="hash layers"
    ),
    "minimax-m2": Family(
        "MiniMax M2", "minimax-m2", {**_KEYS, **_EXPERTS, "expert_gating_func": 2}, controls=("[e~[", "]~b]", "]~!b[")
    ),
    "hunyuan-moe": Family(
        "Hunyuan A13B", "hunyuan", {**_KEYS, **_EXPERTS, "expert_shared_feed_forward_length": 32}, controls=_HUNYUAN
    ),
    "hunyuan-dense": Family("Hunyuan 0.5B to 7B", "hunyuan", _KEYS, controls=_HUNYUAN),
    "ernie4_5": Family("ERNIE 4.5", "hermes", controls=("</s>", "<s>")),
    "seed_oss": Family("Seed-OSS", "seed-oss", _KEYS, controls=("<seed:eos>", "<seed:bos>")),
    "smollm3": Family("SmolLM3", "hermes"),
    "olmo2": Family("OLMo 2", "general", controls=("<|endoftext|>", "<|user|>", "<|assistant|>")),
    "exaone4": Family(
        "EXAONE 4 1.2B",
        "hermes",
        _KEYS,
        controls=("[|endofturn|]", "[BOS]", "[|user|]", "[|assistant|]"),
    ),
    "cohere2": Family(
        "Command R7B, Command A", "cohere", {**_KEYS, **_WINDOW, "logit_scale": 0.25}, "window", controls=_COHERE
    ),
    "command-r": Family("Command R, R+", "command-r", {"logit_scale": 0.25}, controls=_COHERE),
    "phi3": Family("Phi 3, Phi-4 mini", "phi", controls=("<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>")),
    "granite": Family(
        "Granite 3", "granite", {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 8.0}, controls=_GRANITE
    ),
    "granite-vision": Family(
        "Granite 4 Vision",
        "hermes",
        {"embedding_scale": 12.0, "residual_scale": 0.22, "logit_scale": 8.0, "deepstack_mapping": [-1, 1]},
        controls=_GRANITE,
        architecture="granite",
        note="deepstack",
    ),
    "granitehybrid": Family("Granite 4", "hermes", {**_MAMBA2, **_ATTENTION_EVERY_OTHER}, "hybrid", controls=_GRANITE),
    "qwen35": Family("Qwen 3.5", "qwen-coder", {**_KEYS, **_SECTIONS, **_DELTA_NET}, "hybrid"),
    "qwen3next": Family("Qwen3-Next, Qwen3-Coder-Next", "qwen-coder", {**_KEYS, **_EXPERTS, **_DELTA_NET}, "hybrid"),
    "lfm2": Family("LFM2, LFM2.5", "lfm2", {"shortconv.l_cache": 3, **_ATTENTION_EVERY_OTHER}, "hybrid"),
    "falcon-h1": Family("Falcon-H1", "hermes", {**_MAMBA2, **_KEYS}, "hybrid"),
    "nemotron_h": Family(
        "Nemotron-H, Nemotron Nano 2",
        "nemotron-nano",
        {**_MAMBA2, "block_count": 3, "attention.head_count_kv": [_HEADS, 0, 0], "feed_forward_length": [0, 0, 96]},
        "hybrid",
    ),
    "jamba": Family("Jamba", "tool-calls", {**_MAMBA, **_ATTENTION_EVERY_OTHER}, "hybrid", controls=_END),
    "mamba": Family("Mamba", "general", _MAMBA, "recurrent", controls=_END),
    "mamba2": Family("Mamba 2", "general", _MAMBA2, "recurrent", controls=_END),
    # Not RWKV 7: llama.cpp reads memory there that nothing has written, and some logits are NaN.
    "rwkv6": Family(
        "RWKV 6",
        "general",
        {"wkv.head_size": _HEAD, "time_mix_extra_dim": 16, "time_decay_extra_dim": 16},
        "recurrent",
        controls=_END,
        note="not RWKV 7: some of its logits are NaN",
    ),
}


def write_family_gguf(
    path: Path | str,
    family: str,
    *,
    seed: int = 0,
    weight_type: str = "F32",
    chat_template: str | None = None,
    controls: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write the tiny file of one of `FAMILIES`. controls, metadata: instead of the family's, and more than it has."""
    row = FAMILIES[family]
    architecture = row.architecture or family
    vocabulary = tiny_vocabulary(controls=tuple(row.controls if controls is None else controls))
    values = {**_COMMON, "vocab_size": len(vocabulary.tokens), **row.values}
    described = {"general.name": "tiny model", "general.quantization_version": 2}
    described |= {f"{architecture}.{key}": value for key, value in values.items()}
    described |= tokenizer_metadata(vocabulary, chat_template, bos=row.controls[-1], end=row.controls[0])
    described |= metadata or {}
    writer = GGUFWriter(path, architecture)
    add_metadata(writer, described)
    random = np.random.default_rng(seed)
    for name, shape in _shapes(architecture, described):
        if "tid2eid" in name:  # token ids to experts
            writer.add_tensor(name, random.integers(0, 4, shape, np.int32))
            continue
        kind = GGMLQuantizationType[weight_type if _MATRIX.search(name) and shape[-1] % 32 == 0 else "F32"]
        writer.add_tensor(name, quantize(_filled(random, name, shape), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def _filled(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> FloatArray:
    """Random numbers of a size that keeps a token's signal through the layers."""
    values = random.standard_normal(shape)
    if "norm" in name and name.endswith(".weight"):
        values = 1 + 0.15 * values
    elif name == "rope_freqs.weight":
        values = np.ones(shape)
    elif "ssm_a" in name:
        values = -np.abs(values)  # a state decays
    elif len(shape) == 1 or shape[-1] == 1:
        values *= 0.1
    elif name == "token_embd.weight":
        values /= shape[-1] ** 0.5
    else:
        values *= 1.5 / shape[-1] ** 0.5
    return np.asarray(values, np.float32)


class _Tensor(ctypes.Structure):
    """The beginning of ggml_tensor."""

    _fields_ = (("type", ctypes.c_int), ("buffer", ctypes.c_void_p), ("shape", ctypes.c_int64 * 4))


def _shapes(architecture: str, described: Mapping[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """The tensors that llama.cpp wants for this metadata, in NumPy's order of dimensions."""
    start()
    found: list[tuple[str, tuple[int, ...]]] = []
    get_name = symbol("ggml_get_name", ctypes.c_char_p, [ctypes.c_void_p])
    read = symbol("gguf_init_from_file", ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_bool, ctypes.c_void_p])
    free = symbol("gguf_free", None, [ctypes.c_void_p])
    assert get_name and read and free

    @C.llama_model_set_tensor_data_t  # type: ignore[untyped-decorator]
    def note(tensor: int, _data: object) -> None:
        shape = list(_Tensor.from_address(tensor).shape)
        while len(shape) > 1 and shape[-1] == 1:
            shape.pop()
        found.append((get_name(tensor).decode(), tuple(reversed(shape))))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metadata.gguf"
        writer = GGUFWriter(path, architecture)
        add_metadata(writer, described)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        metadata = read(os.fsencode(path), True, None)
        params = C.llama_model_default_params()
        params.n_gpu_layers = 0
        model = C.llama_model_init_from_user(metadata, note, None, params)
        assert model, f"llama.cpp does not build {architecture} from this metadata"
        C.llama_model_free(model)
        free(metadata)
    return list(dict(found).items())
