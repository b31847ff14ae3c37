"""Tells whether a generation ended in a loop."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["is_repetitive"]

#: Most characters of a text, or tokens, in one turn of a loop.
LONGEST_TEXT, LONGEST_TOKENS = 1200, 300
#: Least turns, and least characters or tokens in all of them: "1000000" and a table's rule are no loops.
TURNS = 4
SHORTEST_TEXT, SHORTEST_TOKENS = 200, 50


def is_repetitive(
    generation: str | Sequence[int], *, longest: int | None = None, turns: int = TURNS, shortest: int | None = None
) -> bool:
    """Whether a text, or a sequence of token ids, ends in a loop.

    It does where its end consists of at least `turns` turns of one piece of at most `longest` elements, the last turn
    perhaps cut short, with at least `shortest` elements together (text: 1,200 and 200 characters; tokens: 300 and 50).
    Loops that count or vary are not seen. White space at the end of a text does not matter. Linear in the smaller of
    the length and what `turns` of the longest pieces take.
    """
    is_text = isinstance(generation, str)
    longest = longest or (LONGEST_TEXT if is_text else LONGEST_TOKENS)
    shortest = shortest if shortest is not None else (SHORTEST_TEXT if is_text else SHORTEST_TOKENS)
    if isinstance(generation, str):
        generation = generation.rstrip()
    enough = longest + max(longest * turns, shortest)
    reversed_end = generation[: -enough - 1 : -1]
    shared = _shared_with_start(reversed_end)
    return any(
        period + shared[period] >= max(turns * period, shortest)
        for period in range(1, min(longest, len(reversed_end) - 1) + 1)
    )


def _shared_with_start(items: Sequence[object]) -> list[int]:
    """The Z function: for each place, how many items from there on equal those at the start."""
    shared = [0] * len(items)
    left = right = 0  # the match that reaches farthest
    for place in range(1, len(items)):
        length = min(right - place, shared[place - left]) if place < right else 0
        while place + length < len(items) and items[length] == items[place + length]:
            length += 1
        shared[place] = length
        if place + length > right:
            left, right = place, place + length
    return shared
