"""A limit on the share of exploration steps: the highest entropies of the text so far explore."""

from __future__ import annotations

from bisect import bisect_right, insort


class Budget:
    """Decides which steps of one text may explore. It sees every step once, in order.

    An open step is one that would explore without a limit. Step n (the first is 1) may explore if it is open, if its
    rank is among the ``share * n`` highest of the open steps so far (equal ranks share a place), and if at most
    ``share * n`` steps have explored then. So the share of exploration steps is never above `share`, at no length of
    the text. 0 allows no step, 1 allows every open one.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._steps = 0
        self._explored = 0
        self._open_ranks: list[float] = []  # rising

    def allows(self, rank: float, is_open: bool) -> bool:
        """Whether the next step may explore. rank: the higher, the sooner it may."""
        self._steps += 1
        if not is_open:
            return False
        places = self._share * self._steps
        higher = len(self._open_ranks) - bisect_right(self._open_ranks, rank)
        insort(self._open_ranks, rank)
        allowed = higher + 1 <= places and self._explored + 1 <= places
        self._explored += allowed
        return allowed
