"""The scheduler on a scripted runtime: who is served when, and how every generation ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from scripted_runtime import END, Item, ScriptedRuntime, drive, outcome, request
from test_decisions import Scripted

from selar_local.engine.scheduler import Scheduler
from selar_local.errors import DecodeError, EngineClosed
from selar_local.llama.context import Aborted
from selar_local.methods import CoTGreedy, Selar
from selar_local.methods.base import Decision, Setting, Stepper, StepView, Token

ABC = {10: b"a", 11: b"b", 12: b"c"}


def test_prefill_comes_in_chunks_with_progress():
    runtime = ScriptedRuntime({5: [10, 11]}, batch_size=4)
    sequence = request([5] * 10, pieces=ABC)
    drive(Scheduler(runtime, 1), sequence)
    got = outcome(sequence)
    assert got.progress == [(4, 10), (8, 10), (10, 10)]
    assert runtime.calls[:3] == [("prefill", 5, 0, 4), ("prefill", 5, 4, 4), ("prefill", 5, 8, 2)]
    assert got.result.text == "ab"
    assert got.result.finish_reason == "stop"
    assert got.result.tokens == (10, 11, END)
    assert got.error is None
    assert runtime.held == {}


def test_what_a_cancelled_prompt_was_not_read_of():
    runtime = ScriptedRuntime({5: [10, 11]}, batch_size=4)
    waiting, read, whole = request([5] * 10), request([5] * 10), request([5] * 10, pieces=ABC)
    waiting.cancelled.set()
    calls = []

    def cancel(cancelled: Callable[[], bool]) -> None:
        calls.append(cancelled)
        if len(calls) == 2:
            read.cancelled.set()

    runtime.on_prefill = cancel
    drive(Scheduler(runtime, 1), waiting)
    drive(Scheduler(runtime, 1), read)
    drive(Scheduler(runtime, 1), whole)
    usages = [outcome(one).result.usage for one in (waiting, read, whole)]
    assert [usage.prompt_tokens for usage in usages] == [10, 10, 10]
    assert [usage.prompt_read for usage in usages] == [0, 8, 10]


def test_a_prompt_of_exactly_one_chunk():
    runtime = ScriptedRuntime({5: [10]}, batch_size=4)
    sequence = request([5] * 4)
    drive(Scheduler(runtime, 1), sequence)
    assert outcome(sequence).progress == [(4, 4)]


def test_a_running_answer_never_waits_for_more_than_one_chunk():
    runtime = ScriptedRuntime({2: [10] * 40, 3: [11] * 3, 4: [12] * 3}, batch_size=2)
    loop = Scheduler(runtime, 3)
    first = request([2])
    loop.waiting.append(first)
    loop.step()
    later = [request([3] * 9), request([4] * 7)]
    drive(loop, *later)
    after_start = runtime.calls[1:]
    kinds = [call[0] for call in after_start if call[0] != "forget"]
    assert not any(a == b == "prefill" for a, b in pairwise(kinds))
    assert all(2 in call for call in after_start if call[0] == "step" and len(call) > 2)
    prefills = [call[1] for call in after_start if call[0] == "prefill"]
    assert prefills == [3] * 5 + [4] * 4  # the longest waiting is finished first
    assert [outcome(s).result.usage.completion_tokens for s in (first, *later)] == [41, 4, 4]


def test_all_running_sequences_share_one_batch_and_join_and_leave():
    runtime = ScriptedRuntime({2: [10] * 2, 3: [11] * 8, 4: [12] * 8})
    drive(Scheduler(runtime, 3), *(request([key] * 4) for key in (2, 3, 4)))  # a chunk each
    steps = [call[1:] for call in runtime.calls if call[0] == "step"]
    assert (2, 3) in steps
    assert (3, 4) in steps
    assert steps[-1] in ((4,), (3, 4))


def test_short_prompts_are_read_together_up_to_a_chunk():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 8)}, batch_size=4)
    loop = Scheduler(runtime, 6)
    loop.waiting.extend(request([key]) for key in (2, 3, 4))
    loop.step()
    runtime.calls.clear()
    loop.waiting.extend([request([5]), request([6] * 3), request([7] * 2)])
    loop.step()
    assert [call[0] for call in runtime.calls] == ["prefill", "prefill", "step"]  # the third is beyond a chunk
    loop.step()
    assert [call[0] for call in runtime.calls[3:]] == ["prefill", "step"]


def test_where_most_wait_for_a_short_prompt_all_that_a_batch_takes_is_read():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 8)}, batch_size=4)  # a batch takes 8 tokens
    loop = Scheduler(runtime, 6)
    loop.waiting.extend([request([2]), request([3])])
    loop.step()
    runtime.calls.clear()
    loop.waiting.extend([request([4] * 3), request([5] * 2), request([6] * 3), request([7] * 2)])
    loop.step()
    assert [call[1:] for call in runtime.calls if call[0] == "prefill"] == [(4, 0, 3), (6, 0, 3), (5, 0, 2)]
    assert runtime.calls[-1][0] == "step"
    loop.step()
    assert runtime.calls[-2] == ("prefill", 7, 0, 2)


def test_most_have_to_wait_for_a_short_prompt():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 6)}, batch_size=4)
    loop = Scheduler(runtime, 4)
    loop.waiting.append(request([2]))
    loop.step()
    runtime.calls.clear()
    loop.waiting.extend(request([key] * 9) for key in (3, 4, 5))
    loop.step()
    assert [call[0] for call in runtime.calls] == ["prefill", "step"]  # one chunk of a long one, as ever


def test_prompts_of_one_length_share_a_batch_where_more_than_three_are_under_way():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 7)}, batch_size=4)
    loop = Scheduler(runtime, 5)
    loop.waiting.extend(request([key] * (3 if key == 4 else 2)) for key in (2, 3, 4, 5, 6))
    loop.step()
    assert [call for call in runtime.calls if call[0] == "prefill"] == [("prefill", key, 0, 2) for key in (2, 3, 5, 6)]
    assert runtime.together == [4]  # the third is longer, and beyond the chunk's room by now
    loop.step()
    assert runtime.together == [4, 1]


def test_prompts_that_share_a_batch_never_need_more_than_it_can_take():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 12)}, batch_size=4)
    drive(Scheduler(runtime, 10), *(request([key] * 3) for key in range(2, 12)))
    assert runtime.together == [2] * 5  # 6 of 8 tokens


def test_with_three_under_way_each_prompt_is_decoded_alone():
    runtime = ScriptedRuntime({key: [10] * 8 for key in (2, 3, 4)}, batch_size=8)
    drive(Scheduler(runtime, 3), *(request([key] * 2) for key in (2, 3, 4)))
    assert runtime.together == [1, 1, 1]


def test_whole_chunks_are_decoded_alone():
    runtime = ScriptedRuntime({key: [10] * 8 for key in range(2, 7)}, batch_size=4)
    drive(Scheduler(runtime, 5), *(request([key] * (6 if key % 2 else 2)) for key in range(2, 7)))
    sizes = [call[3] for call in runtime.calls if call[0] == "prefill"]
    batches = [[sizes.pop(0) for _ in range(count)] for count in runtime.together]
    assert [4] in batches and max(map(len, batches)) > 1 and not sizes
    assert all(batch == [4] or set(batch) == {2} for batch in batches)


def test_one_of_the_prompts_that_share_a_batch_fails_alone():
    scripts: dict[int, list[Item]] = {key: [10] * 4 for key in range(2, 7)}
    scripts[4] = [DecodeError("broken")]
    runtime = ScriptedRuntime(scripts, batch_size=16)
    sequences = [request([key] * 2) for key in range(2, 7)]
    drive(Scheduler(runtime, 5), *sequences)
    assert runtime.together[:6] == [5, 1, 1, 1, 1, 1]
    got = [outcome(sequence) for sequence in sequences]
    assert [str(one.error) for one in got] == ["None", "None", "broken", "None", "None"]
    assert [one.result.tokens for one in got] == [(*[10] * 4, END) if number != 2 else () for number in range(5)]


def test_a_cancelled_prompt_that_shares_a_batch_leaves_the_others_theirs():
    runtime = ScriptedRuntime({key: [10] * 4 for key in range(2, 7)}, batch_size=16)
    sequences = [request([key] * 2) for key in range(2, 7)]
    given_up = []

    def cancel(cancelled: Callable[[], bool]) -> None:
        sequences[1].cancelled.set()
        given_up.append(cancelled())
        for sequence in sequences:
            sequence.cancelled.set()
        given_up.append(cancelled())
        for sequence in sequences:
            sequence.cancelled.clear()
        sequences[1].cancelled.set()

    runtime.on_prefill = cancel
    drive(Scheduler(runtime, 5), *sequences)
    assert given_up[:2] == [False, True]  # the decode is given up where it is of no use to anyone
    reasons = [outcome(sequence).result.finish_reason for sequence in sequences]
    assert reasons == ["stop", "cancelled", "stop", "stop", "stop"]


@pytest.mark.parametrize("seed", range(25))
def test_any_company_gives_what_each_gives_alone(seed):
    draw = np.random.default_rng(seed)
    keys = range(2, 2 + int(draw.integers(2, 9)))
    scripts: dict[int, list[Item]] = {
        key: [int(t) if t % 3 else (int(t), 50, 51) for t in draw.integers(10, 40, draw.integers(0, 12))]
        for key in keys
    }
    methods = {key: Selar() if draw.random() < 0.5 else CoTGreedy() for key in keys}
    prompts = {key: [key] * int(draw.integers(1, 12)) for key in keys}
    runtime = ScriptedRuntime(scripts, capacity=16, batch_size=int(draw.integers(1, 5)))
    loop = Scheduler(runtime, int(draw.integers(1, 7)))
    together = {key: request(prompts[key], methods[key]) for key in keys}
    for sequence in together.values():
        loop.waiting.append(sequence)
        for _ in range(int(draw.integers(0, 4))):
            loop.step()
    drive(loop)
    assert runtime.held == {}
    for key, sequence in together.items():
        alone = request(prompts[key], methods[key])
        drive(Scheduler(ScriptedRuntime(scripts, capacity=16), 1), alone)
        one, other = outcome(alone), outcome(sequence)
        assert one.events == other.events
        assert one.result.finish_reason == other.result.finish_reason
        assert one.result.context_full == other.result.context_full


def test_rows_are_preferred_while_one_sequence_needs_them():
    runtime = ScriptedRuntime({2: [10] * 2, 3: [11] * 6})
    drive(Scheduler(runtime, 2), request([2], Selar()), request([3]))
    assert runtime.prefer_rows[0] is True
    assert runtime.prefer_rows[-1] is False


def test_cancelled_while_waiting():
    runtime = ScriptedRuntime({2: [10] * 6, 3: [11]})
    running, waiting = request([2]), request([3])
    loop = Scheduler(runtime, 1)
    loop.waiting.extend([running, waiting])
    loop.step()
    waiting.cancelled.set()
    loop.step()
    assert outcome(waiting).result.finish_reason == "cancelled"
    assert not running.finished
    drive(loop)
    assert not any(call[0] == "prefill" and call[1] == 3 for call in runtime.calls)
    assert outcome(running).result.finish_reason == "stop"


def test_cancelled_between_two_chunks():
    runtime = ScriptedRuntime({2: [10]}, batch_size=2)
    sequence, loop = request([2] * 20), Scheduler(runtime, 1)
    loop.waiting.append(sequence)
    loop.step()
    sequence.cancelled.set()
    loop.step()
    got = outcome(sequence)
    assert got.result.finish_reason == "cancelled"
    assert got.progress == [(2, 20)]
    assert loop.idle
    assert runtime.held == {}


def test_cancelled_within_a_chunk():
    runtime = ScriptedRuntime({2: [10]})
    sequence, loop = request([2] * 3), Scheduler(runtime, 1)

    def abort(cancelled: Callable[[], bool]) -> None:
        assert not cancelled()
        sequence.cancelled.set()
        assert cancelled()
        raise Aborted

    runtime.on_prefill = abort
    drive(loop, sequence)
    assert outcome(sequence).result.finish_reason == "cancelled"
    assert ("forget", 0) in runtime.calls


def test_cancelled_while_decoding_keeps_what_there_is_and_frees_the_slot():
    runtime = ScriptedRuntime({2: [10] * 50, 3: [11]})
    sequence, loop = request([2], pieces=ABC), Scheduler(runtime, 1)
    loop.waiting.append(sequence)
    for _ in range(3):
        loop.step()
    sequence.cancelled.set()
    steps = len(runtime.calls)
    follower = request([3])
    drive(loop, follower)
    got = outcome(sequence)
    assert got.result.finish_reason == "cancelled"
    assert got.result.text == "aaaa"
    assert runtime.calls[steps] == ("forget", 0)  # not one step more
    assert outcome(follower).result.finish_reason == "stop"


def test_closing_gives_up_the_prompt_and_tells_everyone():
    runtime = ScriptedRuntime({2: [10], 3: [11]})
    closing = [False]
    loop = Scheduler(runtime, 1, lambda: closing[0])

    def abort(cancelled: Callable[[], bool]) -> None:
        closing[0] = True
        assert cancelled()
        raise Aborted

    runtime.on_prefill = abort
    sequences = [request([2]), request([3])]
    loop.waiting.extend(sequences)
    loop.step()
    assert not sequences[0].finished
    loop.abandon(EngineClosed("closed"))
    assert all(isinstance(outcome(s).error, EngineClosed) for s in sequences)
    assert loop.idle


def test_a_full_cache_ends_the_prompt():
    runtime = ScriptedRuntime({2: [10], 3: [11]}, cells=6)
    first, second = request([2] * 10), request([3] * 2)
    drive(Scheduler(runtime, 1), first, second)
    got = outcome(first).result
    assert (got.finish_reason, got.context_full, got.tokens) == ("length", True, ())
    assert outcome(second).result.finish_reason == "stop"


def test_a_full_cache_ends_the_longest_answer_and_the_others_go_on():
    runtime = ScriptedRuntime({2: [10] * 9, 3: [11] * 9}, cells=14)
    long, short = request([2] * 4), request([3])
    drive(Scheduler(runtime, 2), long, short)
    ended = outcome(long).result
    assert (ended.finish_reason, ended.context_full) == ("length", True)
    assert 0 < ended.usage.completion_tokens < 10
    assert outcome(short).result.tokens == (*[11] * 9, END)


def test_an_error_in_a_prompt_ends_that_sequence_alone():
    runtime = ScriptedRuntime({2: [10] * 9, 3: [DecodeError("broken")]})
    good, bad = request([2]), request([3])
    drive(Scheduler(runtime, 2), good, bad)
    assert str(outcome(bad).error) == "broken"
    assert outcome(good).result.tokens == (*[10] * 9, END)


@pytest.mark.parametrize("error", [DecodeError("broken"), IndexError("outside the vocabulary")])
def test_an_input_that_fails_ends_its_own_sequence_only(error):
    runtime = ScriptedRuntime({2: [10] * 9, 3: [11, 11, error], 4: [12] * 9})
    first, bad, last = (request([key]) for key in (2, 3, 4))
    drive(Scheduler(runtime, 3), first, bad, last)
    got = outcome(bad)
    assert isinstance(got.error, DecodeError)
    assert str(error) in str(got.error)
    assert got.result.tokens == (11, 11)
    assert outcome(first).result.tokens == (*[10] * 9, END)
    assert outcome(last).result.tokens == (*[12] * 9, END)
    assert runtime.held == {}


def test_a_decode_that_fails_for_all_ends_all():
    runtime = ScriptedRuntime({key: [10, DecodeError("no device")] for key in (2, 3)})
    sequences = [request([2]), request([3])]
    drive(Scheduler(runtime, 2), *sequences)
    assert [str(outcome(s).error) for s in sequences] == ["no device"] * 2
    assert runtime.held == {}


@pytest.mark.parametrize("at", [0, 3])
def test_logits_that_are_not_numbers_end_one_sequence(at):
    runtime = ScriptedRuntime({2: [10] * 9, 3: [*[11] * at, None]})
    good, bad = request([2]), request([3])
    drive(Scheduler(runtime, 2), good, bad)
    got = outcome(bad)
    assert isinstance(got.error, DecodeError)
    assert "not numbers" in str(got.error)
    assert got.result.tokens == (11,) * at
    assert outcome(good).result.tokens == (*[10] * 9, END)


def test_a_slot_that_may_hold_nan_is_wiped_before_it_serves_again():
    runtime = ScriptedRuntime({2: [10] * 9, 3: [None], 4: [12]})
    good, bad, later = (request([key]) for key in (2, 3, 4))
    loop = Scheduler(runtime, 2)
    loop.waiting.extend([good, bad, later])
    while not bad.finished:
        loop.step()
    for _ in range(3):
        loop.step()
    assert runtime.cleared == 0
    assert later in loop.waiting  # the good one's memory must not be wiped under it
    drive(loop)
    assert runtime.cleared == 1
    assert [outcome(s).result.finish_reason for s in (good, bad, later)] == ["stop", "error", "stop"]


@dataclass(frozen=True)
class Faulty(CoTGreedy):
    """A user's own method with a mistake in it."""

    def start(self, setting: Setting) -> Stepper:
        return Mistaken()


class Mistaken(Stepper):
    def __call__(self, view: StepView) -> Decision:
        raise ZeroDivisionError("a mistake")


def test_a_method_that_fails_ends_its_own_sequence_only(caplog):
    runtime = ScriptedRuntime({2: [10] * 5, 3: [11] * 5})
    good, bad = request([2]), request([3], Faulty())
    drive(Scheduler(runtime, 2), good, bad)
    error = outcome(bad).error
    assert isinstance(error, DecodeError)
    assert "a mistake" in str(error)
    assert outcome(good).result.finish_reason == "stop"
    assert [record.name for record in caplog.records] == ["selar_local.engine"]


def test_the_place_of_a_method_that_failed_serves_again_at_once():
    """Its mistake leaves nothing bad in the KV cache."""
    runtime = ScriptedRuntime({2: [10] * 30, 3: [11], 4: [12]})
    running, later = request([2]), request([4])
    loop = Scheduler(runtime, 2)
    drive(loop, running, request([3], Faulty()), later)
    assert runtime.cleared == 0
    assert any(call[:2] == ("step", 2) and 4 in call for call in runtime.calls)
    assert outcome(later).result.finish_reason == "stop"


def test_spoilt_places_come_back_although_requests_keep_coming():
    """With a quarter of the places out of service nothing begins until what runs has ended, and all is wiped."""
    runtime = ScriptedRuntime({2: [10] * 6, 3: [None], **{key: [12] * 4 for key in range(4, 40)}})
    loop = Scheduler(runtime, 4)
    loop.waiting.extend([request([2]), request([3])])
    busiest = []
    for key in range(4, 40):
        loop.waiting.append(request([key]))
        loop.step()
        busiest.append(len(loop.running))
    assert runtime.cleared == 1 and busiest[-1] == 4
    drive(loop)


def test_a_request_that_gets_no_place_is_not_lost(monkeypatch):
    def broken(prompt, **_more):
        raise MemoryError

    loop = Scheduler(ScriptedRuntime({2: [10]}), 1)
    monkeypatch.setattr(loop._slots, "take", broken)
    sequence = request([2])
    loop.waiting.append(sequence)
    with pytest.raises(MemoryError):
        loop.step()
    loop.abandon(DecodeError("the worker has failed"))
    assert sequence.finished and isinstance(outcome(sequence).error, DecodeError)


def test_slots_serve_again_in_turn():
    keys = range(2, 12)
    runtime = ScriptedRuntime({key: [10] * (key % 3) for key in keys})
    sequences = [request([key]) for key in keys]
    drive(Scheduler(runtime, 2), *sequences)
    assert {s.slot for s in sequences} == {0, 1}
    assert runtime.held == {}
    assert sum(call[0] == "forget" for call in runtime.calls) == len(sequences)


def test_inputs_go_in_the_order_of_their_places():
    """Who comes later takes the place that fell free: neighbouring places in order are computed together."""
    runtime = ScriptedRuntime({2: [10], 3: [11] * 9, 4: [12] * 9, 5: [13] * 4})
    drive(Scheduler(runtime, 3), request([2]), request([3]), request([4]), request([5]))
    assert ("step", 5, 3, 4) in runtime.calls


def test_events_come_once_all_texts_have_made_their_step():
    """The first token comes at once: before the next decode."""
    runtime = ScriptedRuntime({5: [10, 11, 12], 6: [10, 11, 12]})
    first, seen = request([5]), []

    def look(view: StepView, _step: int) -> Decision:
        seen.append(first.messages.qsize())
        return Decision(Token(view.token))

    drive(Scheduler(runtime, 2), first, request([6], Scripted(decide=look)))
    read = 1
    assert seen[:3] == [read + 1, read + 1, read + 2]
