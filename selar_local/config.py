"""Options and their only defaults. The CLI's flags and the API's keywords derive from these classes.

Each field carries ``help`` and, where llama.cpp has a name for it, the ``flags`` of the command line.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from selar_local.errors import OptionError

__all__ = [
    "CACHE_TYPES",
    "OVERFLOW",
    "ChatConfig",
    "EngineConfig",
    "GenerationConfig",
    "SamplingConfig",
    "from_mapping",
    "require",
]

T = TypeVar("T")

#: KV cache types llama.cpp accepts on its command line, with their ggml_type numbers.
CACHE_TYPES: dict[str, int] = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7,
}  # fmt: skip
FLASH_ATTN = ("on", "off", "auto")
OVERFLOW = ("drop", "error")


def require(condition: bool, message: str) -> None:
    """Raise `OptionError` with `message` unless `condition` holds."""
    if not condition:
        raise OptionError(message)


def number(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Require a finite number (no bool) with ``low <= value <= high``."""
    plain = isinstance(value, int) and not isinstance(value, bool)
    require(not plain or abs(value) < 2**64, f"{name} is too large")
    finite = plain or (isinstance(value, float) and math.isfinite(value))
    require(finite, f"{name} must be a finite number, not {value!r}")
    bounds = f"at least {low}" if math.isinf(high) else f"between {low} and {high}"
    require(low <= value <= high, f"{name} must be {bounds}, not {value!r}")


def whole(name: str, value: Any, low: int, high: int = 2**31 - 1) -> None:
    """Require a whole number with ``low <= value <= high``."""
    require(
        isinstance(value, int) and not isinstance(value, bool),
        f"{name} must be a whole number, not {value!r}",
    )
    number(name, value, low, high)


def switch(name: str, value: Any) -> None:
    """Require True or False."""
    require(isinstance(value, bool), f"{name} must be True or False, not {value!r}")


def choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Require one of a few strings."""
    require(isinstance(value, str) and value in choices, f"{name} must be one of {', '.join(choices)}, not {value!r}")


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build the dataclass `cls` from `values`; an unknown key is an `OptionError` that lists the known ones."""
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            options = ", ".join(known) or "none"
            raise OptionError(f"unknown option {name!r} for {cls.__name__} (known: {options})")
    return cls(**values)


def opt(default: Any, help_text: str, *flags: str, **more: Any) -> Any:
    """A dataclass field with its help text and command-line flags.

    more: ``choices``, ``cli`` (False: no flag), ``source`` (of the option, where it is not its class's).
    """
    return field(default=default, metadata={"help": help_text, "flags": flags, **more})


def _replace_minus_one(config: Any, **meanings: Any) -> None:
    """Replace -1 by what llama.cpp means by it, so that nobody else has to know."""
    for name, meaning in meanings.items():
        value = getattr(config, name)
        if isinstance(value, int) and value == -1:
            object.__setattr__(config, name, meaning)


def default_threads() -> int:
    """Physical cores, as far as they can be told: llama.cpp slows down on hyper-threads."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return usable if usable <= 4 else max(4, usable // 2)


@dataclass(frozen=True)
class EngineConfig:
    """How llama.cpp opens the model. Names and values are llama.cpp's own."""

    ctx_size: int = opt(4096, "context size in tokens (0: as trained)", "-c", "--ctx-size")
    gpu_layers: int = opt(-1, "layers to put on the GPU (-1: all; ignored by a CPU build)", "-ngl", "--gpu-layers")
    threads: int | None = opt(None, "CPU threads (default: the physical cores)", "-t", "--threads")
    cache_type_k: str = opt("f16", "KV cache type for K", "-ctk", "--cache-type-k", choices=tuple(CACHE_TYPES))
    cache_type_v: str = opt("f16", "KV cache type for V", "-ctv", "--cache-type-v", choices=tuple(CACHE_TYPES))
    flash_attn: str = opt("auto", "flash attention", "-fa", "--flash-attn", choices=FLASH_ATTN)
    batch_size: int = opt(128, "prompt tokens per chunk", "-b", "--batch-size")
    mmap: bool = opt(True, "map the model file into memory", "--mmap/--no-mmap")
    mlock: bool = opt(False, "keep the model in RAM", "--mlock/--no-mlock")
    repack: bool | None = opt(
        None,
        "repack weights for the CPU (default: on, but off where the build uses AMX)",
        "--repack/--no-repack",
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
    queue_size: int = opt(256, "requests that may wait for a place; beyond it: busy", "--queue-size", cli=False)
    parallel: int = opt(1, "sequences decoded together", "-np", "--parallel", cli=False)

    def __post_init__(self) -> None:
        whole("ctx_size", self.ctx_size, 0)
        whole("gpu_layers", self.gpu_layers, -1)
        if self.threads is not None:
            whole("threads", self.threads, 1, 512)
        for name in ("cache_type_k", "cache_type_v"):
            value = getattr(self, name)
            known = isinstance(value, str) and value in CACHE_TYPES
            require(known, f"{name} must be one of {', '.join(CACHE_TYPES)}, not {value!r}")
        require(self.flash_attn in FLASH_ATTN, f"flash_attn must be on, off or auto, not {self.flash_attn!r}")
        whole("batch_size", self.batch_size, 1, 1 << 16)
        whole("queue_size", self.queue_size, 0)
        for name in ("mmap", "mlock", "check_tensors", "prompt_cache", "reuse_answers"):
            switch(name, getattr(self, name))
        if self.repack is not None:
            switch("repack", self.repack)
        whole("parallel", self.parallel, 1, 256)
        require(self.ctx_size * self.parallel < 2**31, "ctx_size times parallel is more than llama.cpp can count")


@dataclass(frozen=True)
class SamplingConfig:
    """The filtered distribution, in this order: temperature, top-k, top-p, min-p. Defaults are the paper's."""

    temperature: float = opt(
        0.6,
        "divides the logits; 0: the most probable token (refused where it is to be mixed)",
        "--temperature",
        "--temp",
    )
    top_k: int = opt(20, "keep the k largest logits (0 or -1: all)", "--top-k")
    top_p: float = opt(0.95, "nucleus sampling (1: off)", "--top-p")
    min_p: float = opt(0.0, "keep tokens of at least this share of the largest probability", "--min-p")
    greedy: bool = opt(False, "take the most probable token instead of drawing one", "--greedy")
    seed: int | None = opt(None, "seed of the draws, -1: a random one (default: a random one)", "-s", "--seed")

    def __post_init__(self) -> None:
        _replace_minus_one(self, top_k=0, seed=None)
        number("temperature", self.temperature, 0, 100)
        whole("top_k", self.top_k, 0)
        number("top_p", self.top_p, 0, 1)
        require(self.top_p > 0, "top_p must be above 0")
        number("min_p", self.min_p, 0, 1)
        switch("greedy", self.greedy)
        if self.seed is not None:
            whole("seed", self.seed, 0, 2**63 - 1)


@dataclass(frozen=True)
class GenerationConfig:
    """When a generation ends, besides the model's own end-of-generation tokens."""

    max_tokens: int | None = opt(
        None, "most tokens to generate, -1: no limit (default: until the context is full)", "-n", "--max-tokens"
    )
    stop: tuple[str, ...] = opt((), "end the text before this string (may be given several times)", "--stop")

    grammar: str | None = opt(None, "what the text may be, in llama.cpp's GBNF", "--grammar")
    json_schema: str | Mapping[str, Any] | None = opt(
        None, "a JSON schema that the text must follow (its text, or the object)", "-j", "--json-schema"
    )
    logprobs: int | None = opt(None, "report so many log-probabilities of each step", cli=False)

    def __post_init__(self) -> None:
        _replace_minus_one(self, max_tokens=None)
        require(self.grammar is None or self.json_schema is None, "grammar and json_schema exclude each other")
        for name in ("grammar", "json_schema"):
            require(getattr(self, name) != "", f"{name} is empty")
        require(self.grammar is None or isinstance(self.grammar, str), "grammar must be a text")
        if self.logprobs is not None:
            whole("logprobs", self.logprobs, 0, 1000)
        if self.max_tokens is not None:
            whole("max_tokens", self.max_tokens, 0)
        require(
            isinstance(self.stop, Iterable) and not isinstance(self.stop, (str, bytes)),
            f"stop must be a sequence of strings, not {self.stop!r}",
        )
        object.__setattr__(self, "stop", tuple(self.stop))
        require(all(isinstance(s, str) and s for s in self.stop), "a stop string must not be empty")


@dataclass(frozen=True)
class ChatConfig:
    """Options of the chat on the terminal. `overflow` is also an option of `Conversation`."""

    overflow: str = opt(
        "drop",
        "chat: where the context is full, leave out the oldest turns, or report an error",
        "--overflow",
        choices=OVERFLOW,
    )
    history: bool = opt(True, "chat: remember what you type for the next chat", "--history/--no-history")

    def __post_init__(self) -> None:
        choice("overflow", self.overflow, OVERFLOW)
        switch("history", self.history)
