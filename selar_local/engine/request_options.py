"""The keywords of `load`, `stream` and `generate`, for editors and type checkers.

They repeat the fields of the dataclasses in `selar_local.config`, which have defaults, help and checks. A test compares
names and types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from selar_local.config import CacheType
from selar_local.methods.base import Method

Messages = Sequence[Mapping[str, Any]]
Tools = Sequence[Mapping[str, Any]]
#: A text, or token ids.
Prompt = str | Sequence[int]


class EngineOptions(TypedDict, total=False):
    """How a model is opened: see `EngineConfig`."""

    ctx_size: int
    gpu_layers: int | Literal["auto", "all"]
    device: str | None
    split_mode: Literal["none", "layer", "row", "tensor"]
    tensor_split: str | None
    main_gpu: int
    n_cpu_moe: int | None
    kv_offload: bool
    rpc: str | None
    threads: int | None
    cache_type_k: CacheType
    cache_type_v: CacheType
    flash_attn: Literal["on", "off", "auto"]
    batch_size: int
    mmap: bool
    mlock: bool
    repack: bool | None
    check_tensors: bool
    prompt_cache: bool
    reuse_answers: bool
    chat_template: str | None
    hang_timeout: float
    verbose: bool
    swa_full: bool
    cache_ram: int
    model_sampling: bool
    queue_size: int
    parallel: int


class SamplingOptions(TypedDict, total=False):
    """How tokens are drawn: see `SamplingConfig`."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    greedy: bool
    seed: int | None
    typical_p: float
    repeat_penalty: float
    presence_penalty: float
    frequency_penalty: float
    repeat_last_n: int
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: Sequence[str]
    xtc_probability: float
    xtc_threshold: float
    logit_bias: Sequence[str] | Mapping[Any, Any]


class GenerationOptions(TypedDict, total=False):
    """When a generation ends, and what it reports: see `GenerationConfig`."""

    max_tokens: int | None
    stop: Sequence[str]
    grammar: str | None
    json_schema: str | Mapping[str, Any] | None
    thinking_budget: int | None
    reasoning_effort: str | None
    template_args: Mapping[str, Any] | None
    keep_form: bool
    logprobs: int | None
    prompt_logprobs: int | None
    min_tokens: int
    ignore_eos: bool
    stop_token_ids: Sequence[int]


class RenderOptions(TypedDict, total=False):
    """How a chat template renders messages: see `BaseEngine.render`."""

    thinking: bool | None
    reasoning_effort: str | None
    thinking_budget: int | None
    template_args: Mapping[str, Any] | None
    tools: Tools | None
    add_generation_prompt: bool
    continue_final_message: bool | None


class TurnOptions(SamplingOptions, GenerationOptions, total=False):
    """The options of one turn of a conversation: see `Conversation`."""


class RequestOptions(TurnOptions, total=False):
    """The arguments of a generation besides its prompt: see `BaseEngine.stream`."""

    messages: Messages | None
    system: str | None
    raw: bool
    thinking: bool | None
    tools: Tools | None
    continue_final_message: bool | None
    method: Method | str | None
