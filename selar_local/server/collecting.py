"""What both endpoints tell of a generation: text, thinking, log-probabilities, counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from selar_local.advice import advice
from selar_local.engine.events import Result, TokenEvent
from selar_local.methods import Method
from selar_local.methods.entropy import candidate_entropy
from selar_local.trace.records import fed_facts

TokenOf = Callable[[int], tuple[bytes, bool]]
LOWEST = -9999.0  # JSON has no infinity; OpenAI's own floor
_ROWS = 20  # of what a step fed; some methods mix hundreds


class Collector:
    """Follows one generation, and knows what of its text has been given out.

    forced: its text is under a grammar from the first token on, so all of it is answer, even where the template
    has opened a thinking.
    """

    def __init__(self, *, forced: bool = False) -> None:
        self._forced = forced
        self._answer = 0
        self._thought = 0
        self.result: Result | None = None

    @property
    def shown(self) -> int:
        """Characters of the answer that were given out."""
        return self._answer

    def feed(self, event: TokenEvent) -> tuple[str, str]:
        """(answer, thinking) of a step."""
        return self._give(event.text, event.thinking)

    def finish(self, result: Result) -> tuple[str, str]:
        """(answer, thinking) that waited to the end."""
        self.result = result
        if self._forced:
            return self._give((result.thinking + result.text)[self._answer :], "")
        return self._give(result.text[self._answer :], result.thinking[self._thought :])

    def _give(self, text: str, thinking: str) -> tuple[str, str]:
        if self._forced:
            text, thinking = thinking + text, ""
        self._answer += len(text)
        self._thought += len(thinking)
        return text, thinking

    @property
    def reasoning_tokens(self) -> int:
        """Tokens before the answer, tags included, of a text that has a thinking."""
        return 0 if self._forced or self.result is None else self.result.usage.thinking_tokens


def heaviest(event: TokenEvent) -> list[tuple[int, float]]:
    """The rows with the largest weights in what an exploration step fed."""
    return sorted(event.fed or (), key=lambda row: -abs(row[1]))[:_ROWS] if event.explored else []


def event_facts(event: TokenEvent, token_of: TokenOf) -> dict[str, Any]:
    """What a chunk says about its step under `selar`. `fed` has the texts of its tokens, and the heaviest rows only."""
    facts = fed_facts(event)
    if facts.get("fed") is not None:
        facts["fed"] = [[i, weight, token_of(i)[0].decode("utf-8", "replace")] for i, weight in heaviest(event)]
    return {
        "token": event.token,
        "entropy": event.entropy,
        "explored": event.explored,
        "mode": event.mode,
        # Every method has this one; with SeLaR's defaults it is the entropy.
        "shade": candidate_entropy(event.top) or 0.0,
        **facts,
    }


def ending(result: Result, method: Method, *, events: bool) -> dict[str, Any]:
    """What an ended choice has beside the answer: `selar`, with all about the generation, or with its notes alone."""
    if not events:
        return {"selar": {"notes": list(result.notes)}} if result.notes else {}
    facts = {
        "method": method.name,
        "explored_steps": result.usage.explored_steps,
        "mean_entropy": result.mean_entropy,
        "latent_steps": result.usage.latent_steps,
        "mismatched_steps": result.usage.mismatched_steps,
        "seed": result.seed,
        "notes": list(result.notes),
        "hint": advice(method, result.usage),
    }
    return {"selar": facts}


def logprob_entry(event: TokenEvent, token_of: TokenOf, *, ending: bool = False) -> dict[str, Any] | None:
    """A step's log-probabilities as the chat endpoint writes them.

    None for a token that has no text in the answer. ending: also of the token that ends the text.
    """
    if event.logprobs is None or (token_of(event.token)[1] and not ending):
        return None

    def entry(token: int, value: float) -> dict[str, Any]:
        piece = token_of(token)[0]
        return {"token": piece.decode("utf-8", "replace"), "logprob": max(value, LOWEST), "bytes": list(piece)}

    top = [entry(token, value) for token, value in event.logprobs.top]
    return {**entry(event.token, event.logprobs.token), "top_logprobs": top}


def usage(collectors: Sequence[Collector], per_prompt: int) -> dict[str, Any]:
    """The counts of all generations; a prompt that `per_prompt` of them share counts once."""
    counts = [c.result.usage for c in collectors if c.result is not None]
    prompts = counts[::per_prompt]
    prompt, completion = sum(u.prompt_tokens for u in prompts), sum(u.completion_tokens for u in counts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(u.cached_tokens for u in prompts)},
        "completion_tokens_details": {"reasoning_tokens": sum(c.reasoning_tokens for c in collectors)},
    }
