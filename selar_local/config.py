"""Options of the engine and of requests, with their only defaults: flags and keywords derive from these classes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from selar_local.options import Options, from_mapping, opt, require

__all__ = [
    "CACHE_TYPES",
    "CacheType",
    "ChatConfig",
    "EngineConfig",
    "GenerationConfig",
    "Overflow",
    "SamplingConfig",
    "default_threads",
    "from_mapping",
    "opt",
    "require",
]

Overflow = Literal["drop", "error"]
#: KV cache types llama.cpp accepts on its command line, with their ggml_type numbers.
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
CACHE_TYPES: dict[CacheType, int] = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7,
}  # fmt: skip


def default_threads() -> int:
    """Physical cores, as far as they are known: llama.cpp slows down on hyper-threads."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if usable <= 4 else max(4, usable // 2)


@dataclass(frozen=True)
class EngineConfig(Options):
    """How llama.cpp opens the model. Names and values are llama.cpp's own."""

    ctx_size: int = opt(4096, "context size in tokens (0: as trained)", "-c", "--ctx-size", low=0)
    gpu_layers: int = opt(
        -1, "layers to put on the GPU (-1: all; ignored by a CPU build)", "-ngl", "--gpu-layers", low=-1
    )
    threads: int | None = opt(None, "CPU threads (default: the physical cores)", "-t", "--threads", low=1, high=512)
    cache_type_k: CacheType = opt("f16", "KV cache type for K", "-ctk", "--cache-type-k")
    cache_type_v: CacheType = opt("f16", "KV cache type for V", "-ctv", "--cache-type-v")
    flash_attn: Literal["on", "off", "auto"] = opt("auto", "flash attention", "-fa", "--flash-attn")
    batch_size: int = opt(128, "prompt tokens per chunk", "-b", "--batch-size", low=1, high=1 << 16)
    mmap: bool = opt(True, "map the model file into memory", "--mmap/--no-mmap")
    mlock: bool = opt(False, "keep the model in RAM", "--mlock/--no-mlock")
    repack: bool | None = opt(
        None, "repack weights for the CPU (default: on, but off where the build uses AMX)", "--repack/--no-repack"
    )
    check_tensors: bool = opt(False, "scan the weights for invalid numbers while loading", "--check-tensors")
    prompt_cache: bool = opt(
        True, "keep what prompts begin with, for those that begin alike", "--prompt-cache/--no-prompt-cache"
    )
    reuse_answers: bool = opt(
        True,
        "also keep an answer, as far as its tokens were fed as tokens, for the turn that follows it",
        "--reuse-answers/--no-reuse-answers",
    )
    queue_size: int = opt(256, "requests that may wait for a place; beyond it: busy", "--queue-size", low=0, cli=False)
    parallel: int = opt(1, "sequences decoded together", "-np", "--parallel", low=1, high=256, cli=False)

    def check_together(self) -> None:
        require(self.ctx_size * self.parallel < 2**31, "ctx_size times parallel is more than llama.cpp can count")


@dataclass(frozen=True)
class SamplingConfig(Options):
    """The filtered distribution, in this order: temperature, top-k, top-p, min-p. Defaults are the paper's."""

    temperature: float = opt(
        0.6,
        "divides the logits; 0: the most probable token (refused where it is to be mixed)",
        "--temperature",
        "--temp",
        low=0,
        high=100,
    )
    top_k: int = opt(20, "keep the k largest logits (0 or -1: all)", "--top-k", low=0, minus_one=0)
    top_p: float = opt(0.95, "nucleus sampling (1: off)", "--top-p", above=0, high=1)
    min_p: float = opt(0.0, "keep tokens of at least this share of the largest probability", "--min-p", low=0, high=1)
    greedy: bool = opt(False, "take the most probable token instead of drawing one", "--greedy")
    seed: int | None = opt(
        None,
        "seed of the draws, -1: a random one (default: a random one)",
        "-s",
        "--seed",
        low=0,
        high=2**63 - 1,
        minus_one=None,
    )


@dataclass(frozen=True)
class GenerationConfig(Options):
    """When a generation ends, besides the model's own end-of-generation tokens, and how much it thinks."""

    max_tokens: int | None = opt(
        None,
        "most tokens to generate, -1: no limit (default: until the context is full)",
        "-n",
        "--max-tokens",
        low=0,
        minus_one=None,
    )
    stop: tuple[str, ...] = opt((), "end the text before this string (may be given several times)", "--stop")
    grammar: str | None = opt(None, "what the text may be, in llama.cpp's GBNF", "--grammar")
    json_schema: str | Mapping[str, Any] | None = opt(
        None, "a JSON schema that the text must follow (its text, or the object)", "-j", "--json-schema"
    )
    thinking_budget: int | None = opt(
        None,
        "most tokens of thinking, then it is closed (0: at once; default: no limit)",
        "--thinking-budget",
        low=0,
        minus_one=None,
    )
    reasoning_effort: str | None = opt(
        None,
        "how much to think, for chat templates that know it: low, medium, high; on others a budget; none: no thinking",
        "--reasoning-effort",
    )
    template_args: Mapping[str, Any] | None = opt(None, "variables of the chat template", cli=False)
    logprobs: int | None = opt(None, "report so many log-probabilities of each step", low=0, high=1000, cli=False)

    def check_together(self) -> None:
        require(self.grammar is None or self.json_schema is None, "grammar and json_schema exclude each other")


@dataclass(frozen=True)
class ChatConfig(Options):
    """Options of the chat on the terminal. `overflow` is also an option of `Conversation`."""

    overflow: Overflow = opt(
        "drop",
        "chat: where the context is full, leave out the oldest turns, or report an error",
        "--overflow",
    )
    history: bool = opt(True, "chat: remember what you type for the next chat", "--history/--no-history")
