"""Fillers: inputs that nobody asked for, so that llama.cpp computes a step's inputs together.

llama.cpp puts only neighbouring sequences into one computation, and its kernels for CPUs take four inputs at a time: a
gap between sequences, or one to three inputs too many, is another pass over the weights. An input of a sequence that
has nothing to decode closes the gap. It is forgotten right after the decode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from selar_local.llama.context import LlamaContext
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.inputs import Feed, Filler

#: So many sequences are computed one by one, each with the numbers that it has alone.
ALONE = 3

_TOGETHER = 4
# What a computation costs, in sixteenths of one input alone: see docs/BENCHMARKS.md.
_BLOCKS, _BLOCK = (0, 46, 66, 82, 96), 12  # so many whole blocks of four inputs, and each one more
_REST, _LEFT = 5, 6  # inputs that are left over from blocks
_FEW, _ONE = 6, 10  # one to three inputs without a block
_MOST = 12  # fillers in a row: closing a larger gap does not pay


class Fillers:
    """Puts fillers between a step's inputs, on models that can forget them."""

    def __init__(self, context: LlamaContext, table: EmbeddingTable, n_sequences: int) -> None:
        self._context = context
        self._n_sequences = n_sequences
        # A running state or a window cannot forget its last input. In a mixture of experts each input reads its own.
        gguf = context.model.gguf
        experts = gguf.metadata.get(f"{gguf.architecture}.expert_count") or 0
        self.used = not context.needs_checkpoints and not experts
        #: What a filler is.
        self.token = _harmless_token(table) if self.used else 0

    def between(self, feeds: Sequence[Feed]) -> Sequence[Feed | Filler]:
        """The inputs of the batch, ascending by their sequences. A sequence that is full takes no filler."""
        if len(feeds) <= ALONE or not self.used:
            return feeds
        inputs: dict[int, Feed | Filler] = {feed.sequence: feed for feed in feeds}
        fed, barred = tuple(inputs), set[int]()
        while True:
            chosen = with_fillers(fed, self._n_sequences, frozenset(barred))
            fillers = [Filler(one, self._context.length(one)) for one in chosen if one not in inputs]
            full = {filler.sequence for filler in fillers if filler.position >= self._context.n_ctx_seq}
            if not full:
                inputs.update((filler.sequence, filler) for filler in fillers)
                return [inputs[one] for one in chosen]
            barred |= full


def _harmless_token(table: EmbeddingTable) -> int:
    """The first token whose row is neither damaged nor empty: such a row may leave NaN in the KV cache."""
    row = np.zeros(table.width, np.float32)
    for token in range(table.n_vocab):
        table.row(token, row)
        if np.isfinite(row).all() and row.any():
            return token
    return 0


@lru_cache(maxsize=256)
def with_fillers(fed: tuple[int, ...], n_sequences: int, barred: frozenset[int]) -> tuple[int, ...]:
    """The sequences to decode: `fed`, and the fillers that make it cheapest.

    fed: the sequences that have an input, ascending. n_sequences: of the context, numbered from 0. barred: those that
    cannot take a filler.
    """
    if len(fed) <= ALONE:
        return fed
    runs = _neighbours(fed)
    costs = [0]  # of the first runs: the least cost
    chosen: list[tuple[range, ...]] = [()]  # the computations that have it
    for end in range(1, len(runs) + 1):
        found = [
            (costs[begin] + _cost(window), (*chosen[begin], window))
            for begin, window in _windows(runs, end, n_sequences, barred)
        ]
        cost, windows = min(found, key=lambda one: one[0])
        costs.append(cost)
        chosen.append(windows)
    return tuple(sequence for window in chosen[-1] for sequence in window)


def _neighbours(fed: Sequence[int]) -> list[range]:
    begins = [i for i, one in enumerate(fed) if i == 0 or fed[i - 1] != one - 1]
    return [range(fed[i], fed[j - 1] + 1) for i, j in zip(begins, [*begins[1:], len(fed)], strict=True)]


def _windows(runs: Sequence[range], end: int, n_sequences: int, barred: frozenset[int]) -> Iterator[tuple[int, range]]:
    """What one computation may have, with the neighbours ``runs[begin:end]`` in it; each with its begin."""
    after = runs[end].start if end < len(runs) else n_sequences
    for begin in range(end - 1, -1, -1):
        if begin < end - 1:
            gap = range(runs[begin].stop, runs[begin + 1].start)
            if len(gap) > _MOST or not barred.isdisjoint(gap):
                return
        window = range(runs[begin].start, runs[end - 1].stop)
        yield begin, window
        missing = -len(window) % _TOGETHER
        right = range(window.stop, min(window.stop + missing, after))
        left = range(window.start - missing + len(right), window.start) if begin == 0 else range(0)
        wider = range(window.start - len(left), window.stop + len(right))
        if missing == len(left) + len(right) and wider.start >= 0 and barred.isdisjoint((*left, *right)):
            yield begin, wider


def _cost(window: range) -> int:
    blocks, left = divmod(len(window), _TOGETHER)
    if not blocks:
        return _FEW + _ONE * left
    more = max(0, blocks - len(_BLOCKS) + 1)
    return _BLOCKS[blocks - more] + _BLOCK * more + (_REST + _LEFT * left if left else 0)
