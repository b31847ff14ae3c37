"""The conversation: its history, what a full context drops, retry and undo, files, one turn at a time."""

from __future__ import annotations

import gc
import json
import os
import random
import stat
import sys
import threading
from itertools import pairwise, product

import pytest
from scripted_chat import ScriptedChat, result

import selar_local as sl
from selar_local.engine.history import last_question, turn_starts, turns_to_drop
from selar_local.errors import (
    ConversationBusy,
    ConversationFileError,
    DecodeError,
    OptionError,
    PromptTooLong,
    SelarError,
)


def roles(messages):
    return [message["role"] for message in messages]


def words(n, word="w"):
    return " ".join([word] * n)


def test_a_turn_joins_the_history_when_its_stream_has_the_result():
    engine = ScriptedChat(result("an answer", thinking="Hm."))
    talk = sl.Conversation(engine, system="Be brief.")
    stream = talk.stream("one")
    assert (talk.turns, talk.busy, talk.messages) == (0, True, [])
    assert "".join(event.text for event in stream) == "an answer" == stream.result.text
    assert (talk.turns, talk.busy) == (1, False)
    assert talk.messages == [{"role": "user", "content": "one"}, {"role": "assistant", "content": "an answer"}]
    talk.say("two")
    assert engine.sent == [["Be brief.", "one"], ["Be brief.", "one", "an answer", "two"]]
    assert roles(engine.asked[1]["messages"]) == ["system", "user", "assistant", "user"]


def test_overrides_are_for_one_turn():
    engine = ScriptedChat()
    talk = sl.Conversation(engine, method=sl.CoT(), thinking=False, max_tokens=50, temperature=0.5)
    talk.say("one", method="selar", temperature=0.9, thinking=True)
    talk.say("two")
    first, second = engine.asked
    assert (first["method"], first["temperature"], first["thinking"]) == (sl.Selar(), 0.9, True)
    assert (second["method"], second["temperature"], second["thinking"]) == (sl.CoT(), 0.5, False)
    assert first["max_tokens"] == second["max_tokens"] == 50
    assert first["events"] is False


def test_settings_fit_together_or_stay_as_they_are():
    talk = sl.Conversation(ScriptedChat(), method="cot", temperature=0)
    for change in (
        lambda: setattr(talk, "method", "magic"),
        lambda: setattr(talk, "overflow", "shrink"),
        lambda: talk.set(temprature=1),
        lambda: talk.set(top_p=2.0),
        lambda: talk.set(max_tokens=-2),
        lambda: sl.Conversation(ScriptedChat(), temprature=1),
        lambda: sl.Conversation(ScriptedChat(), overflow=None),
        lambda: sl.Conversation(ScriptedChat(), messages=[{"role": "user"}]),
        lambda: sl.Conversation(ScriptedChat(), messages=[{"role": "villain", "content": "x"}]),
        lambda: sl.Conversation(ScriptedChat(), system="x", messages=[{"role": "system", "content": "y"}]),
    ):
        with pytest.raises(OptionError):
            change()
    assert (talk.method, talk.options, talk.overflow) == (sl.CoT(), {"temperature": 0}, "drop")
    talk.set(temperature=None, max_tokens=9)
    assert talk.options == {"max_tokens": 9} and talk.sampling.temperature == 0.6 and talk.generation.max_tokens == 9
    talk.method = sl.Selar(tau=0.3)
    assert talk.method == sl.Selar(tau=0.3)


def test_messages_to_go_on_from():
    engine = ScriptedChat()
    given_messages = [
        {"role": "system", "content": "s"}, {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
    ]  # fmt: skip
    talk = sl.Conversation(engine, messages=given_messages)
    assert (talk.system, talk.turns) == ("s", 2)
    talk.messages.clear()  # a copy
    talk.say("more")
    assert engine.sent == [["s", "hello", "q", "a", "more"]]


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        (result("half an", "cancelled"), True),
        (result("", "cancelled", thinking="Hm"), False),
        (result("", "length", thinking="Hm"), True),
        (result("all of it", "length"), True),
        (result("", "stop"), True),
        (result("half", "error"), False),
    ],
)
def test_which_turns_are_kept(answer, kept):
    engine = ScriptedChat("before", answer)
    talk = sl.Conversation(engine)
    talk.say("one")
    assert talk.say("two") == answer
    assert talk.turns == 1 + kept and not talk.busy
    if kept:
        assert talk.messages[-1] == {"role": "assistant", "content": answer.text}


def test_a_turn_that_fails_is_not_kept_and_may_be_asked_again():
    engine = ScriptedChat("a", DecodeError("broken"), "better")
    talk = sl.Conversation(engine)
    talk.say("one")
    with pytest.raises(DecodeError, match="broken"):
        talk.say("two")
    assert talk.turns == 1
    with talk.retry() as stream:
        for _ in stream:
            pass
    assert [message["content"] for message in talk.messages] == ["one", "a", "two", "better"]


def test_retry_replaces_the_answer_with_another_seed():
    engine = ScriptedChat("a1", "a2", "b1", "b2", "b3")
    talk = sl.Conversation(engine, seed=5)
    talk.say("one")
    stream = talk.retry()
    assert talk.messages[1]["content"] == "a1", "the old answer stays until there is another"
    list(stream)
    assert [message["content"] for message in talk.messages] == ["one", "a2"]
    talk.say("two")
    list(talk.retry(method="cot", seed=99))
    list(talk.retry())
    assert [turn["seed"] for turn in engine.asked] == [5, 6, 5, 99, 100]
    assert engine.asked[3]["method"] == sl.CoT() and engine.asked[4]["method"] == sl.Selar()
    assert engine.sent[2:] == [["one", "a2", "two"]] * 3


def test_retry_keeps_the_old_answer_where_the_new_one_does_not_come():
    engine = ScriptedChat("a1", result("", "cancelled"), "a3")
    talk = sl.Conversation(engine)
    talk.say("one")
    talk.retry().close()
    assert [message["content"] for message in talk.messages] == ["one", "a1"]
    list(talk.retry())
    assert [message["content"] for message in talk.messages] == ["one", "a3"]
    assert engine.sent == [["one"]] * 3


def test_retry_without_a_question():
    talk = sl.Conversation(ScriptedChat(), messages=[{"role": "assistant", "content": "hello"}])
    with pytest.raises(SelarError, match="no question"):
        talk.retry()
    assert talk.undo() is None


def test_undo_and_clear():
    engine = ScriptedChat("a", "b")
    talk = sl.Conversation(engine, system="s", max_tokens=3)
    talk.say("one")
    talk.say("two")
    assert talk.undo() == "two" and talk.turns == 1
    talk.say("three")
    assert engine.sent[-1] == ["s", "one", "a", "three"]
    talk.clear()
    assert (talk.turns, talk.system, talk.options) == (0, "s", {"max_tokens": 3})
    assert talk.undo() is None


def test_one_turn_at_a_time():
    talk = sl.Conversation(ScriptedChat("a", "b"))
    stream = talk.stream("one")
    for change in (lambda: talk.stream("two"), talk.retry, talk.undo, talk.clear):
        with pytest.raises(ConversationBusy, match="being answered"):
            change()
    stream.close()
    assert talk.say("two").text == "b"


def test_a_stream_that_nobody_keeps_is_no_turn():
    talk = sl.Conversation(ScriptedChat("a", "b"))
    talk.stream("one")
    gc.collect()
    assert not talk.busy
    talk.say("two")
    assert [message["content"] for message in talk.messages] == ["two", "b"]


def test_many_threads_one_turn_at_a_time():
    """Each thread asks until it may: every turn is kept, none is lost or doubled."""
    talk = sl.Conversation(ScriptedChat(ctx_size=100_000))
    refused = []

    def work(number):
        for turn in range(20):
            while True:
                try:
                    talk.say(f"{number}-{turn}")
                    break
                except ConversationBusy:
                    refused.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    questions = [message["content"] for message in talk.messages if message["role"] == "user"]
    assert sorted(questions) == sorted(f"{number}-{turn}" for number in range(4) for turn in range(20))
    assert roles(talk.messages) == ["user", "assistant"] * 80


def test_a_full_context_drops_the_oldest_turns_and_never_the_system_message():
    engine = ScriptedChat(*[words(8, f"a{i}") for i in range(20)], ctx_size=100)
    talk = sl.Conversation(engine, system="system message")
    for i in range(20):
        talk.say(words(2, f"q{i}"))
    assert talk.dropped > 0 and talk.turns == 20
    lengths = [len(" ".join(sent).split()) for sent in engine.sent]
    assert max(lengths) <= 75, "a quarter stays free for the answer"
    for i, sent in enumerate(engine.sent):
        assert sent[0] == "system message" and sent[-1] == words(2, f"q{i}")
        assert [text[:2] for text in sent[1:3]] in ([], ["q0", "a0"]) or sent[1].startswith("q")
    first = [sent[1] for sent in engine.sent]
    changes = sum(a != b for a, b in pairwise(first))
    assert 1 <= changes <= 5, "half of the context is freed at once, not a turn at a time"
    before = talk.messages
    assert before[0]["content"] == words(2, "q0"), "the history keeps what is no longer sent"


def test_overflow_error_sends_everything():
    engine = ScriptedChat(ctx_size=10)
    talk = sl.Conversation(engine, overflow="error")
    talk.say(words(6))
    with pytest.raises(PromptTooLong):
        talk.say(words(6))
    assert (talk.turns, talk.dropped) == (1, 0)
    talk.overflow = "drop"
    talk.say(words(6))
    assert (talk.turns, talk.dropped) == (2, 1)


def test_a_question_that_does_not_fit_alone_drops_nothing():
    engine = ScriptedChat(ctx_size=20)
    talk = sl.Conversation(engine)
    talk.say("one")
    with pytest.raises(PromptTooLong):
        talk.say(words(21))
    assert (talk.dropped, talk.turns) == (0, 1)
    talk.say(words(20))
    assert (talk.dropped, talk.turns) == (1, 2)


def test_undo_and_clear_with_dropped_turns():
    engine = ScriptedChat(*[words(10)] * 9, ctx_size=60)
    talk = sl.Conversation(engine)
    for _ in range(6):
        talk.say(words(5))
    assert 0 < talk.dropped < 6
    while talk.undo() is not None:
        assert talk.dropped <= max(talk.turns - 1, 0)
    talk.say("again")
    assert engine.sent[-1] == ["again"] and talk.dropped == 0


def test_turns_to_drop():
    """Thousands of random histories; sizes: the tokens of each turn, the new question last."""
    outcomes = set()
    for seed in range(5000):
        chance = random.Random(seed)
        sizes = [chance.randint(0, 60) for _ in range(chance.randint(1, 12))]
        size, last = chance.randint(4, 200), len(sizes) - 1
        room, dropped = chance.randint(0, size // 4), chance.randint(0, last)
        left = [size - sum(sizes[n:]) for n in range(len(sizes))]
        n = turns_to_drop(left.__getitem__, dropped, last, size, room)
        assert dropped <= n <= last, seed
        if left[dropped] >= room:
            outcomes.add("room")
            assert n == dropped, f"{seed}: nothing is dropped while there is room"
        elif left[last] < 0:
            outcomes.add("does not fit")
            assert n == dropped, f"{seed}: dropping does not help"
        elif left[last] < room:
            outcomes.add("all")
            assert n == last, f"{seed}: the answer gets all the room there is"
        else:
            outcomes.add("half" if left[last] >= size // 2 else "some")
            wanted = size // 2 if left[last] >= size // 2 else room
            assert left[n] >= wanted > left[n - 1], f"{seed}: enough is dropped, and no turn more"
    assert outcomes == {"room", "does not fit", "all", "half", "some"}


def test_turns_begin_with_questions():
    for sequence in [roles for n in range(6) for roles in product(["user", "assistant", "tool"], repeat=n)]:
        messages = [{"role": role, "content": ""} for role in sequence]
        starts = turn_starts(messages)
        assert starts == sorted({*([0] if messages else []), *(i for i, role in enumerate(sequence) if role == "user")})
        last = last_question(messages)
        assert (last is None) is ("user" not in sequence)
        assert last is None or (sequence[last] == "user" and "user" not in sequence[last + 1 :])


def test_whatever_is_done_the_prompt_fits_and_is_in_order():
    """Random turns, retries, undos and clears: what is sent fits, is a run of the last turns, and begins with one."""
    for seed in range(500):
        visit(random.Random(seed))


def visit(chance):
    ctx_size, with_system = chance.randint(8, 120), chance.random() < 0.5
    engine = ScriptedChat(ctx_size=ctx_size)
    talk = sl.Conversation(engine, system="sys" if with_system else None)
    number = 0
    for _ in range(chance.randint(1, 12)):
        action = chance.choice(["ask", "ask", "ask", "retry", "undo", "clear"])
        before = talk.messages
        if action == "undo":
            talk.undo()
            assert talk.messages == before[: last_question(before)]
        elif action == "clear":
            talk.clear()
            assert talk.messages == []
        elif action == "retry" and not talk.turns:
            continue
        else:
            number += 1
            engine._script[:] = [words(chance.randint(1, ctx_size // 2), f"a{number}")]
            question = words(chance.randint(1, ctx_size // 2), f"q{number}")
            if action == "ask":
                talk.say(question)
            else:
                before, question = before[: last_question(before)], before[last_question(before)]["content"]
                list(talk.retry())
            sent = engine.asked[-1]["messages"]
            if with_system:
                assert sent[0]["role"] == "system" and roles(sent).count("system") == 1
                sent = sent[1:]
            assert sent[0]["role"] == "user"
            whole = [*before, {"role": "user", "content": question}]
            assert sent == whole[len(whole) - len(sent) :]
            assert len(sent) == len(whole) - 2 * talk.dropped
            assert talk.messages[:-1] == whole and talk.messages[-1]["role"] == "assistant"
        used, size = talk.context
        assert size == ctx_size and used == len(
            engine.tokenize(engine.render(talk._sent(talk._messages, talk.dropped)))
        )


def test_the_context_in_use():
    talk = sl.Conversation(ScriptedChat("two words", ctx_size=40))
    assert talk.context == (0, 40)
    talk.system = "be brief"
    assert talk.context == (2, 40)
    talk.say("one more question")
    assert talk.context == (7, 40) and talk.context.share == 7 / 40


def test_saved_and_loaded(tmp_path):
    path = tmp_path / "talk.json"
    first = sl.Conversation(
        ScriptedChat("größer\n", "b"), system="Be brief.", method=sl.Selar(tau=0.3, k=5), thinking=False,
        max_tokens=40, stop=["END"], temperature=0.8,
    )  # fmt: skip
    first.say("eins \ud800")  # a lone surrogate, as terminals may give
    first.say("zwei")
    first.save(path)
    engine = ScriptedChat("c")
    second = sl.Conversation(engine, system="other", top_k=3)
    second.say("forget this")
    second.load(path)
    assert second.messages[1:] == first.messages[1:]
    assert (second.system, second.method, second.thinking) == ("Be brief.", sl.Selar(tau=0.3, k=5), False)
    assert second.options == {"max_tokens": 40, "stop": ["END"], "temperature": 0.8}
    second.say("drei")
    assert engine.sent[-1][-4:] == ["größer\n", "zwei", "b", "drei"]
    record = json.loads(path.read_text("utf-8"))
    assert (record["type"], record["version"], record["model"]) == ("conversation", 1, "scripted")
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_smaller_context_drops_turns_of_a_loaded_conversation(tmp_path):
    big = sl.Conversation(ScriptedChat(*[words(10)] * 30))
    for _ in range(30):
        big.say(words(10))
    big.save(tmp_path / "big.json")
    engine = ScriptedChat(ctx_size=200)
    small = sl.Conversation(engine)
    small.load(tmp_path / "big.json")
    small.say("x")
    assert (small.turns, small.dropped) == (31, 26)
    assert len(engine.tokenize(engine.render(engine.asked[-1]["messages"]))) <= 100


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no saved conversation"),
        ("[]", "no saved conversation"),
        ('{"messages": 3}', "no saved conversation"),
        ("[" * 100_000, "no saved conversation"),
        ('{"messages": [{"role": "user"}]}', "must have"),
        ('{"messages": ["hello"]}', "must have"),
        ('{"messages": [], "version": 2}', "version 2"),
        ('{"messages": [], "system": 3}', "system message"),
        ('{"messages": [], "thinking": 3}', "thinking"),
        ('{"messages": [], "options": []}', "options"),
        ('{"messages": [], "options": {"temprature": 1}}', "temprature"),
        ('{"messages": [], "options": {"top_p": 7}}', "top_p"),
        ('{"messages": [], "method": "selar"}', "method"),
        ('{"messages": [], "method": {"name": "magic"}}', "magic"),
        ('{"messages": [], "method": {"name": "selar", "options": {"tau": -1}}}', "tau"),
    ],
)
def test_files_that_are_no_conversation(content, reason, tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(content, "utf-8")
    talk = sl.Conversation(ScriptedChat("a"), system="s", max_tokens=9)
    talk.say("one")
    with pytest.raises(ConversationFileError, match=reason) as caught:
        talk.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert (talk.turns, talk.system, talk.options, talk.method) == (1, "s", {"max_tokens": 9}, sl.Selar())


def test_a_file_with_messages_alone_keeps_the_settings(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text('{"messages": [{"role": "user", "content": "q"}], "unknown": 1}', "utf-8")
    talk = sl.Conversation(ScriptedChat(), method="cot", max_tokens=9)
    talk.load(path)
    assert (talk.turns, talk.method, talk.options) == (1, sl.CoT(), {"max_tokens": 9})


def test_a_file_of_an_older_version_may_have_a_removed_option(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text('{"messages": [], "method": {"name": "selar", "options": {"k": 5, "batch_gate": false}}}', "utf-8")
    talk = sl.Conversation(ScriptedChat())
    talk.load(path)
    assert talk.method == sl.Selar(k=5)


def test_files_that_cannot_be_read_or_written(tmp_path):
    talk = sl.Conversation(ScriptedChat("a"))
    for broken in (
        lambda: talk.load(tmp_path / "none"),
        lambda: talk.load(tmp_path),
        lambda: talk.save(tmp_path / "n/x"),
    ):
        with pytest.raises(ConversationFileError, match="cannot"):
            broken()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(ConversationFileError, match="no saved"):
            talk.load(tmp_path / "pipe")


def test_it_says_what_it_is():
    engine = ScriptedChat(*[words(10)] * 9, ctx_size=60)
    talk = sl.Conversation(engine, method="cot")
    assert repr(talk) == "<Conversation: 0 turns, method cot>"
    for _ in range(4):
        talk.say(words(5))
    stream = talk.stream("x")
    assert repr(talk) == f"<Conversation: 4 turns, {talk.dropped} of them dropped, method cot, answering>"
    stream.close()


@pytest.mark.parametrize("isolated", [False, True])
def test_on_a_real_engine(isolated, model):
    with sl.load(model, threads=1, ctx_size=512, isolated=isolated) as engine:
        talk = sl.Conversation(engine, system="Be brief.", seed=1, max_tokens=6)
        first = talk.say("one")
        used = talk.context.used
        assert first.usage.prompt_tokens < used < 512
        second = talk.say("two")
        assert second.usage.prompt_tokens > used
        again = talk.retry()
        assert "".join(event.text for event in again) == again.result.text and again.seed == 2
        history = [{"role": "system", "content": "Be brief."}, *talk.messages[:-1]]
        assert again.result.text == engine.generate(messages=history, seed=2, max_tokens=6).text
        with talk.stream("a long one", max_tokens=None) as stream:
            next(stream)
        assert stream.result.finish_reason == "cancelled" and not talk.busy
        for _ in range(20):
            talk.say("word " * 10)
        assert talk.dropped > 0
        assert engine.tokenize(engine.render([{"role": "system", "content": talk.system}]))  # it is still in use
