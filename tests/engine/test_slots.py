"""The prompt cache: whole chunks are reused where a prompt begins alike, and nothing else ever is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_runtime import ScriptedRuntime, drive, outcome, request

import selar_local as sl
from selar_local.engine.loop import DecodeLoop
from selar_local.engine.slots import Slots

CHUNK = 4


class Cells:
    """A KV cache that knows what stands at each position of each slot."""

    def __init__(self, *, can_truncate: bool = True) -> None:
        self.slots: dict[int, list[int]] = {}
        self.can_truncate = can_truncate

    def decode(self, slot: int, tokens: list[int]) -> None:
        self.slots.setdefault(slot, []).extend(tokens)

    def forget(self, slot: int) -> None:
        self.slots.pop(slot, None)

    def truncate(self, slot: int, length: int) -> bool:
        if self.can_truncate:
            assert length <= len(self.slots[slot])
            del self.slots[slot][length:]
        return self.can_truncate

    def copy(self, source: int, target: int) -> None:
        assert not self.slots.get(target), "copied over what a slot holds"
        self.slots[target] = list(self.slots[source])


def serve(slots: Slots, cells: Cells, prompt: list[int], generated: int = 3) -> int:
    """One whole generation; how many tokens of its prompt were held already."""
    index, held = slots.take(prompt)
    assert cells.slots.get(index, []) == prompt[:held]
    assert held % CHUNK == 0 and held < len(prompt)
    cells.decode(index, prompt[held:])
    slots.decoded(index, len(prompt))
    cells.decode(index, [-1] * generated)
    slots.release(index)
    return held


def test_a_conversation_s_next_turn_finds_its_beginning() -> None:
    cells = Cells()
    slots = Slots(cells, 1, CHUNK)
    first = list(range(10))
    assert serve(slots, cells, first) == 0
    assert cells.slots[0] == first[:8]  # whole chunks; what was generated is gone
    assert serve(slots, cells, [*first, 70, 71, 72]) == 8
    assert serve(slots, cells, first) == 8
    assert serve(slots, cells, first[:8]) == 4  # its last token has to be decoded
    assert serve(slots, cells, [99, *first[1:]]) == 0


def test_a_beginning_that_is_shared_is_copied_and_not_taken_away() -> None:
    cells = Cells()
    slots = Slots(cells, 2, CHUNK)
    system = list(range(8))
    long = [*system, *range(100, 120)]
    assert serve(slots, cells, long) == 0
    assert serve(slots, cells, [*system, 50, 51, 52]) == 8
    assert serve(slots, cells, [*long, 1]) == 28
    assert serve(slots, cells, [*system, 50, 51, 52, 53]) == 8


def test_it_is_copied_from_one_that_runs() -> None:
    cells = Cells()
    slots = Slots(cells, 2, CHUNK)
    prompt = list(range(10))
    first, _ = slots.take(prompt)
    cells.decode(first, prompt[:4])
    slots.decoded(first, 4)
    second, held = slots.take(prompt)
    assert (second != first, held, cells.slots[second]) == (True, 4, prompt[:4])
    assert not slots.available


def test_without_the_cache_a_slot_keeps_nothing() -> None:
    cells = Cells()
    slots = Slots(cells, 1, 0)
    for _ in range(2):
        index, held = slots.take([1] * 20)
        assert (held, cells.slots) == (0, {})
        cells.decode(index, [1] * 20)
        slots.decoded(index, 20)
        slots.release(index)


def test_a_memory_that_cannot_go_back_reuses_nothing() -> None:
    cells = Cells(can_truncate=False)
    slots = Slots(cells, 2, CHUNK)
    assert [serve(slots, cells, list(range(20))) for _ in range(3)] == [0, 0, 0]
    assert cells.slots == {}


def test_what_may_be_spoilt_is_not_reused() -> None:
    cells = Cells()
    slots = Slots(cells, 1, CHUNK)
    index, _ = slots.take(list(range(9)))
    cells.decode(index, list(range(9)))
    slots.decoded(index, 9)
    slots.spoil(index)
    assert not slots.available and slots.spoilt and cells.slots == {}
    slots.wiped()
    assert slots.available and not slots.spoilt
    assert serve(slots, cells, list(range(9))) == 0


PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=30)


@settings(max_examples=200, deadline=None)
@given(PROMPTS, st.integers(1, 4), st.data())
def test_whatever_comes_a_slot_holds_the_prompt_s_own_beginning(
    prompts: list[list[int]], count: int, data: st.DataObject
) -> None:
    cells = Cells()
    slots = Slots(cells, count, CHUNK)
    busy: list[tuple[int, list[int], int]] = []
    for prompt in prompts:
        if not slots.available or (busy and data.draw(st.booleans())):
            index, own, _ = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
            if data.draw(st.integers(0, 5)) == 0:
                cells.forget(index)
                slots.spoil(index)
            else:
                slots.release(index)
            if slots.spoilt and not busy:
                cells.slots.clear()
                slots.wiped()
        if not slots.available:
            continue
        index, held = slots.take(prompt)
        assert cells.slots.get(index, []) == prompt[:held]
        assert held < len(prompt)
        # Decoded to its end, or cancelled before it.
        done = data.draw(st.sampled_from([*range(held, len(prompt), CHUNK), len(prompt)]))
        cells.decode(index, prompt[held:done])
        if done > held:
            slots.decoded(index, done)
        if done == len(prompt):
            cells.decode(index, [-1])
        busy.append((index, prompt, held))
        for other, own, _ in busy:
            assert cells.slots.get(other, [])[: len(own)] == own[: len(cells.slots.get(other, []))]


# -- on the loop ------------------------------------------------------------------------------


def test_the_loop_decodes_only_what_is_new() -> None:
    runtime = ScriptedRuntime({5: [10, 11]}, batch_size=4)
    loop = DecodeLoop(runtime, 1, prompt_cache=True)
    first, second = request([5] * 10), request([5] * 10 + [6])
    drive(loop, first)
    drive(loop, second)
    got = outcome(second)
    assert got.result.usage.cached_tokens == 8
    assert got.progress == [(11, 11)]
    assert got.result.tokens == outcome(first).result.tokens
    assert [call for call in runtime.calls if call[0] == "prefill"][-1] == ("prefill", 5, 8, 3)


# -- on models --------------------------------------------------------------------------------

LONG = "the system is so: the answer of the number is in the number, and we answer the user. " * 6


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gemma3", "qwen2vl"])
def path(request: pytest.FixtureRequest, tiny) -> Path:
    return tiny(architecture=request.param, weight_type="Q8_0")


def opened(path: Path, **options: object) -> sl.Engine:
    return sl.load(path, threads=1, batch_size=32, **options)


@pytest.mark.parametrize("method", ["cot", "selar"])
def test_reuse_changes_no_bit(path: Path, method: str) -> None:
    """Tokens, entropies and probabilities of every step are the same to the bit as without the cache."""
    prompts = [LONG, LONG + "the first", LONG + "the second question", LONG[:200] + "another", LONG + "the first"]

    def trails(engine: sl.Engine) -> list[list[sl.TokenEvent]]:
        return [
            list(engine.stream(p, raw=True, method=method, seed=i % 2, max_tokens=24)) for i, p in enumerate(prompts)
        ]

    with opened(path, prompt_cache=False) as engine:
        expected = trails(engine)
    with opened(path) as engine:
        assert trails(engine) == expected
        assert engine.generate(LONG + "!", raw=True, max_tokens=1).usage.cached_tokens > 60


def test_reuse_between_sequences_that_run_together(path: Path) -> None:
    with opened(path, prompt_cache=False) as engine:
        expected = [list(engine.stream(LONG + str(i), raw=True, seed=i, max_tokens=16)) for i in range(6)]
    with opened(path, parallel=3) as engine:
        streams = [engine.stream(LONG + str(i), raw=True, seed=i, max_tokens=16) for i in range(6)]
        assert [list(stream) for stream in streams] == expected
        assert sum(stream.result.usage.cached_tokens > 0 for stream in streams) >= 4


def test_a_cancelled_prompt_leaves_whole_chunks_only(path: Path) -> None:
    with opened(path, prompt_cache=False) as engine:
        expected = list(engine.stream(LONG, raw=True, seed=1, max_tokens=8))
    with opened(path) as engine:
        for _ in range(5):
            streams: list[sl.Stream] = []
            stream = engine.stream(LONG, raw=True, on_prefill=lambda done, total, own=streams: own[0].cancel())
            streams.append(stream)
            list(stream)
            assert list(engine.stream(LONG, raw=True, seed=1, max_tokens=8)) == expected


def test_logits_of_a_hidden_state_s_prompt_are_not_mixed_up(path: Path) -> None:
    with opened(path) as engine:
        plain = list(engine.stream(LONG, raw=True, method="cot-greedy", max_tokens=8))
        latent = list(engine.stream(LONG, raw=True, method="coconut", max_tokens=8))
        assert list(engine.stream(LONG, raw=True, method="cot-greedy", max_tokens=8)) == plain
        assert list(engine.stream(LONG, raw=True, method="coconut", max_tokens=8)) == latent


def test_entropies_are_numbers(path: Path) -> None:
    with opened(path) as engine:
        events = [*engine.stream(LONG, raw=True, max_tokens=4), *engine.stream(LONG + "x", raw=True, max_tokens=4)]
    assert np.isfinite([event.entropy for event in events]).all()
