"""What a generation reports: `Started`, progress, one `TokenEvent` a step, an error if there is one, the `Result`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from selar_local.engine.reprs import call, short
from selar_local.errors import SelarError
from selar_local.formats import Call, Delta
from selar_local.methods.base import Method, Mixture, NextInput, Token

FINISH_REASONS = ("stop", "length", "cancelled", "error")


#: What an input is made of: ids and the weights of their embedding rows.
Fed = tuple[tuple[int, float], ...]


def fed_by(chosen: NextInput) -> Fed | None:
    """The rows of an input; a token is its own row with weight 1. None for a vector that is no sum of rows."""
    if isinstance(chosen, Token):
        return ((chosen.id, 1.0),)
    if isinstance(chosen, Mixture):
        return tuple(zip(chosen.ids.tolist(), chosen.weights.tolist(), strict=True))
    return None


def is_mismatched(token: int, fed: Fed | None) -> bool:
    """Whether a step printed `token` and fed more of another one; False where nothing is known of what was fed."""
    if not fed or (len(fed) == 1 and fed[0][0] == token):
        return False
    own = max((weight for row, weight in fed if row == token), default=-math.inf)
    return own < max(weight for _, weight in fed)


class Logprobs(NamedTuple):
    """Natural logarithms of the model's own probabilities (temperature 1, no filters): the token's, and the largest."""

    token: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token, the ending one included."""

    index: int
    token: int  # the shown one
    text: str  # added to the answer; "" while half a character or a possible stop string waits
    thinking: str  # the same for the thinking before the answer
    entropy: float | None  # in the method's `entropy_unit` (SeLaR: normalised to [0, 1]); None where it uses none
    explored: bool  # the next input is not a plain token
    top: tuple[tuple[int, float], ...]  # candidates (id, probability) in the filtered distribution, zeros included
    drawn: int  # the drawn token; a method may show another one
    #: What the next input is made of, (id, weight) of each embedding row. () where the text ended and nothing is fed;
    #: None for a vector that is no sum of rows, such as a hidden state.
    fed: Fed | None
    #: Why a step that would have explored stayed a certain one: "symbol guard", "scope", "budget", "call" and "json"
    #: (see `keep_form`) or "end"; under a grammar "grammar" at every step; methods may have reasons of their own.
    kept: str | None = None
    mode: str | None = None  # the method's state, such as "soft" or "normal", where it has several
    logprobs: Logprobs | None = None  # where the request asks for them
    calls: tuple[Delta, ...] = ()  # what the step adds to calls of tools: a name, more of the arguments, the end

    def __repr__(self) -> str:
        shown = {"text": short(self.text)} if self.text or not self.thinking else {"thinking": short(self.thinking)}
        entropy = None if self.entropy is None else round(self.entropy, 4)
        logprob = None if self.logprobs is None else round(self.logprobs.token, 4)
        given = {"entropy": entropy, "explored": self.explored or None, "mode": self.mode, "logprob": logprob}
        return call(self, index=self.index, token=self.token, **shown, **given)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens (the ending token included) and of exploration steps."""

    prompt_tokens: int
    completion_tokens: int
    explored_steps: int
    latent_steps: int = 0  # positions without a token of their own, between prompt and text (Coconut)
    cached_tokens: int = 0  # prompt tokens that an earlier prompt had left in the KV cache
    thinking_tokens: int = 0  # before the answer's first text, tags included; 0 without a thinking
    #: Prompt tokens in the KV cache at the end, the cached ones included: fewer than prompt_tokens where the generation
    #: ended before its first token.
    prompt_read: int = 0
    mismatched_steps: int = 0  # whose printed token is not the heaviest of what they fed

    @property
    def explored_share(self) -> float:
        """Exploration steps as a share of all steps, 0 to 1."""
        return self.explored_steps / self.completion_tokens if self.completion_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent on the prompt and on the tokens after the first logits."""

    prefill_seconds: float
    decode_seconds: float
    tokens: int
    #: The part of the time, 0 to 1, in which llama.cpp's threads were ready to run and other programs had the cores.
    #: None where the system has no such figure, or the generation was too short for one.
    core_wait: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of decoding, the prompt left out."""
        return self.tokens / self.decode_seconds if self.decode_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A finished generation."""

    text: str
    thinking: str
    #: "stop" (the model or a stop string ended it), "length" (max_tokens, or a full context), "cancelled" or "error".
    finish_reason: str
    usage: Usage
    timings: Timings
    mean_entropy: float | None = None  # of the steps that have one
    context_full: bool = False
    stop_string: str | None = None
    seed: int = 0
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprobs, ...] = ()  # one for each of `tokens` where the request asks for them
    prompt_logprobs: tuple[Logprobs | None, ...] = ()  # the same of the prompt; nothing comes before its first token
    notes: tuple[str, ...] = ()  # options that have no effect on this model, in plain sentences
    calls: tuple[Call, ...] = ()  # complete calls of the request's tools: (name, arguments as JSON text, id or None)
    cut_call: Call | None = None  # a call that was begun and not completed, with its argument text so far

    def message(self) -> dict[str, Any]:
        """The answer as an assistant's message of OpenAI's API, for `messages` of the next request.

        A call without an id gets one, the same each time. A call that was cut off is left out.
        """
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if self.calls:
            message["content"] = self.text if self.text.strip() else None
            made = hashlib.sha256(repr((self.seed, self.usage.prompt_tokens, self.tokens)).encode()).hexdigest()[:22]
            message["tool_calls"] = [found.as_openai(f"call_{made}{i:02}") for i, found in enumerate(self.calls)]
        return message

    def __repr__(self) -> str:
        thinking = short(self.thinking) if self.thinking else None
        usage, notes = self.usage, self.notes or None
        return call(
            self, text=short(self.text), thinking=thinking, finish_reason=self.finish_reason,
            tokens=usage.completion_tokens, explored=usage.explored_steps or None, seed=self.seed, notes=notes,
        )  # fmt: skip


@dataclass(frozen=True)
class Started:
    """The engine has taken the request. Callers act on the generation through this object alone."""

    seed: int  # of its draws
    prompt: tuple[int, ...]  # token ids
    method: Method  # with what depends on the model filled in
    notes: tuple[str, ...]  # see `Result`
    cancel: Callable[[], None]  # asks for the end; returns at once, any thread may call it
    fail: Callable[[SelarError], None]  # ends it from the caller's side


@dataclass(frozen=True)
class Prefilled:
    """Progress of the prompt: `done` of `total` tokens are in the KV cache."""

    done: int
    total: int


Message = Started | Prefilled | TokenEvent | SelarError | Result
#: Takes the messages of one generation. The engine's thread calls it, so it must not wait.
Emit = Callable[[Message], None]
