"""The batch that takes embeddings: what llama.cpp would abort or silently fail on is refused before it gets there."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from selar_local.errors import DecodeError
from selar_local.llama.input_batch import InputBatch

WIDTH, N_VOCAB = 8, 100


@pytest.fixture
def batch() -> InputBatch:
    return InputBatch(4, WIDTH, N_VOCAB)


def filled(batch: InputBatch, n: int) -> np.ndarray:
    rows = batch.rows(n)
    rows[:] = np.arange(n * WIDTH, dtype=np.float32).reshape(n, WIDTH)
    return rows


def test_tokens(batch):
    c = batch.of_tokens([5, 6, 99], [3, 4, 0], [0, 0, 2], [False, True, True])
    assert c.n_tokens == 3
    assert not c.embd
    assert list(c.token[:3]) == [5, 6, 99]
    assert list(c.pos[:3]) == [3, 4, 0]
    assert list(c.n_seq_id[:3]) == [1, 1, 1]
    assert [c.seq_id[i][0] for i in range(3)] == [0, 0, 2]
    assert list(c.logits[:3]) == [0, 1, 1]


def test_rows(batch):
    rows = filled(batch, 2)
    c = batch.of_rows(2, [7, 8], [1, 3], [True, False])
    assert c.n_tokens == 2
    assert not c.token  # llama.cpp ignores the rows of a batch that has both
    assert np.array_equal(np.ctypeslib.as_array(c.embd, (2, WIDTH)), rows)
    assert list(c.pos[:2]) == [7, 8]
    assert [c.seq_id[i][0] for i in range(2)] == [1, 3]
    assert list(c.logits[:2]) == [1, 0]


def test_a_batch_is_used_again(batch):
    filled(batch, 1)
    first = batch.of_rows(1, [0], [0], [True])
    filled(batch, 4)[3, 7] = -5.0
    second = batch.of_rows(4, range(4), [0] * 4, [True] * 4)
    assert np.ctypeslib.as_array(second.embd, (4, WIDTH))[3, 7] == -5.0
    batch.of_tokens([1], [9], [2], [False])
    again = batch.of_rows(1, [1], [0], [True])
    assert (again.n_tokens, again.pos[0], again.seq_id[0][0], again.logits[0]) == (1, 1, 0, 1)
    assert ctypes.addressof(first) == ctypes.addressof(again)


@pytest.mark.parametrize("n", [1, 3])
def test_rows_of_mrope_carry_four_positions_section_major(n):
    batch = InputBatch(3, WIDTH, N_VOCAB, mrope=True)
    filled(batch, n)
    positions = [10, 11, 12][:n]
    c = batch.of_rows(n, positions, [0] * n, [True] * n)
    assert list(c.pos[: 4 * n]) == positions * 3 + [0] * n
    filled(batch, 3)
    batch.of_rows(3, [7, 8, 9], [0] * 3, [True] * 3)  # a larger one before leaves nothing behind
    again = batch.of_rows(n, positions, [0] * n, [True] * n)
    assert list(again.pos[: 4 * n]) == positions * 3 + [0] * n
    assert list(batch.of_tokens([1] * n, positions, [0] * n, [True] * n).pos[:n]) == positions


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0), (1, WIDTH - 1)])
def test_rows_that_are_not_finite(batch, bad, at):
    filled(batch, 2)[at] = bad
    with pytest.raises(DecodeError, match="not finite"):
        batch.of_rows(2, [0, 1], [0, 0], [True, True])


def test_infinities_that_cancel_out(batch):
    filled(batch, 1)[0, :2] = np.inf, -np.inf
    with pytest.raises(DecodeError, match="not finite"):
        batch.of_rows(1, [0], [0], [True])


def test_the_largest_finite_rows_are_let_through(batch):
    filled(batch, 4)[:] = np.finfo(np.float32).max
    assert batch.of_rows(4, range(4), [0] * 4, [True] * 4).n_tokens == 4


@pytest.mark.parametrize("n", [0, -1, 5])
def test_too_many_or_none(batch, n):
    filled(batch, max(n, 1))
    with pytest.raises(DecodeError, match="room for 4"):
        batch.of_rows(n, range(n), [0] * n, [True] * n)
    if n >= 0:
        with pytest.raises(DecodeError, match="room for 4"):
            batch.of_tokens([1] * n, range(n), [0] * n, [True] * n)


def test_more_rows_than_were_filled(batch):
    filled(batch, 2)
    with pytest.raises(DecodeError, match="2 filled"):
        batch.of_rows(3, range(3), [0] * 3, [True] * 3)


@pytest.mark.parametrize("ids", [[-1], [N_VOCAB], [1, N_VOCAB], [1, -1, 2]])
def test_tokens_outside_the_vocabulary(batch, ids):
    n = len(ids)
    with pytest.raises(DecodeError, match="outside the vocabulary"):
        batch.of_tokens(ids, range(n), [0] * n, [True] * n)


@pytest.mark.parametrize("positions", [[-1, 0], [0, -5]])
def test_negative_positions(batch, positions):
    filled(batch, 2)
    with pytest.raises(DecodeError, match="negative"):
        batch.of_tokens([1, 2], positions, [0, 0], [True, True])
    with pytest.raises(DecodeError, match="negative"):
        batch.of_rows(2, positions, [0, 0], [True, True])


@pytest.mark.parametrize(
    ("positions", "sequences", "outputs"),
    [([0], [0, 0], [True, True]), ([0, 1], [0], [True, True]), ([0, 1], [0, 0], [True]), ([], [0, 0], [True] * 2)],
)
def test_lengths_that_differ(batch, positions, sequences, outputs):
    filled(batch, 2)
    with pytest.raises(DecodeError, match="another number"):
        batch.of_tokens([1, 2], positions, sequences, outputs)
    with pytest.raises(DecodeError, match="another number"):
        batch.of_rows(2, positions, sequences, outputs)
