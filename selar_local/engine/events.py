"""What a generation reports: one `TokenEvent` a step, a `Result` at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from selar_local.engine.reprs import call, short
from selar_local.methods.base import Mixture, NextInput, Token

__all__ = ["FINISH_REASONS", "Fed", "Logprobs", "Result", "Timings", "TokenEvent", "Usage", "fed_by"]

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


class Logprobs(NamedTuple):
    """Natural logarithms of the model's own probabilities (temperature 1, no filters): the token's, and the largest."""

    token: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One generated token, the ending one included.

    text: what this step adds to the answer (``""`` while half a character or a possible stop string is
    held back). thinking: the same for the thinking before the answer. entropy: as the method uses it, in its
    `entropy_unit` (SeLaR: normalised to [0, 1]; others: nats), None where it uses none. explored: the next
    input is not a plain token. top: the candidates ``(id, probability)`` in the filtered distribution, zeros
    included. drawn: the token that was drawn; a method may show another one (`token`). fed: what the next input is made
    of, ``(id, weight)`` of each embedding row; ``()`` where the text ended and nothing is fed, None where the input is
    a vector that is no sum of rows, such as a hidden state. kept: why a step that would have explored stayed a certain
    one: "symbol guard", "scope", "budget", "grammar" or "end"; methods may have reasons of their own. mode: the
    method's state, such as "soft" or "normal", for those that have several. logprobs: where they were asked for.
    """

    index: int
    token: int
    text: str
    thinking: str
    entropy: float | None
    explored: bool
    top: tuple[tuple[int, float], ...]
    drawn: int
    fed: Fed | None
    kept: str | None = None
    mode: str | None = None
    logprobs: Logprobs | None = None

    def __repr__(self) -> str:
        shown = {"text": short(self.text)} if self.text or not self.thinking else {"thinking": short(self.thinking)}
        entropy = None if self.entropy is None else round(self.entropy, 4)
        logprob = None if self.logprobs is None else round(self.logprobs.token, 4)
        given = {"entropy": entropy, "explored": self.explored or None, "mode": self.mode, "logprob": logprob}
        return call(self, index=self.index, token=self.token, **shown, **given)


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens (the ending token included) and of exploration steps.

    latent_steps: positions without a token of their own, between prompt and text (Coconut). cached_tokens: prompt
    tokens that an earlier prompt had left in the KV cache. thinking_tokens: those before the answer's first text, the
    tags of the thinking included; 0 where there was no thinking. prompt_read: prompt tokens that were in the KV cache
    at the end, the cached ones included; fewer than prompt_tokens where the generation ended before its first token.
    """

    prompt_tokens: int
    completion_tokens: int
    explored_steps: int
    latent_steps: int = 0
    cached_tokens: int = 0
    thinking_tokens: int = 0
    prompt_read: int = 0

    @property
    def explored_share(self) -> float:
        """Exploration steps as a share of all steps, 0 to 1."""
        return self.explored_steps / self.completion_tokens if self.completion_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds spent on the prompt and on the tokens after the first logits.

    core_wait: the part of the time, 0 to 1, that llama.cpp's threads were ready to run and had no core, because other
    programs had them; None where the system has no such figure, or the generation was too short for one.
    """

    prefill_seconds: float
    decode_seconds: float
    tokens: int
    core_wait: float | None = None

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second of decoding, the prompt left out."""
        return self.tokens / self.decode_seconds if self.decode_seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """A finished generation.

    finish_reason: ``stop`` (the model ended it, or a stop string), ``length`` (max_tokens, or the context
    is full: `context_full`), ``cancelled`` or ``error``. mean_entropy: of the steps that have one, else None.
    logprobs: one for each of `tokens` where they were asked for. notes: what a person should know about the request,
    such as an option that has no effect on this model, in plain sentences.
    """

    text: str
    thinking: str
    finish_reason: str
    usage: Usage
    timings: Timings
    mean_entropy: float | None = None
    context_full: bool = False
    stop_string: str | None = None
    seed: int = 0
    tokens: tuple[int, ...] = ()
    logprobs: tuple[Logprobs, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        thinking = short(self.thinking) if self.thinking else None
        usage, notes = self.usage, self.notes or None
        return call(
            self, text=short(self.text), thinking=thinking, finish_reason=self.finish_reason,
            tokens=usage.completion_tokens, explored=usage.explored_steps or None, seed=self.seed, notes=notes,
        )  # fmt: skip
