"""Penalties on repetition, written from their definitions, position by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .weights import Array


@dataclass(frozen=True)
class Penalties:
    """What changes the logits. Windows count the last tokens; breakers are sequences of tokens."""

    bias: Mapping[int, float] = field(default_factory=dict)
    repeat: float = 1.0
    presence: float = 0.0
    frequency: float = 0.0
    window: int = 64
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed: int = 2
    dry_window: int = 64
    breakers: Sequence[tuple[int, ...]] = ()


def changed(logits: Array, text: Sequence[int], penalties: Penalties) -> Array:
    """The logits after biases, the three penalties and DRY; `text` is all that was written, the prompt first."""
    logits = logits.copy()
    for token, bias in penalties.bias.items():
        logits[token] += bias
    last = list(text[-penalties.window :] if penalties.window else [])
    for token in set(last):
        logits[token] *= 1 / penalties.repeat if logits[token] > 0 else penalties.repeat
        logits[token] -= penalties.frequency * last.count(token) + penalties.presence
    if penalties.dry_multiplier:
        for token, length in continued(text[-penalties.dry_window :], penalties).items():
            logits[token] -= penalties.dry_multiplier * penalties.dry_base ** (length - penalties.dry_allowed)
    return logits


def continued(text: Sequence[int], penalties: Penalties) -> dict[int, int]:
    """Tokens that would continue a repetition without a breaker, and the length it has so far."""
    found: dict[int, int] = {}
    fresh = since_breaker(text, penalties.breakers)
    for end in range(1, len(text)):  # what repeats ends before here
        length = 0
        while length < min(end, fresh) and text[end - 1 - length] == text[-1 - length]:
            length += 1
        if length >= penalties.dry_allowed and (text[end],) not in penalties.breakers:
            found[text[end]] = max(length, found.get(text[end], 0))
    return found if len(text) > penalties.dry_allowed and fresh >= penalties.dry_allowed else {}


def since_breaker(text: Sequence[int], breakers: Sequence[tuple[int, ...]]) -> int:
    """Tokens after the breaker that begins last (the longest of those that begin there)."""
    for start in range(len(text) - 1, -1, -1):
        ends = [start + len(one) for one in breakers if tuple(text[start : start + len(one)]) == one]
        if ends:
            return len(text) - max(ends)
    return len(text)
