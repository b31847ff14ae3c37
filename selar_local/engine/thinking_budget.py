"""A budget of thinking tokens: when it is used up, the text that closes the thinking comes, whatever the model says."""

from __future__ import annotations

from collections.abc import Sequence

from selar_local.formats import TAGS, Format
from selar_local.methods.base import NamedTokens


class ThinkingBudget:
    """The budget of one generation. limit: None: no limit. closing: the tokens that close the thinking."""

    def __init__(self, limit: int | None, closing: Sequence[int]) -> None:
        self._left = limit
        self._closing = tuple(closing)
        self._waiting: list[int] = []
        self._may_close = True

    def next(self, in_thinking: bool) -> int | None:
        """The token that the coming step must have; None: it is free. Call it once for every step.

        in_thinking: whether the thinking is open before the step.
        """
        if self._left is None:
            return None
        if not self._waiting:
            self._may_close |= not in_thinking  # a closing text that does not close is not repeated
            if not in_thinking:
                return None
            if self._left > 0:
                self._left -= 1
                return None
            if not self._may_close:
                return None
            self._waiting, self._may_close = list(self._closing), False
        return self._waiting.pop(0) if self._waiting else None


def closing_text(form: Format, vocabulary: NamedTokens) -> str:
    """The text that closes the thinking of a model, and opens its answer."""
    if form.thinking is not None:
        return form.thinking.end
    own = (pair for pair in TAGS if None not in map(vocabulary.token_of, pair))
    return f"\n{next(own, TAGS[0])[1]}\n\n"
