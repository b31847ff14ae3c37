"""The messages of a conversation: which are allowed, its turns, and how many of them fit in the context."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from selar_local.errors import OptionError

ChatMessage = dict[str, str]
_ROLES = ("system", "user", "assistant", "tool")


class ContextUse(NamedTuple):
    """Tokens in use, and tokens that the context has."""

    used: int
    size: int

    @property
    def share(self) -> float:
        """The used share: 0 is empty, 1 is full."""
        return self.used / self.size


def checked_messages(messages: Iterable[Mapping[str, Any]]) -> tuple[ChatMessage, ...]:
    """The roles and contents. Raises OptionError for anything but texts of known roles."""
    checked = []
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role not in _ROLES or not isinstance(content, str):
            raise OptionError(f'a message must have a "role" ({", ".join(_ROLES)}) and a "content", which is a text')
        checked.append({"role": str(role), "content": content})
    return tuple(checked)


def turn_starts(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """The index of each turn's first message. A turn begins with a question; the first also where another role does."""
    return [i for i, message in enumerate(messages) if message["role"] == "user" or i == 0]


def last_question(messages: Sequence[Mapping[str, Any]]) -> int | None:
    """The index of the last message of the user."""
    return next((i for i in reversed(range(len(messages))) if messages[i]["role"] == "user"), None)


def turns_to_drop(free: Callable[[int], int], dropped: int, last: int, size: int, room: int) -> int:
    """How many of the oldest turns to leave out of a prompt.

    free: the tokens that the context has free without that many turns, negative where it overflows; it never falls
    with more turns left out. dropped: turns left out so far, the least answer. last: the most that may be left out.
    size: of the context. room: the tokens that must be free, at most half of the context.

    Where room is missing, half of the context is freed at once: after each drop the model reads the whole prompt again.
    Where half cannot be freed, `room` is; where that cannot be either, all of those turns go. Where the prompt does not
    fit without them, none goes.
    """
    free = cache(free)
    if free(dropped) >= room:
        return dropped
    candidates = range(dropped + 1, last + 1)
    for wanted in (size // 2, room):
        at = bisect_left(candidates, wanted, key=free)
        if at < len(candidates):
            return candidates[at]
    return last if free(last) >= 0 else dropped
