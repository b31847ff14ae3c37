"""Tells whether a generation ended in a loop."""

from __future__ import annotations

#: Most characters of one turn of a loop; least turns, and least characters of all: "1000000" is no loop.
LONGEST, TURNS, SHORTEST = 1200, 4, 200


def is_repetitive(text: str) -> bool:
    """Whether a text ends in a loop, white space at its end aside.

    Its end must consist of at least 4 turns of one piece of at most 1,200 characters, the last turn perhaps cut short,
    with at least 200 characters together. Loops that count or vary are not seen.
    """
    enough = LONGEST + max(LONGEST * TURNS, SHORTEST)
    reversed_end = text.rstrip()[: -enough - 1 : -1]
    shared = _shared_with_start(reversed_end)
    return any(
        period + shared[period] >= max(TURNS * period, SHORTEST)
        for period in range(1, min(LONGEST, len(reversed_end) - 1) + 1)
    )


def _shared_with_start(items: str) -> list[int]:
    """The Z function: for each place, how many characters from there on equal those at the start."""
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
