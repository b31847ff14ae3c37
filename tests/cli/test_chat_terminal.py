"""The chat's editor on a real pseudo-terminal: pastes, several lines, history, completion, Ctrl-C at any moment."""

from __future__ import annotations

import json
import random
import stat
import time

import pytest

OPTIONS = ("-t", "1", "--seed", "1", "-n", "2", "--no-color")
PASTE, PASTED = "\x1b[200~", "\x1b[201~"
ALT_ENTER, UP, DOWN, END = "\x1b\r", "\x1b[A", "\x1b[B", "\x05"
FIVE = ["Fix this code:", "def f(x):", "    return x +", "", "print(f(1))"]
ANSWERED = " tokens, "  # the meter after an answer


@pytest.fixture
def visit(terminal, chat_model, tmp_path):
    """`visit(*options)` starts a chat and waits for its prompt; each test has a history of its own."""

    def start(*options, **environment):
        settings = {"SELAR_LOCAL_CACHE": str(tmp_path / "cache"), **environment}
        return terminal("run", chat_model, *OPTIONS, *options, **settings).expect(">>> ")

    return start


@pytest.fixture
def questions(tmp_path):
    """`questions(chat)` leaves the chat; what was asked in it."""

    def ask(chat):
        path = tmp_path / f"{time.monotonic_ns()}.json"
        chat.type(f"/save {path}\r").expect("saved: ").type("/bye\r")
        assert chat.end() == 0 and "Traceback" not in chat.text
        messages = json.loads(path.read_text("utf-8"))["messages"]
        return [message["content"] for message in messages if message["role"] == "user"]

    return ask


def test_a_paste_of_five_lines_is_one_message(visit, questions):
    chat = visit()
    assert "\x1b[?2004h" in chat.screen, "the terminal is asked to mark pastes"
    chat.type(PASTE + "\r".join(FIVE) + PASTED).expect("print(f(1))").type("\r").expect(ANSWERED)
    assert questions(chat) == ["\n".join(FIVE)]


def test_a_paste_that_the_terminal_does_not_mark_is_one_message_too(visit, questions):
    chat = visit()
    chat.type("\n".join(FIVE) + "\n").expect(ANSWERED).expect(">>> ").rest(0.3)
    long = [f"line {i} of a longer text" for i in range(200)]  # more than what is read at once
    chat.type("\n".join(long) + "\n").expect(ANSWERED)
    assert questions(chat) == ["\n".join(FIVE), "\n".join(long)]


def test_a_paste_is_part_of_what_is_typed(visit, questions):
    chat = visit()
    chat.type("before ").type(PASTE + "one\n\ttwo" + PASTED).type(" after\r").expect(ANSWERED)
    assert "^I" not in chat.text, "tabs look like spaces"
    assert questions(chat) == ["before one\n\ttwo after"]


def test_what_is_typed_during_an_answer_waits_for_the_next_prompt(visit, questions):
    chat = visit("-c", "60000")
    chat.type("/set n 1000\r").expect("max_tokens = 1000").type("first\r").expect("\n").expect("\n")
    chat.type("second\r").type("/set n 2\r").type(PASTE + "third\nwith two lines" + PASTED).expect(ANSWERED)
    answer = chat.text[chat.text.rindex("first") : chat.text.index("1000 tokens")]
    assert "second" not in answer and "third" not in answer, "keys do not show within the answer"
    chat.expect(ANSWERED).expect("max_tokens = 2").expect("with two lines").type("\r").expect(ANSWERED)
    assert questions(chat) == ["first", "second", "third\nwith two lines"]


def test_bytes_that_are_no_text(visit, questions):
    chat = visit()
    chat.type("caf\udce9 größer 天\r").expect(ANSWERED)
    assert questions(chat) == ["caf\ufffd größer 天"]


def test_several_lines_by_hand(visit, questions):
    chat = visit()
    chat.type("one").type(ALT_ENTER).expect("... ").type("three").type(UP + END + " and two\r").expect(ANSWERED)
    chat.type('"""').type("\r").expect("... ").type("/set is a word\r").type('"""\r').expect(ANSWERED)
    assert questions(chat) == ["one and two\nthree", "/set is a word"]


def test_what_was_typed_is_there_in_the_next_chat(visit, questions, tmp_path):
    first = visit()
    first.type(PASTE + "remember\nthis" + PASTED + "\r").expect(ANSWERED).type("/bye\r")
    assert first.end() == 0
    history = tmp_path / "cache" / "chat-history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    second = visit()
    second.type(UP + UP).expect("remember").expect("this").type("\r").expect(ANSWERED)
    assert questions(second) == ["remember\nthis"]
    before = history.read_bytes()
    third = visit("--no-history")
    third.type("a secret\r").expect(ANSWERED).type(UP).expect("a secret").type("\r").expect(ANSWERED)
    assert questions(third) == ["a secret"] * 2, "within one chat"
    assert history.read_bytes() == before
    fourth = visit("--no-history")
    fourth.type(UP + "x\r").expect(ANSWERED)
    assert questions(fourth) == ["x"]


def test_a_history_that_cannot_be_written_ends_nothing(visit, questions, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be", "utf-8")
    chat = visit()
    chat.type("hello\r").expect(ANSWERED)
    assert questions(chat) == ["hello"]


def test_tab_completes(visit, questions, tmp_path, monkeypatch):
    (tmp_path / "a-long-name.txt").write_text("text", "utf-8")
    monkeypatch.chdir(tmp_path)  # a longer path would be cut by the edge of the screen
    chat = visit()
    chat.type("/meth\t").expect("/method").type(" cot-g\t").expect("cot-greedy").type("\r").expect("method cot-greedy")
    chat.type("/set max\t").expect("max_tokens").type(" 3\r").expect("max_tokens = 3")
    chat.type("/file a-l\t").expect("a-long-name.txt").type(" what?\r").expect(ANSWERED)
    assert questions(chat) == ["a-long-name.txt:\n```\ntext\n```\n\nwhat?"]


def test_a_completion_that_was_chosen_is_taken_by_enter(visit):
    chat = visit()
    chat.type("/").expect("retry").type("\t\t\t").rest(0.5).type("\r").rest(0.5)
    assert "error" not in chat.text
    chat.type("\r").expect("no question to ask again").expect(">>> ").type("\x04")
    assert chat.end() == 0


def test_leaving_and_ctrl_c_at_the_prompt(visit):
    chat = visit()
    chat.type("half a line").expect("half a line").type("\x03").expect("leaves").expect(">>> ")
    chat.type("\x03").expect("leaves").expect(">>> ").type("\x04")
    assert chat.end() == 0


@pytest.mark.parametrize("seed", range(4))
def test_ctrl_c_at_any_moment_is_no_traceback(visit, seed):
    """Keys and signals at random moments; in the end the chat still answers."""
    chance = random.Random(seed)
    chat = visit("-c", "60000")
    chat.type("/set n 500\r").expect("max_tokens = 500")
    for _ in range(12):
        chat.type(chance.choice(["hello\r", "a\rb\r", "/retry\r", "/context\r", "text", "/undo\r"]))
        chat.rest(chance.random() * chance.choice([0.02, 0.2, 0.6]))
        for _ in range(chance.randint(1, 3)):
            if chance.random() < 0.5:
                chat.type("\x03")
            else:
                chat.interrupt()
            chat.rest(chance.random() * 0.05)
    chat.rest(1)
    chat.ctrl_c_until("leaves").type("/set n 1\r").expect("max_tokens = 1").type("hello\r").expect(ANSWERED)
    chat.type("\x04")
    assert chat.end() == 0
    for words in ("Traceback", "Exception ignored", "never awaited", "never retrieved"):
        assert words not in chat.text


def test_a_terminal_without_a_cursor_gets_plain_lines(visit, questions):
    chat = visit(TERM="dumb")
    chat.type("hello\n").expect(ANSWERED).expect(">>> ")
    chat.type('"""two\nlines"""\n').expect(ANSWERED).expect(">>> ")
    assert "\x1b[" not in chat.screen
    path_questions = questions(chat)
    assert path_questions == ["hello", "two\nlines"]


def test_words_wrap_and_the_terminal_is_as_it_was(visit):
    import termios

    chat = visit()
    chat.type("\x04")
    assert chat.end() == 0
    assert chat.screen.rfind("\x1b[?2004l") > chat.screen.rfind("\x1b[?2004h")
    flags = termios.tcgetattr(chat._fd)[3]
    assert flags & termios.ECHO and flags & termios.ICANON
