"""Which traces belong together, and where they part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from selar_local.trace import Step, Trace


class Group(NamedTuple):
    """Traces of one prompt, by their place in the list. partings: by pair of places, None where two are the same."""

    members: tuple[int, ...]
    partings: dict[tuple[int, int], int | None]

    @property
    def first_parting(self) -> int | None:
        """The first step at which not all of them agree."""
        return min((step for step in self.partings.values() if step is not None), default=None)


def grouped(traces: Sequence[Trace]) -> list[Group]:
    """Traces of the same prompt tokens (in vocabularies of the same size) together, in the order given."""
    found: dict[Any, list[int]] = {}
    for place, trace in enumerate(traces):
        found.setdefault((trace.prompt, trace.model.get("n_vocab")) if trace.prompt else place, []).append(place)
    return [
        Group(
            tuple(members),
            {(a, b): parting(traces[a].steps, traces[b].steps) for a in members for b in members if a < b},
        )
        for members in found.values()
    ]


def parting(one: Sequence[Step], other: Sequence[Step]) -> int | None:
    """The first step at which they differ in the token or in whether it explored.

    Where one is the beginning of the other: the first step that it lacks. None where they are the same.
    """
    for i, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine.token != theirs.token or mine.explored != theirs.explored:
            return i
    return None if len(one) == len(other) else min(len(one), len(other))
