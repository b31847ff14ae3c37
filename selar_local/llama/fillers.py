"""Fillers: inputs that nobody asked for, so that llama.cpp computes a step's inputs together.

llama.cpp puts only neighbouring sequences into one computation: each gap between them is another pass over the
weights. Many of its kernels for CPUs take four inputs at a time: one to three inputs too many are another pass, too. An
input of a sequence that has nothing to decode closes the gap. It is forgotten right after the decode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from selar_local.llama.context import LlamaContext
from selar_local.llama.embedding_table import EmbeddingTable
from selar_local.llama.inputs import Feed, Filler
from selar_local.llama.model import LlamaModel

#: So many sequences are computed one by one, each with the numbers that it has alone.
ALONE = 3

_TOGETHER = 4
# What a computation costs, in sixteenths of one input alone: see docs/BENCHMARKS.md.
_BLOCKS, _BLOCK = (0, 46, 66, 82, 96), 12  # so many whole blocks of four inputs, and each one more
_REST, _LEFT = 5, 6  # inputs that are left over from blocks
_FEW, _ONE = 6, 10  # one to three inputs without a block
_PASS, _EACH = 10, 7  # where the kernels take inputs one by one
_MOST = 12  # fillers in a row: closing a larger gap does not pay

# The kernels of these types take four inputs at a time: ggml's `sgemm.cpp`, and `repack.cpp` for repacked weights.
_IN_BLOCKS = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "IQ4_NL"}
_IN_BLOCKS_REPACKED = {"Q4_K", "MXFP4"}

# llama.cpp reads the KV cache in steps of so many positions, for all sequences as far as the longest of them needs it.
_KV_STEP = 256

_TRIED = 256  # tokens that are tried as a filler


class Fillers:
    """Puts fillers between a step's inputs, on models that can forget them."""

    def __init__(self, context: LlamaContext, table: EmbeddingTable, n_sequences: int) -> None:
        self._context = context
        self._n_sequences = n_sequences
        # A running state or a window cannot forget its last input. In a mixture of experts each input reads its own.
        gguf = context.model.gguf
        experts = gguf.metadata.get(f"{gguf.architecture}.expert_count") or 0
        found = None if context.needs_checkpoints or experts else _harmless_token(table)
        self.usable = found is not None
        self._blocks = in_blocks(context.model)
        #: What a filler is.
        self.token = found or 0

    def between(self, feeds: Sequence[Feed]) -> Sequence[Feed | Filler]:
        """The inputs of the batch: the feeds as they are, or with fillers, ascending by their sequences.

        A sequence that is full, or longer than those that are fed, takes none.
        """
        if len(feeds) <= ALONE or len(feeds) == self._n_sequences or not self.usable:
            return feeds
        inputs: dict[int, Feed | Filler] = {feed.sequence: feed for feed in feeds}
        longest = max(feed.position for feed in feeds)
        room = min(self._context.n_ctx_seq, _KV_STEP * (longest // _KV_STEP + 1))
        idle = [Filler(i, self._context.length(i)) for i in range(self._n_sequences) if i not in inputs]
        inputs.update((one.sequence, one) for one in idle if one.position < room)
        barred = frozenset(one.sequence for one in idle if one.position >= room)
        fed = tuple(sorted(feed.sequence for feed in feeds))
        return [inputs[one] for one in with_fillers(fed, self._n_sequences, barred, blocks=self._blocks)]


def in_blocks(model: LlamaModel) -> bool:
    """Whether the kernels of most of the weights take four inputs at a time. Where a GPU has a part: no."""
    if model.placement.uses_devices:
        return False
    sizes = Counter[str]()
    for name, tensor in model.gguf.tensors.items():
        if len(tensor.shape) > 1 and name != "token_embd.weight":
            sizes[tensor.type_name.upper()] += tensor.nbytes
    types = _IN_BLOCKS | (_IN_BLOCKS_REPACKED if model.repacks else set())
    return 2 * sum(size for name, size in sizes.items() if name in types) > sizes.total()


def _harmless_token(table: EmbeddingTable) -> int | None:
    """The first token whose row is neither damaged nor empty: such a row may leave NaN in the KV cache."""
    row = np.zeros(table.width, np.float32)
    for token in range(min(table.n_vocab, _TRIED)):
        table.row(token, row)
        if np.isfinite(row).all() and row.any():
            return token
    return None


@lru_cache(maxsize=256)
def with_fillers(
    fed: tuple[int, ...], n_sequences: int, barred: frozenset[int] = frozenset(), *, blocks: bool = True
) -> tuple[int, ...]:
    """The sequences to decode: `fed`, and the fillers that make it cheapest.

    fed: the sequences that have an input, ascending. n_sequences: of the context, numbered from 0. barred: those that
    cannot take a filler. blocks: whether the kernels take four inputs at a time.
    """
    if len(fed) <= ALONE:
        return fed
    runs = _neighbours(fed)
    best: list[tuple[int, int, range]] = [(0, 0, range(0))]  # of the first runs: least cost, and the last computation
    for end in range(1, len(runs) + 1):
        windows = _windows(runs, end, n_sequences, barred)
        found = ((best[begin][0] + cost(len(window), blocks=blocks), begin, window) for begin, window in windows)
        best.append(min(found, key=lambda one: one[0]))
    chosen: list[range] = []
    end = len(runs)
    while end:
        _, end, window = best[end]
        chosen.append(window)
    return tuple(sequence for window in reversed(chosen) for sequence in window)


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


def cost(n: int, *, blocks: bool) -> int:
    """Of a computation of `n` inputs."""
    if not blocks:
        return _PASS + _EACH * n
    whole, left = divmod(n, _TOGETHER)
    if not whole:
        return _FEW + _ONE * left
    more = max(0, whole - len(_BLOCKS) + 1)
    return _BLOCKS[whole - more] + _BLOCK * more + (_REST + _LEFT * left if left else 0)
