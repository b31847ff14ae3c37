"""One generation's end, text and counts, on a scripted runtime."""

from __future__ import annotations

import pytest
from scripted_runtime import END, Item, Outcome, ScriptedRuntime, drive, outcome, request

from selar_local.engine.scheduler import Scheduler
from selar_local.methods import Selar

TORN = (END, 50, 51)  # equally likely, the ending token first


def run(script: list[Item], **options: object) -> Outcome:
    capacity = int(str(options.pop("capacity", 100)))
    runtime = ScriptedRuntime({5: script}, capacity=capacity)
    sequence = request([5, 5, 5], **options)
    drive(Scheduler(runtime, 1), sequence)
    assert runtime.held == {}
    return outcome(sequence)


def test_no_tokens_wanted():
    got = run([10], max_tokens=0)
    assert got.events == []
    assert got.progress == [(3, 3)]
    assert (got.result.finish_reason, got.result.context_full) == ("length", False)


def test_one_token_wanted():
    got = run([10, 11], max_tokens=1)
    assert got.result.tokens == (10,)
    assert (got.result.finish_reason, got.result.context_full) == ("length", False)


def test_as_many_tokens_as_there_are():
    assert run([10, 11], max_tokens=3).result.finish_reason == "stop"
    assert run([10, 11], max_tokens=2).result.finish_reason == "length"


def test_the_context_fills_up():
    got = run([10] * 20, capacity=5)
    assert got.result.tokens == (10, 10, 10)  # the last one needs no place in the cache
    assert (got.result.finish_reason, got.result.context_full) == ("length", True)


def test_a_prompt_that_fills_the_context_still_gets_one_token():
    got = run([10] * 20, capacity=3)
    assert got.result.tokens == (10,)
    assert got.result.context_full


def test_stopping_in_the_last_place_is_no_full_context():
    got = run([10, 11], capacity=5)
    assert (got.result.finish_reason, got.result.context_full) == ("stop", False)


def test_an_ending_token_ends_though_the_model_is_torn():
    got = run([(10, 50, 51), TORN, 12], method=Selar())
    assert got.result.tokens == (10, END)
    assert got.result.finish_reason == "stop"
    assert [event.explored for event in got.events] == [True, False]
    assert got.result.usage.explored_steps == 1
    assert got.events[1].text == ""
    assert got.events[1].entropy == pytest.approx(1.0)
    assert [token for token, _ in got.events[1].top] == [1, 50, 51]


def test_top_lists_the_candidates_with_zeros():
    got = run([(10, 50), 11], method=Selar(tau=2.0))
    assert [token for token, _ in got.events[0].top][:2] == [10, 50]
    assert [p for _, p in got.events[0].top] == pytest.approx([0.5, 0.5, 0.0])


@pytest.mark.parametrize(
    ("pieces", "stop", "text", "hit"),
    [
        ([b"one", b" ST", b"O", b"P two"], ("STOP",), "one ", "STOP"),
        ([b"one S", b"T", b"ill here"], ("STOP",), "one STill here", None),
        ([b"ab", b"c"], ("abc", "b"), "a", "b"),
        ([b"x\n", b"\n", b"y"], ("\n\n",), "x", "\n\n"),
        ([b"caf\xc3", b"\xa9!"], ("é!",), "caf", "é!"),
    ],
)
def test_stop_strings_over_token_borders(pieces, stop, text, hit):
    table = dict(enumerate(pieces, 10))
    got = run([*table], pieces=table, stop=stop)
    assert got.result.text == text
    assert got.result.stop_string == hit
    assert got.result.finish_reason == "stop"
    assert (got.result.tokens[-1] == END) is (hit is None)


def test_a_held_beginning_of_a_stop_string_is_given_out_at_the_limit():
    got = run([10, 11, 12], pieces={10: b"a", 11: b"ST", 12: b"OP"}, stop=("STOP",), max_tokens=2)
    assert got.result.text == "aST"
    assert got.result.stop_string is None
    assert got.events[-1].text == "ST"


def test_characters_split_over_tokens_come_whole():
    raw = "né — 你好 😀".encode()
    table = {10 + i: raw[i : i + 1] for i in range(len(raw))}
    got = run([*table], pieces=table)
    assert got.result.text == "né — 你好 😀"
    assert [event.text for event in got.events if "\ufffd" in event.text] == []
    assert got.events[1].text == ""  # half of é


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"a\xf0\x9f", b"b"], "a\ufffdb"),
        ([b"a\xff", b"b"], "a\ufffdb"),
        ([b"a", b"\xe4\xbd"], "a\ufffd"),
    ],
)
def test_bytes_that_are_no_text(pieces, text):
    table = dict(enumerate(pieces, 10))
    assert run([*table], pieces=table).result.text == text


THOUGHT = {10: b"<th", 11: b"ink>", 12: b"\nhm, ", 13: b"yes", 14: b"\n</thi", 15: b"nk>\n\n", 16: b"42"}


def test_thinking_told_apart():
    got = run([*THOUGHT], pieces=THOUGHT)
    assert got.result.thinking == "hm, yes"
    assert got.result.text == "42"
    assert all(not (event.text and event.thinking) for event in got.events)


def test_thinking_begun_by_the_prompt():
    table = {10: b"hm", 11: b"</think>", 12: b"42"}
    got = run([*table], pieces=table, tail="assistant\n<think>\n")
    assert (got.result.thinking, got.result.text) == ("hm", "42")


def test_a_raw_prompt_keeps_the_tags():
    got = run([*THOUGHT], pieces=THOUGHT, split=False)
    assert got.result.thinking == ""
    assert got.result.text == b"".join(THOUGHT.values()).decode()


@pytest.mark.parametrize("split", [True, False])
def test_a_scope_of_thinking_ends_with_the_thinking(split):
    table = {10: b"<think>", 11: b"hm", 12: b"</think>", 13: b"42"}
    script: list[Item] = [10, (11, 50, 51), (12, 50, 51), (13, 50, 51)]
    got = run(script, pieces=table, split=split, method=Selar(scope="thinking"))
    assert [event.explored for event in got.events] == [False, True, False, False, False]
