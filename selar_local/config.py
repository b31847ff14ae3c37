"""Options of the engine and of requests, with their only defaults: flags and keywords derive from these classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from selar_local.device_lists import places_of, shares_of
from selar_local.logit_bias import logit_biases
from selar_local.options import Options, from_mapping, opt, require

__all__ = [
    "ALL_TOKENS",
    "CACHE_TYPES",
    "LLAMA_LOG",
    "CacheType",
    "ChatConfig",
    "EngineConfig",
    "GenerationConfig",
    "Overflow",
    "SamplingConfig",
    "from_mapping",
    "opt",
    "require",
]

Overflow = Literal["drop", "error"]
#: The logger that gets what llama.cpp logs.
LLAMA_LOG = "selar_local.llama"
#: KV cache types llama.cpp accepts on its command line, with their ggml_type numbers.
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
CACHE_TYPES: dict[CacheType, int] = {
    "f32": 0, "f16": 1, "bf16": 30, "q8_0": 8, "q4_0": 2, "q4_1": 3, "iq4_nl": 20, "q5_0": 6, "q5_1": 7,
}  # fmt: skip

#: A window over all tokens, however many.
ALL_TOKENS = 2**31 - 1


@dataclass(frozen=True)
class EngineConfig(Options):
    """How llama.cpp opens the model. Names and values are llama.cpp's own."""

    ctx_size: int = opt(4096, "context size in tokens (0: as trained)", "-c", "--ctx-size", low=0)
    gpu_layers: int | Literal["auto", "all"] = opt(
        "auto",
        "layers to put on the GPU: a number, all (or -1), or auto: as many as its free memory holds; "
        "a CPU build ignores it",
        "-ngl",
        "--gpu-layers",
        "--n-gpu-layers",
        low=-1,
    )
    device: str | None = opt(
        None,
        "devices for these layers, such as Vulkan0,Vulkan1; none: the CPU alone (default: all GPUs)",
        "-dev",
        "--device",
    )
    split_mode: Literal["none", "layer", "row", "tensor"] = opt(
        "layer", "several GPUs: use one, or share layers, rows, or tensors", "-sm", "--split-mode"
    )
    tensor_split: str | None = opt(
        None,
        "several GPUs: the share of each, such as 3,1 (default: by free memory)",
        "-ts",
        "--tensor-split",
    )
    main_gpu: int = opt(
        0, "the only GPU of --split-mode none, the first one of row", "-mg", "--main-gpu", low=0, high=255
    )
    n_cpu_moe: int | None = opt(
        None,
        "mixtures of experts: leave the experts of so many layers to the CPU (default: as -ngl auto finds, else 0)",
        "-ncmoe",
        "--n-cpu-moe",
        low=0,
        high=1 << 16,
    )
    kv_offload: bool = opt(True, "keep the KV cache where the layers are", "--kv-offload/--no-kv-offload")
    rpc: str | None = opt(
        None,
        "workers of other machines that take layers too, such as 192.168.1.7:50052 (see `selar-local worker`)",
        "--rpc",
        cli=False,
    )
    threads: int | None = opt(
        None, "CPU threads (default: the physical cores, in a container its share)", "-t", "--threads", low=1, high=512
    )
    cache_type_k: CacheType = opt("f16", "KV cache type for K", "-ctk", "--cache-type-k")
    cache_type_v: CacheType = opt("f16", "KV cache type for V", "-ctv", "--cache-type-v")
    flash_attn: Literal["on", "off", "auto"] = opt("auto", "flash attention", "-fa", "--flash-attn")
    batch_size: int = opt(128, "prompt tokens per chunk", "-b", "--batch-size", low=1, high=1 << 16)
    mmap: bool = opt(True, "map the model file into memory", "--mmap/--no-mmap")
    mlock: bool = opt(False, "keep the model in RAM", "--mlock/--no-mlock")
    repack: bool | None = opt(
        None, "repack weights for the CPU (default: on, but off where the build uses AMX)", "--repack/--no-repack"
    )
    verbose: bool = opt(False, "show all that llama.cpp logs", "--verbose")
    check_tensors: bool = opt(False, "scan the weights for invalid numbers while loading", "--check-tensors")
    prompt_cache: bool = opt(
        True, "keep what prompts begin with, for those that begin alike", "--prompt-cache/--no-prompt-cache"
    )
    reuse_answers: bool = opt(
        True,
        "also keep an answer, as far as its tokens were fed as tokens, for the turn that follows it",
        "--reuse-answers/--no-reuse-answers",
    )
    swa_full: bool = opt(
        False,
        "sliding-window models: keep all positions instead of the window; takes several times the memory",
        "--swa-full",
    )
    cache_ram: int = opt(
        1024,
        "MiB for the states at the ends of turns, from which models that cannot take tokens back go on",
        "-cram",
        "--cache-ram",
        low=0,
        high=1 << 20,
    )
    chat_template: str | None = opt(
        None,
        "chat template: a Jinja file, or the name of one that the model has (default: the model's own)",
        "--chat-template",
    )
    hang_timeout: float = opt(
        300.0,
        "isolated: seconds that a step, or taking a request, may last; then the process is replaced",
        "--hang-timeout",
        low=0.1,
        high=10**6,
        cli=False,
    )
    model_sampling: bool = opt(True, "begin with the sampling that the model file recommends, where it does", cli=False)
    queue_size: int = opt(256, "requests that may wait for a place; beyond it: busy", "--queue-size", low=0, cli=False)
    parallel: int = opt(1, "sequences decoded together", "-np", "--parallel", low=1, high=256, cli=False)

    def check_together(self) -> None:
        require(self.ctx_size * self.parallel < 2**31, "ctx_size times parallel is more than llama.cpp can count")
        require(not self.tensor_split or any(self.shares), "tensor_split must have a share above 0")
        require(len(self.workers) == len(set(self.workers)), "rpc names a worker twice")

    @property
    def shares(self) -> tuple[float, ...]:
        """`tensor_split` as numbers; none where it is not given."""
        return shares_of(self.tensor_split) if self.tensor_split else ()

    @property
    def workers(self) -> tuple[str, ...]:
        """`rpc` as places, ``host:port`` each."""
        return places_of(self.rpc) if self.rpc else ()


@dataclass(frozen=True)
class SamplingConfig(Options):
    """From logits to the drawn token. Defaults are the paper's.

    First the logits change: logit_bias, the penalties, DRY. Then the filters: temperature, top-k, typical, top-p,
    min-p, XTC. Names, values and this order are llama.cpp's, but for the temperature, which is its last one. Penalties
    and DRY go by the prompt's tokens and the printed ones.
    """

    temperature: float = opt(
        0.6,
        "divides the logits; 0: greedy, the most probable token",
        "--temperature",
        "--temp",
        low=0,
        high=100,
    )
    top_k: int = opt(20, "keep the k largest logits (0 or -1: all)", "--top-k", low=0, minus_one=0)
    top_p: float = opt(0.95, "nucleus sampling (1: off; 0: the most probable token alone)", "--top-p", low=0, high=1)
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
    typical_p: float = opt(1.0, "locally typical sampling (1: off)", "--typical-p", "--typical", above=0, high=1)
    repeat_penalty: float = opt(
        1.0,
        "divides the logits of tokens in the last ones, multiplies negative ones (1: off)",
        "--repeat-penalty",
        low=0.01,
        high=100,
    )
    presence_penalty: float = opt(
        0.0,
        "taken off the logits of tokens in the last ones (0: off)",
        "--presence-penalty",
        low=-100,
        high=100,
    )
    frequency_penalty: float = opt(
        0.0, "the same, times how often they are there (0: off)", "--frequency-penalty", low=-100, high=100
    )
    repeat_last_n: int = opt(
        64,
        "how many of the last tokens, prompt included, the three penalties look at (-1: all)",
        "--repeat-last-n",
        low=0,
        minus_one=ALL_TOKENS,
    )
    dry_multiplier: float = opt(
        0.0, "DRY: penalty on tokens that would repeat a sequence (0: off)", "--dry-multiplier", low=0, high=100
    )
    dry_base: float = opt(1.75, "DRY: its growth for each token of the repetition", "--dry-base", low=1, high=100)
    dry_allowed_length: int = opt(2, "DRY: longest repetition without penalty", "--dry-allowed-length", low=0)
    dry_penalty_last_n: int = opt(
        64,
        "DRY: how many of the last tokens, prompt included, it looks at (-1: all)",
        "--dry-penalty-last-n",
        low=0,
        minus_one=ALL_TOKENS,
    )
    dry_sequence_breakers: tuple[str, ...] = opt(
        ("\n", ":", '"', "*"),
        "DRY: no repetition reaches over this text (may be given several times; none: no such text)",
        "--dry-sequence-breaker",
    )
    xtc_probability: float = opt(
        0.0, "XTC: how often the most probable tokens are left out (0: never)", "--xtc-probability", low=0, high=1
    )
    xtc_threshold: float = opt(
        0.1,
        "XTC: all tokens of at least this probability but the least probable of them (above 0.5: off)",
        "--xtc-threshold",
        low=0,
        high=1,
    )
    logit_bias: tuple[str, ...] | Mapping[Any, Any] = opt(
        (),
        "added to the logit of a token: its id and the bias, such as 151+2.5 or 151-inf (may be given several times)",
        "--logit-bias",
    )

    def check_together(self) -> None:
        self.biases()

    def biases(self) -> dict[int, float]:
        """`logit_bias` as numbers; -inf forbids a token. Raises OptionError."""
        return logit_biases(self.logit_bias)

    def as_dict(self) -> dict[str, Any]:
        """The values by name, as traces and logs have them. Of the later options only those that are in use."""
        used = {one.name: getattr(self, one.name) for one in fields(self)}
        used["logit_bias"] = {token: bias if bias > -math.inf else False for token, bias in self.biases().items()} or ()
        return {
            one.name: used[one.name]
            for one in fields(self)
            if one.name in _ALWAYS_NAMED or used[one.name] != one.default
        }


_ALWAYS_NAMED = ("temperature", "top_k", "top_p", "min_p", "greedy", "seed")


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
    keep_form: bool = opt(
        True,
        "explore no step in a call of a tool or in a fenced block of JSON, nor where one may begin",
        "--keep-form/--no-keep-form",
    )
    logprobs: int | None = opt(None, "report so many log-probabilities of each step", low=0, high=1000, cli=False)
    prompt_logprobs: int | None = opt(
        None, "report so many log-probabilities of each prompt token", low=0, high=1000, cli=False
    )
    min_tokens: int = opt(0, "no end before so many tokens", "--min-tokens", low=0)
    ignore_eos: bool = opt(False, "go on where the model would end its text", "--ignore-eos")
    stop_token_ids: tuple[int, ...] = opt((), "end the text before one of these tokens", cli=False)

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
