"""What a person should know about a request that is accepted but does not do what it seems to ask for."""

from __future__ import annotations

from collections.abc import Iterator

from selar_local.methods.base import Method, NamedTokens
from selar_local.methods.think_tokens import own_think_tokens
from selar_local.thinking import TAGS, ThinkingSplitter, closes_thinking

__all__ = ["has_thinking_tags", "request_notes"]


def has_thinking_tags(template: str | None, vocabulary: NamedTokens) -> bool:
    """Whether the chat template (its source) or the vocabulary has tags around a thinking."""
    return any(tag in (template or "") for pair in TAGS for tag in pair) or own_think_tokens(vocabulary) is not None


def request_notes(
    method: Method,
    vocabulary: NamedTokens,
    prompt_tail: str,
    *,
    thinking: bool | None,
    has_switch: bool | None,
    has_tags: bool,
    constrained: bool,
) -> Iterator[str]:
    """Plain sentences, none for most requests.

    thinking: as asked for. has_switch: whether the chat template knows `thinking`; None: no template is used. has_tags:
    see `has_thinking_tags`. constrained: a grammar binds the text.
    """
    opened = ThinkingSplitter(prompt_tail).in_thinking
    if has_switch is None and thinking is not None:
        yield "thinking has no effect on a raw prompt: no chat template is used"
    elif has_switch is False and thinking and not opened:
        yield "thinking has no effect: the chat template of this model has no switch for it"
    elif has_switch is False and thinking is False and has_tags and not constrained:
        yield "the thinking cannot be switched off: the chat template of this model has no switch for it"
    if constrained and method.feeds_vectors:
        yield f"{method.name} has no effect under a grammar or a JSON schema: no step explores there"
    else:
        yield from method.notes(vocabulary, has_thinking=has_tags or opened, thinking_over=closes_thinking(prompt_tail))
