"""Which layers go to which card, so that weights, KV cache and buffers fit into its free memory.

The experts of a mixture go to the CPU first: a step uses few of them, the rest of a layer each time. Then whole layers
do, the first ones. The context stays as large as it was asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from selar_local.llama.layer_sizes import LayerSizes

_MOST_SPARED = 1 << 30
_SPARED_SHARE = 8


class Needs(NamedTuple):
    """What a model takes besides its weights, in bytes: the KV cache of all layers, the buffers on each card."""

    cache: int
    buffers: int


class Plan(NamedTuple):
    """gpu_layers: layers on cards, from the last one back, the output first. n_cpu_moe: layers whose experts stay.

    split: the share of each card; empty: as llama.cpp shares them.
    """

    gpu_layers: int
    n_cpu_moe: int = 0
    split: tuple[float, ...] = ()

    def less(self, sizes: LayerSizes) -> Plan:
        """The next to try where the card refuses this one: all experts on the CPU, then half the layers."""
        if sizes.has_experts and self.n_cpu_moe < len(sizes.layers):
            return self._replace(n_cpu_moe=len(sizes.layers))
        return self._replace(gpu_layers=self.gpu_layers // 2)


def budget(free: int, total: int) -> int:
    """What may be used of a card: its free memory, but for an eighth of the card, at most 1 GiB, for the driver."""
    return max(free - min(total // _SPARED_SHARE, _MOST_SPARED), 0)


def fit(
    sizes: LayerSizes, needs: Needs, cards: Sequence[int], split: Sequence[float] = (), n_cpu_moe: int | None = None
) -> Plan:
    """The plan that puts most on the cards. cards: bytes that may be used of each. split, n_cpu_moe: the user's."""
    shares = tuple(split) or tuple(float(max(card - needs.buffers, 0)) for card in cards)
    if not any(shares):
        return Plan(0)
    chosen = tuple(split) or (shares if len(cards) > 1 else ())
    whole = len(sizes.layers)
    spared = range(whole + 1) if sizes.has_experts else range(1)
    for experts in spared if n_cpu_moe is None else [n_cpu_moe]:
        if _fits(sizes, needs, cards, shares, Plan(sizes.offered, experts)):
            return Plan(sizes.offered, experts, chosen)
    experts = n_cpu_moe if n_cpu_moe is not None else whole if sizes.has_experts else 0
    for layers in range(whole, 0, -1):
        if _fits(sizes, needs, cards, shares, Plan(layers, experts)):
            return Plan(layers, experts, chosen)
    return Plan(0)


def taken(sizes: LayerSizes, needs: Needs, cards: int, shares: Sequence[float], plan: Plan) -> list[int]:
    """Bytes that the plan takes of each of so many cards."""
    used = [0] * cards
    cache = needs.cache // max(len(sizes.layers), 1)
    first = sizes.offered - plan.gpu_layers
    for number in range(first, sizes.offered):
        card = card_of(number - first, plan.gpu_layers, shares)
        if number == len(sizes.layers):
            used[card] += sizes.output
        else:
            layer = sizes.layers[number]
            used[card] += layer.dense + cache + (layer.experts if number >= plan.n_cpu_moe else 0)
    return [size + needs.buffers if size else 0 for size in used]


def card_of(number: int, layers: int, shares: Sequence[float]) -> int:
    """Which card llama.cpp gives the layer with this number of those on cards: by the shares, in their order."""
    ends = list(accumulate(shares))
    return min(bisect_right([end / ends[-1] for end in ends], number / layers), len(ends) - 1)


def _fits(sizes: LayerSizes, needs: Needs, cards: Sequence[int], shares: Sequence[float], plan: Plan) -> bool:
    used = taken(sizes, needs, len(cards), shares, plan)
    return all(size <= card for size, card in zip(used, cards, strict=True))
