"""The prompt cache: whole chunks where a prompt begins alike; an answer's tokens by the turn that follows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_runtime import ScriptedRuntime, drive, outcome, request

import selar_local as sl
from selar_local.engine.scheduler import Scheduler
from selar_local.engine.slots import Slots

CHUNK = 4


class Cells:
    """A KV cache that knows what stands at each position of each slot.

    can_truncate False: with a running state, that of all tokens up to now. window: it can be cut near the end alone.
    """

    def __init__(self, *, can_truncate: bool = True, window: int = 0) -> None:
        self.slots: dict[int, list[int]] = {}
        self.can_truncate = can_truncate
        self.window = window
        self.needs_checkpoints = not can_truncate or window > 0
        self.exact_cut = window or 2**31

    def decode(self, slot: int, tokens: list[int]) -> None:
        self.slots.setdefault(slot, []).extend(tokens)

    def forget(self, slot: int) -> None:
        self.slots.pop(slot, None)

    def can_cut(self, slot: int, length: int) -> bool:
        forgotten = max(0, len(self.slots.get(slot, [])) - 2 * self.window) if self.window else 0
        return self.can_truncate and forgotten <= max(0, length - self.window)

    def truncate(self, slot: int, length: int) -> bool:
        if not self.can_cut(slot, length):
            return False
        assert length <= len(self.slots[slot])
        del self.slots[slot][length:]
        return True

    def tidy(self, slot: int, length: int) -> None:
        assert len(self.slots[slot]) == length

    def save(self, slot: int) -> tuple[int, ...]:
        return tuple(self.slots[slot])

    def restore(self, slot: int, state: tuple[int, ...], length: int) -> bool:
        assert tuple(self.slots[slot][:length]) == state, "a state of other tokens"
        del self.slots[slot][length:]
        return True

    def copy(self, source: int, target: int) -> None:
        assert not self.slots.get(target), "copied over what a slot holds"
        self.slots[target] = list(self.slots[source])


def read(slots: Slots, cells: Cells, index: int, prompt: list[int], start: int, end: int) -> None:
    """Decode the prompt from `start` to `end`, in chunks."""
    for at in range(start, end, CHUNK):
        chunk = prompt[at : min(at + CHUNK, end)]
        cells.decode(index, chunk)
        slots.decoded(index, at + len(chunk))


def serve(slots: Slots, cells: Cells, prompt: list[int], generated: int = 3) -> int:
    """One whole generation; how many tokens of its prompt were held already."""
    index, held = slots.take(prompt)
    assert cells.slots.get(index, []) == prompt[:held]
    assert held % CHUNK == 0 and held < len(prompt)
    read(slots, cells, index, prompt, held, len(prompt))
    cells.decode(index, [-1] * generated)
    slots.release(index, len(prompt) + generated)
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
        slots.release(index, 20)


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


@settings(max_examples=80, deadline=None)
@given(
    PROMPTS, st.integers(1, 4), st.booleans(), st.sampled_from([(True, 0), (False, 0), (True, 6)]),
    st.sampled_from([0, 20, 10**6]), st.data(),
)  # fmt: skip
def test_whatever_comes_a_slot_holds_the_prompt_s_own_beginning(
    prompts: list[list[int]], count: int, reuse: bool, kind: tuple[bool, int], budget: int, data: st.DataObject
) -> None:
    cells = Cells(can_truncate=kind[0], window=kind[1])
    slots = Slots(cells, count, CHUNK, reuse_answers=reuse, state_bytes=budget)
    busy: list[tuple[int, list[int], list[int]]] = []
    for prompt in prompts:
        if not slots.available or (busy and data.draw(st.booleans())):
            index, own, fed = busy.pop(data.draw(st.integers(0, len(busy) - 1)))
            if data.draw(st.integers(0, 5)) == 0:
                cells.forget(index)
                slots.spoil(index)
            else:
                slots.release(index, len(cells.slots.get(index, [])), fed)
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
        read(slots, cells, index, prompt, held, done)
        fed = data.draw(st.lists(st.integers(0, 2), max_size=5)) if done == len(prompt) else []
        cells.decode(index, fed)
        if done == len(prompt):
            cells.decode(index, [-1] * data.draw(st.integers(0, 3)))  # vectors, and what was decoded after them
        busy.append((index, prompt, fed))
        for other, own, _ in busy:
            assert cells.slots.get(other, [])[: len(own)] == own[: len(cells.slots.get(other, []))]


def answered(slots: Slots, cells: Cells, prompt: list[int], answer: list[int], vectors: int = 0) -> int:
    """One generation that feeds `answer` as tokens and then vectors; how many tokens of its prompt were held."""
    index, held = slots.take(prompt)
    assert cells.slots.get(index, []) == prompt[:held]
    read(slots, cells, index, prompt, held, len(prompt))
    cells.decode(index, [*answer, *[-1] * vectors])
    slots.release(index, len(cells.slots[index]), answer)
    return held


def test_a_follow_up_turn_finds_the_answer() -> None:
    cells = Cells()
    slots = Slots(cells, 1, CHUNK, reuse_answers=True)
    first, answer = list(range(10)), [70, 71, 72]
    assert answered(slots, cells, first, answer, vectors=2) == 0
    assert cells.slots[0] == [*first, *answer]
    second = [*first, *answer, 80, 81]
    assert answered(slots, cells, second, [90]) == 13
    third = [*second, 90, 82]
    assert answered(slots, cells, third, [91]) == 16


def test_the_same_question_again_is_read_from_the_same_place() -> None:
    """So that a seed repeats an answer to the bit: reading begins where it began the first time."""
    cells = Cells()
    slots = Slots(cells, 1, CHUNK, reuse_answers=True)
    first, answer = list(range(10)), [70, 71, 72]
    second = [*first, *answer, *range(80, 90)]
    answered(slots, cells, first, answer)
    assert answered(slots, cells, second, [90]) == 13
    assert answered(slots, cells, second, [90]) == 13 + 2 * CHUNK  # whole chunks from there on
    assert answered(slots, cells, [*first, *answer, 1, 2], [90]) == 13
    assert answered(slots, cells, first, answer) == 2 * CHUNK  # never from within the part that it was not cut at


def test_an_answer_is_found_as_far_as_it_is_spelt_alike() -> None:
    cells = Cells()
    slots = Slots(cells, 1, CHUNK, reuse_answers=True)
    answered(slots, cells, list(range(10)), [70, 71, 72])
    assert answered(slots, cells, [*range(10), 70, 99, 72], []) == 11


def test_another_question_after_the_same_beginning_is_read_as_if_it_were_new() -> None:
    """Chunks alone: a prompt that does not go on behind the whole earlier prompt is no follow-up turn."""
    cells = Cells()
    slots = Slots(cells, 2, CHUNK, reuse_answers=True)
    answered(slots, cells, list(range(10)), [70, 71])
    assert answered(slots, cells, [*range(9), 50, 51], []) == 8


def test_a_memory_that_cannot_go_back_goes_on() -> None:
    """A running state serves the turn that follows when it ends exactly where that turn goes on."""
    cells = Cells(can_truncate=False)
    slots = Slots(cells, 1, CHUNK, reuse_answers=True)
    first, answer = list(range(10)), [70, 71]
    assert answered(slots, cells, first, answer) == 0
    assert answered(slots, cells, [*first, *answer, 5, 6], [70], vectors=1) == 12
    assert cells.slots == {}  # it would have to forget the vector
    assert answered(slots, cells, [*first, *answer, 5, 6, 70, 8], []) == 0


# -- memories that cannot go back ----------------------------------------------------------------


def remembering(budget: int = 10**6) -> tuple[Cells, Slots]:
    cells = Cells(can_truncate=False)
    return cells, Slots(cells, 1, CHUNK, reuse_answers=True, state_bytes=budget)


def test_a_running_state_goes_back_to_the_end_of_the_prompt() -> None:
    """Where the answer fed vectors, and where it is spelt otherwise in the next turn."""
    cells, slots = remembering()
    first = list(range(10))
    assert answered(slots, cells, first, [70, 71], vectors=2) == 0
    assert cells.slots[0] == first
    second = [*first, 70, 71, 80, 81]
    assert answered(slots, cells, second, [90, 91]) == 10
    assert answered(slots, cells, [*second, 90, 91, 5], [7, 8]) == 16  # all were tokens: it goes on where it is
    assert answered(slots, cells, [*second, 90, 91, 5, 7, 99, 4], []) == 17  # spelt otherwise


def test_another_question_is_not_read_from_the_end_of_the_prompt() -> None:
    """It is not a follow-up turn, so it has the same bits as a prompt that is read anew."""
    cells, slots = remembering()
    answered(slots, cells, list(range(10)), [70, 71], vectors=2)
    assert answered(slots, cells, [*range(10), 50, 51, 52], [90]) == 8


def test_a_running_state_goes_back_to_the_last_whole_chunk() -> None:
    cells, slots = remembering()
    first = list(range(10))
    answered(slots, cells, first, [70])
    assert answered(slots, cells, first, [70]) == 8
    assert answered(slots, cells, [*first[:9], 50, 51], [70]) == 8
    assert answered(slots, cells, [*first[:7], 50, 51], [70]) == 0  # nothing was saved before
    assert answered(slots, cells, [*first[:7], 50, 51], [70]) == 8


def test_a_running_state_goes_back_to_what_two_prompts_had_in_common() -> None:
    """A long question after a system message: the second prompt saves what the third one needs."""
    cells, slots = remembering()
    system = list(range(10))
    held = [answered(slots, cells, [*system, *range(at, at + 12)], [70]) for at in (100, 200, 300, 400)]
    assert held == [0, 0, 8, 8]


def test_a_question_asked_again_is_read_from_where_it_was_read_before() -> None:
    cells, slots = remembering()
    first, answer = list(range(10)), [70, 71, 72]
    second = [*first, *answer, *range(80, 83)]
    answered(slots, cells, first, answer)
    assert answered(slots, cells, second, [90]) == 13
    assert answered(slots, cells, second, [90]) == 13
    assert answered(slots, cells, first, answer) == 8


def test_saved_states_are_bounded() -> None:
    cells, slots = remembering(budget=25)
    first = list(range(10))
    answered(slots, cells, first, [70], vectors=1)
    assert answered(slots, cells, first, [70], vectors=1) == 8  # 8 and 10 bytes
    long = list(range(30))
    answered(slots, cells, long, [70], vectors=1)
    assert cells.slots == {}  # one state alone would be too large
    assert answered(slots, cells, long, []) == 0


def test_a_prompt_that_was_broken_off_leaves_nothing_but_what_was_saved() -> None:
    """llama.cpp may have stopped between two tokens: the running state is of no use then."""
    cells, slots = remembering()
    prompt = list(range(30))
    index, _ = slots.take(prompt)
    read(slots, cells, index, prompt, 0, 16)
    slots.release(index, 16)
    assert cells.slots == {}


# -- on the loop ------------------------------------------------------------------------------


def test_the_loop_decodes_only_what_is_new() -> None:
    runtime = ScriptedRuntime({5: [10, 11]}, batch_size=4)
    loop = Scheduler(runtime, 1, prompt_cache=True)
    first, second = request([5] * 10), request([5] * 10 + [6])
    drive(loop, first)
    drive(loop, second)
    got = outcome(second)
    assert got.result.usage.cached_tokens == 8
    assert got.progress == [(11, 11)]
    assert got.result.tokens == outcome(first).result.tokens
    assert [call for call in runtime.calls if call[0] == "prefill"][-1] == ("prefill", 5, 8, 3)


def test_the_loop_reuses_what_was_fed_as_tokens_up_to_the_first_vector() -> None:
    runtime = ScriptedRuntime({5: [10, 11, (12, 13), 14]}, batch_size=4)
    loop = Scheduler(runtime, 1, prompt_cache=True, reuse_answers=True)
    drive(loop, request([5] * 6, sl.Selar(symbol_guard=False, k=2)))
    assert runtime.held[0] == 8  # the prompt and two tokens: the third step fed a mixture
    follow_up = request([5] * 6 + [10, 11, 12, 14, 20], sl.CoTGreedy())
    drive(loop, follow_up)
    assert outcome(follow_up).result.usage.cached_tokens == 8


# -- on models --------------------------------------------------------------------------------

LONG = "the system is so: the answer of the number is in the number, and we answer the user. " * 6


HYBRIDS = ["qwen35", "lfm2", "granitehybrid", "falcon-h1", "nemotron_h", "jamba", "mamba", "rwkv6"]


@pytest.fixture(params=["llama", "qwen2", "qwen3", "gemma3", "qwen2vl", *HYBRIDS])
def path(request: pytest.FixtureRequest, tiny, family_model) -> Path:
    if request.param in HYBRIDS:
        return family_model(request.param, weight_type="Q8_0")
    return tiny(architecture=request.param, weight_type="Q8_0")


def opened(path: Path, **options: object) -> sl.Engine:
    return sl.load(path, threads=1, batch_size=32, **{"swa_full": True, **options})


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
        assert sum(stream.result.usage.cached_tokens > 0 for stream in streams) >= 3


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


def test_a_conversation_repeats_to_the_bit(path: Path) -> None:
    def talk(engine: sl.Engine) -> list[sl.TokenEvent]:
        text, events = LONG, []
        for seed in range(3):
            turn = list(engine.stream(text, raw=True, method="cot", seed=seed, max_tokens=20))
            events += turn
            text += "".join(event.text for event in turn) + " and the answer?"
        return events

    with opened(path) as engine:
        first = talk(engine)
    with opened(path) as engine:
        assert talk(engine) == first


def test_a_follow_up_turn_after_vectors_goes_on_at_the_end_of_the_prompt(family_model) -> None:
    """A hybrid model cannot take a soft step back: it goes back to where it was saved."""
    path = family_model("qwen35", weight_type="Q8_0")
    with opened(path) as engine:
        (first,) = engine.stream(LONG, raw=True, method=sl.Selar(tau=0), seed=2, max_tokens=1)
        method = sl.Selar(tau=first.entropy * 1.001, symbol_guard=False)  # it begins with a token, vectors come later
        result = engine.generate(LONG, raw=True, method=method, seed=2, max_tokens=20)
        prompt, follow_up = result.usage.prompt_tokens, LONG + first.text + " and the answer?"
        assert result.usage.explored_steps and engine.tokenize(follow_up)[prompt] == first.token
        result = engine.generate(follow_up, raw=True, method="cot", seed=1, max_tokens=12, logprobs=3)
        again = engine.generate(follow_up, raw=True, method="cot", seed=1, max_tokens=12, logprobs=3)
    assert result.usage.cached_tokens == again.usage.cached_tokens == prompt
    with opened(path, prompt_cache=False) as engine:
        fresh = engine.generate(follow_up, raw=True, method="cot", seed=1, max_tokens=12, logprobs=3)
    assert (result.tokens, result.logprobs) == (again.tokens, again.logprobs)
    assert result.logprobs[0].token == pytest.approx(fresh.logprobs[0].token, abs=1e-3)


# A window that is not kept whole: `swa_full` is off.


@pytest.mark.parametrize("method", ["cot", "selar"])
def test_a_window_changes_no_bit(tiny, method: str) -> None:
    """Also beyond the window, where llama.cpp's order of its cells counts."""
    path = tiny(architecture="gemma3", weight_type="Q8_0", metadata={"gemma3.attention.sliding_window": 48})
    prompts = [LONG, LONG + "the first", LONG[:100], LONG[:100] + " another", LONG, LONG + "last"]

    def trails(engine: sl.Engine) -> list[list[sl.TokenEvent]]:
        return [
            list(engine.stream(p, raw=True, method=method, seed=i % 2, max_tokens=24)) for i, p in enumerate(prompts)
        ]

    with opened(path, prompt_cache=False, swa_full=False) as engine:
        expected = trails(engine)
    with opened(path, swa_full=False) as engine:
        assert trails(engine) == expected
        assert engine.generate(LONG + "!", raw=True, max_tokens=1).usage.cached_tokens == 256


@pytest.mark.parametrize("method", [sl.CoT(), sl.Selar(tau=0.9, symbol_guard=False)])
def test_a_long_conversation_in_a_window_repeats_to_the_bit(tiny, method: sl.Method) -> None:
    """Also a question that is asked again, from a window whose cells have another order by now."""
    path = tiny(architecture="gemma3", weight_type="Q8_0", n_ctx_train=2048)

    def talk(engine: sl.Engine) -> tuple[list[object], list[int]]:
        text, found, cached = LONG, [], []
        for seed in range(4):
            turn = [
                engine.generate(text, raw=True, method=method, seed=seed, max_tokens=60, logprobs=2) for _ in range(2)
            ]
            assert seed == 0 or turn[0].logprobs == turn[1].logprobs
            found.append((turn[0].tokens, turn[0].logprobs))
            cached.append(turn[0].usage.cached_tokens)
            text += turn[0].text + LONG
        return found, cached

    with opened(path, swa_full=False) as engine:
        first, cached = talk(engine)
        assert talk(engine)[0][0] == first[0]
    with opened(path, swa_full=False) as engine:
        assert talk(engine) == (first, cached)
    assert any(cached[1:])


def test_entropies_are_numbers(path: Path) -> None:
    with opened(path) as engine:
        events = [*engine.stream(LONG, raw=True, max_tokens=4), *engine.stream(LONG + "x", raw=True, max_tokens=4)]
    assert np.isfinite([event.entropy for event in events]).all()


@pytest.mark.gguf
def test_a_follow_up_turn_of_a_real_model(smollm2: Path) -> None:
    """It reads the new turn alone where tokens were fed; the logits agree with a fresh reading up to rounding."""
    turns = [{"role": "user", "content": "Name three colours, and say where each is found in a garden."}]
    with sl.load(smollm2, threads=2, ctx_size=1024) as engine:
        events = list(stream := engine.stream(messages=turns, method=sl.CoT(), seed=3, max_tokens=60))
        first = stream.result
        turns += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "Which is the brightest?"}]
        second = list(stream := engine.stream(messages=turns, method="cot-greedy", max_tokens=4, logprobs=5))
        cached = stream.result.usage.cached_tokens
    # The text may be spelt with other tokens than it was drawn with, from some place on.
    assert first.usage.prompt_tokens < cached <= first.usage.prompt_tokens + len(events) - 1
    with sl.load(smollm2, threads=2, ctx_size=1024, reuse_answers=False) as engine:
        fresh = list(stream := engine.stream(messages=turns, method="cot-greedy", max_tokens=4, logprobs=5))
        assert stream.result.usage.cached_tokens < first.usage.prompt_tokens
    assert second[0].token == fresh[0].token
    assert second[0].logprobs.token == pytest.approx(fresh[0].logprobs.token, abs=0.2)
