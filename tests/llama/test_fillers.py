"""Fillers: they make a step's inputs neighbours in blocks of four, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.family_gguf import FAMILIES

from selar_local.config import EngineConfig
from selar_local.errors import DecodeError
from selar_local.llama.fillers import Fillers, _harmless_token, in_blocks, with_fillers
from selar_local.llama.fillers import cost as cost_of
from selar_local.llama.inputs import Chunk, Feed
from selar_local.llama.runtime import LlamaRuntime
from selar_local.methods.base import Mixture, NextInput, Token

SLOTS = 8
LONG, FULL = 12, 256
#: Gaps, and one input less than two blocks.
FED = (0, 1, 2, 4, 5, 7)
MIXED = (4,)
MIX = Mixture(np.array([7, 9]), np.array([0.5, 0.5]))

Logits = list[npt.NDArray[np.float32]]


def computations(sequences: Sequence[int]) -> list[range]:
    """The neighbours, which llama.cpp computes together."""
    begins = [one for one in sequences if one - 1 not in sequences]
    ends = [one for one in sequences if one + 1 not in sequences]
    return [range(begin, end + 1) for begin, end in zip(begins, ends, strict=True)]


def cost(sequences: Sequence[int], *, blocks: bool = True) -> int:
    return sum(cost_of(len(one), blocks=blocks) for one in computations(sequences))


@pytest.mark.parametrize(
    ("fed", "barred", "expected"),
    [
        ((0, 2, 4), (), (0, 2, 4)),  # up to three are computed alone
        (range(15), (), range(16)),
        (range(13), (), range(13)),  # three fillers cost more than one input
        ((0, 1, 2, 3, 5, 6, 7), (), range(8)),
        ((0, 1, 2, 3, 5, 6, 7), (4,), (0, 1, 2, 3, 5, 6, 7)),
        (range(1, 16), (), range(16)),  # to the left where there is no room to the right
        ((*range(8), *range(40, 48)), (), (*range(8), *range(40, 48))),
    ],
)
def test_examples(fed, barred, expected):
    assert with_fillers(tuple(fed), 16 if max(fed) < 16 else 48, frozenset(barred)) == tuple(expected)


def test_kernels_that_take_inputs_one_by_one():
    assert with_fillers(tuple(range(15)), 16, blocks=False) == tuple(range(15))
    assert with_fillers((0, 1, 2, 4, 5), 16, blocks=False) == tuple(range(6))  # one filler, or another pass
    assert with_fillers((0, 1, 2, 3, 8, 9, 10, 11), 16, blocks=False) == (0, 1, 2, 3, 8, 9, 10, 11)
    assert with_fillers(tuple(range(0, 30, 3)), 32, blocks=False) == tuple(range(0, 30, 3))


SETS = st.sets(st.integers(0, 47), min_size=1)


@given(SETS, SETS)
def test_all_that_is_fed_in_order_and_nothing_barred(fed, others):
    barred = frozenset(others - fed)
    found = with_fillers(tuple(sorted(fed)), 48, barred)
    assert list(found) == sorted(set(found)) and fed <= set(found) <= set(range(48)) - barred
    assert cost(found) <= cost(sorted(fed))


@given(st.sets(st.integers(0, 8), min_size=4))
def test_nothing_is_cheaper(fed):
    rest = sorted(set(range(9)) - fed)
    fillers = chain.from_iterable(combinations(rest, n) for n in range(len(rest) + 1))
    assert cost(with_fillers(tuple(sorted(fed)), 9, frozenset())) == min(
        cost(sorted({*fed, *more})) for more in fillers
    )


@pytest.fixture
def opened(family_model: Callable[..., Path]) -> Iterator[Callable[..., LlamaRuntime]]:
    """`opened(family)`: a runtime whose slots have read a prompt each."""
    runtimes = []

    def open_one(family: str = "llama", *, ctx_size: int = FULL) -> LlamaRuntime:
        config = EngineConfig(threads=1, ctx_size=ctx_size, parallel=SLOTS)
        runtimes.append(LlamaRuntime(family_model(family, weight_type="Q8_0"), config))
        for slot in range(SLOTS):
            prompt = [5 + (7 * slot + i) % 240 for i in range(LONG)]
            runtimes[-1].prefill([Chunk(slot, 0, prompt, True)], bool)
        return runtimes[-1]

    yield open_one
    for runtime in runtimes:
        runtime.close()


def feeds(at: int, slots: Sequence[int] = FED, *, mixed: bool = False) -> list[Feed]:
    inputs: list[NextInput] = [MIX if mixed and slot in MIXED else Token(20 + slot + at) for slot in slots]
    return [Feed(slot, at, one) for slot, one in zip(slots, inputs, strict=True)]


def steps(runtime: LlamaRuntime, slots: Sequence[int] = FED, *, mixed: bool = False, start: int = LONG) -> Logits:
    """Three steps' logits, a step's after the other's."""
    found: Logits = []
    for at in range(start, start + 3):
        found += [logits.copy() for logits in runtime.step(feeds(at, slots, mixed=mixed), False)]
    return found


def sizes(runtime: LlamaRuntime, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inputs of each coming decode."""
    noted: list[int] = []
    decode = runtime.context.decode
    monkeypatch.setattr(runtime.context, "decode", lambda batch: (noted.append(batch.n_tokens), decode(batch)))
    return noted


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selar_local.llama.fillers.with_fillers", lambda fed, *_, **__: fed)


TAKE = [name for name, row in FAMILIES.items() if row.kind == "attention" and row.rows]


@pytest.mark.parametrize("family", TAKE)
@pytest.mark.parametrize("mixed", [False, True])
def test_the_numbers_are_the_same_and_nothing_stays(opened, family, mixed, monkeypatch):
    filled, plain = opened(family), opened(family)
    taken = sizes(filled, monkeypatch)
    found = steps(filled, mixed=mixed)
    assert set(taken) == ({SLOTS} if filled.fillers.usable else {len(FED)})
    with monkeypatch.context() as patch:
        without(patch)
        expected = steps(plain, mixed=mixed)
    for one, other in zip(found, expected, strict=True):  # blocks of four have sums in another order
        assert one == pytest.approx(other, abs=0.02 * float(np.abs(other).max()))
    idle = [slot for slot in range(SLOTS) if slot not in FED]
    assert [filled.context.length(slot) for slot in range(SLOTS)] == [LONG + 3 * (slot in FED) for slot in range(SLOTS)]
    for slot in idle:
        for one, other in zip(steps(filled, [slot]), steps(plain, [slot]), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.parametrize("family", ["mamba", "gemma3", "qwen3moe"])
def test_models_that_take_none(opened, family, monkeypatch):
    runtime = opened(family)
    taken = sizes(runtime, monkeypatch)
    steps(runtime)
    assert set(taken) == {len(FED)}


def test_up_to_three_have_the_numbers_that_each_has_alone(opened, monkeypatch):
    runtime = opened()
    taken = sizes(runtime, monkeypatch)
    together = steps(runtime, (1, 3, 5))
    assert set(taken) == {3}
    for slot in (1, 3, 5):
        runtime.truncate(slot, LONG)
    alone = [steps(runtime, [slot]) for slot in (1, 3, 5)]
    assert all(np.array_equal(together[3 * at + i], alone[i][at]) for i in range(3) for at in range(3))


def test_a_full_sequence_takes_none(opened, monkeypatch):
    runtime = opened()
    for at in range(LONG, FULL, 32):
        runtime.prefill([Chunk(6, at, [9] * min(32, FULL - at), False)], bool)
    taken = sizes(runtime, monkeypatch)
    steps(runtime)
    assert runtime.context.length(6) == FULL
    (size,) = set(taken)
    assert size == len(with_fillers(FED, SLOTS, frozenset({6}))) < SLOTS


def test_a_sequence_longer_than_those_that_are_fed_takes_none(opened, monkeypatch):
    """llama.cpp reads all caches as far as the longest of a computation needs it."""
    runtime = opened(ctx_size=512)
    for at in range(LONG, 300, 32):
        runtime.prefill([Chunk(3, at, [9] * 32, False)], bool)
    taken = sizes(runtime, monkeypatch)
    steps(runtime)
    (size,) = set(taken)
    assert size == len(with_fillers(FED, SLOTS, frozenset({3}))) < SLOTS
    for slot in FED:
        for at in range(LONG + 3, 290, 32):
            runtime.prefill([Chunk(slot, at, [9] * min(32, 290 - at), False)], bool)
    taken.clear()
    runtime.step([Feed(slot, 290, Token(20)) for slot in FED], False)
    assert taken == [SLOTS]  # now it is no longer than they are


def test_feeds_in_any_order(opened):
    runtime, other = opened(), opened()
    found = [logits.copy() for logits in runtime.step(feeds(LONG)[::-1], False)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(found, other.step(feeds(LONG), False), strict=True))


@pytest.mark.parametrize(
    ("weight", "repack", "expected"), [("Q8_0", True, True), ("Q8_0", False, True), ("Q4_1", True, False)]
)
def test_whose_kernels_take_four_at_a_time(family_model, weight, repack, expected):
    runtime = LlamaRuntime(family_model("llama", weight_type=weight), EngineConfig(threads=1, repack=repack))
    assert in_blocks(runtime.model) is expected
    runtime.close()


def test_a_decode_that_fails_leaves_none(opened, monkeypatch):
    runtime = opened()
    decode = runtime.context.decode

    def failing(batch: object) -> None:
        decode(batch)
        raise DecodeError("late")

    with monkeypatch.context() as patch:
        patch.setattr(runtime.context, "decode", failing)
        with pytest.raises(DecodeError, match="late"):
            runtime.step(feeds(LONG), False)
    assert [runtime.context.length(slot) for slot in (3, 6)] == [LONG, LONG]


def test_tokens_and_rows_in_two_decodes(opened, monkeypatch):
    """Where a row is not its token to the bit. Each decode takes the other's sequences as fillers."""
    runtime, other = opened(), opened()
    monkeypatch.setattr(runtime, "rows_are_exact", False)
    everyone = tuple(range(SLOTS))
    taken = sizes(runtime, monkeypatch)
    found = steps(runtime, everyone, mixed=True)
    assert taken == [1, SLOTS] * 3
    for one, expected in zip(found, steps(other, everyone, mixed=True), strict=True):
        assert one == pytest.approx(expected, abs=0.02 * float(np.abs(expected).max()))
    assert {runtime.context.length(slot) for slot in everyone} == {LONG + 3}


@pytest.mark.parametrize("mixed", [False, True])
def test_fillers_have_no_damaged_row(opened, monkeypatch, mixed):
    runtime = opened()
    read = runtime.table.row

    def damaged(token: int, out: npt.NDArray[np.float32]) -> None:
        read(token, out)
        out[:] = {0: np.nan, 1: 0.0}.get(token, out)

    with monkeypatch.context() as patch:
        patch.setattr(runtime.table, "row", damaged)
        runtime.fillers.token = _harmless_token(runtime.table)
    assert runtime.fillers.token == 2
    with monkeypatch.context() as patch:
        patch.setattr(runtime.table, "row", lambda token, out: out.fill(np.nan))
        assert not Fillers(runtime.context, runtime.table, 4).usable
    kept: list[list[int]] = []
    make = runtime.batch.of_tokens
    monkeypatch.setattr(runtime.batch, "of_tokens", lambda ids, *more: (kept.append(list(ids)), make(ids, *more))[1])
    read_rows: list[int] = []
    monkeypatch.setattr(runtime.table, "row", lambda token, out: (read_rows.append(token), read(token, out)))
    steps(runtime, mixed=mixed)
    assert (read_rows if mixed else kept[0]).count(2) == (6 if mixed else 2)
