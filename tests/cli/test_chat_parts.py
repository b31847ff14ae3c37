"""Parts of the chat: which lines are commands, paths of files, completion, the history's file, Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

import selar_local as sl
from selar_local.cli.chat_commands import COMMANDS, LEAVE, help_text, is_command, parse
from selar_local.cli.chat_editor import ChatCompleter, ChatHistory, history_file
from selar_local.cli.chat_files import AttachedFile, split_path, unquoted_path, with_files
from selar_local.cli.chat_input import PlainLines, open_reader, quotes_open, unquoted
from selar_local.cli.keyboard import Interrupts, can_edit
from selar_local.errors import OptionError
from selar_local.methods import METHODS

ENGINE: Any = SimpleNamespace(info=SimpleNamespace(no_vectors=None, sampling={}))  # asked nothing else

NAMES = [command.name for command in COMMANDS]


@pytest.mark.parametrize("name", [*NAMES, *LEAVE, "?"])
def test_commands_and_what_follows_them(name):
    known = "help" if name == "?" else name
    assert parse(f"/{name}") == (known, "") and parse(f"/{name}  a b \n c ") == (known, "a b \n c")
    assert is_command(f"/{name} x") and not is_command(name) and not is_command(f"//{name}")
    assert parse(f" /{name}") is None, "a space before it: a message"


@pytest.mark.parametrize(
    "text",
    [
        "hello", "", "// what is this?", "//", "/* comment */", "/ 2", "/24 is what?", "/-", "/etc/fstab", "/a/b c",
        "/helpx/y", "/tmp is full, see /var", "/nothing\nof several lines", "/ä/ö", "/_x y",
    ],
)  # fmt: skip
def test_messages(text):
    assert parse(text) is None


@pytest.mark.parametrize("text", ["/", "/ ", "/nothing", "/nothing here", "/hepl", "/savee a/b", "/filee\nx"])
def test_neither(text):
    with pytest.raises(OptionError, match=r'/help lists them .*// before it or """'):
        parse(text)


def test_every_word_is_a_command_or_a_message_or_an_error():
    """Thousands of lines: what is no command, and is not near one, is a message where the rule says so."""
    kinds = {"command": 0, "message": 0, "error": 0}
    pieces = ["", "a", "set", "zzqq", "/", "1", " ", "x y", "\n", "é"]
    for parts in product(pieces, repeat=4):
        text = "/" + "".join(parts)
        try:
            kind = "message" if parse(text) is None else "command"
        except OptionError:
            kind = "error"
        kinds[kind] += 1
        first, *_ = text[1:].split(maxsplit=1) if text[1:].strip() and not text[1].isspace() else [""]
        if first in NAMES:
            assert kind == "command"
        elif text.strip() == "/":
            assert kind == "error"
        elif not first[:1].isalpha() or "/" in first:
            assert kind == "message", text
        elif "/" not in text[1:] and "\n" not in text.strip():
            assert kind == "error", text
    assert all(kinds.values())


def test_the_help_names_every_command_and_method():
    text = help_text("the keys")
    assert max(map(len, text.splitlines())) <= 80
    assert all(f"/{name}" in text for name in NAMES) and "the keys" in text and all(name in text for name in METHODS)


@pytest.mark.parametrize(
    ("text", "opened", "inner"),
    [
        ("plain", False, ("plain", False)),
        ('"""', True, ('"""', False)),
        ('"""one', True, ('"""one', False)),
        ('"""one"""', False, ("one", True)),
        ('"""\none\ntwo\n"""', False, ("one\ntwo", True)),
        ('"""Docstring."""\nx = 1', False, ('"""Docstring."""\nx = 1', False)),
        ('x = """a"""', False, ('x = """a"""', False)),
        ('"""a""" and """b"""', False, ('"""a""" and """b"""', False)),
        ('""""""', False, ("", True)),
    ],
)
def test_triple_quotes(text, opened, inner):
    assert quotes_open(text) is opened and unquoted(text) == inner


@pytest.mark.parametrize(
    ("typed", "path", "rest"),
    [
        ("a.txt", "a.txt", ""),
        ("a.txt what is this?", "a.txt", "what is this?"),
        ("a b.txt", "a b.txt", ""),
        ("a b.txt what?", "a b.txt", "what?"),
        ("'a b.txt' what?", "a b.txt", "what?"),
        ('"a b.txt"', "a b.txt", ""),
        (r"a\ b.txt what?", "a b.txt", "what?"),
        ("none.txt what?", "none.txt", "what?"),
        (r"no\ ne.txt what?", "no ne.txt", "what?"),
        ("a.txt\nseveral\nlines", "a.txt", "several\nlines"),
        ("folder/c.txt x", "folder/c.txt", "x"),
    ],
)
def test_paths_and_the_text_after_them(typed, path, rest, tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    for name in ("a.txt", "a b.txt", "folder/c.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert split_path(typed) == (Path(path), rest)


def test_paths_at_home_and_none(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert split_path("~/x.txt y") == (tmp_path / "x.txt", "y") and unquoted_path('"~/a b"') == tmp_path / "a b"
    assert split_path("~nobody-of-this-name/x") == (Path("~nobody-of-this-name/x"), "")
    for empty in (split_path, unquoted_path):
        with pytest.raises(OptionError):
            empty("")


def test_files_without_a_question():
    assert with_files([AttachedFile("a", "x\n")], "") == "a:\n```\nx\n```"
    assert with_files([], "q") == "q"


def test_what_tab_offers(tmp_path, monkeypatch):
    talk = sl.Conversation(ENGINE)

    def offered(text):
        found = ChatCompleter(talk).get_completions(Document(text), CompleteEvent())
        return [text[: len(text) + one.start_position] + one.text for one in found]

    assert offered("/") == [f"/{name}" for name in NAMES] and offered("/s") == ["/save", "/set", "/show", "/system"]
    assert offered("/method s") == ["/method selar", "/method soft-thinking", "/method swir"]
    assert offered("/retry cot") == ["/retry cot", "/retry cot-greedy"]
    assert offered("/set top") == ["/set top_k", "/set top_p"] and offered("/set --max-t") == ["/set --max_tokens"]
    assert "/set tau" in offered("/set ") and "/set overflow" in offered("/set ")
    assert offered("/set scope ") == ["/set scope all", "/set scope thinking", "/set scope default"]
    assert offered("/set symbol-guard o") == ["/set symbol-guard on", "/set symbol-guard off"]
    assert offered("/set magic ") == offered("/clear x") == offered("/nothing x") == offered("/load /no/such/x") == []
    (tmp_path / "folder").mkdir()
    for name in ("notes.txt", "novel.txt", ".hidden"):
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    assert offered("/file no") == ["/file notes.txt", "/file novel.txt"]
    assert offered("/load ") == [f"/load folder{os.sep}", "/load notes.txt", "/load novel.txt"]
    assert offered(f"/save {tmp_path}/.h") == [f"/save {tmp_path}/.hidden"]
    talk.method = "cot"
    assert "/set tau" not in offered("/set ")


def test_the_history_is_private_and_forgets_its_older_half(tmp_path, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / "new"))
    first = ChatHistory()
    for i in range(3):
        first.append_string(f"turn {i}\nline two")
    assert list(ChatHistory().load_history_strings()) == [f"turn {i}\nline two" for i in (2, 1, 0)]
    assert sys.platform == "win32" or stat.S_IMODE(history_file().stat().st_mode) == 0o600
    for i in range(30):
        first.append_string(f"long {i} " + "x" * 50_000)
    kept = list(ChatHistory().load_history_strings())
    assert history_file().stat().st_size < 1 << 20
    assert 8 <= len(kept) <= 15 and kept[0].startswith("long 29 ") and all(len(text) > 50_000 for text in kept)


def test_a_history_that_cannot_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "chat-history").mkdir(parents=True)
    for folder in ("file", "folder"):
        monkeypatch.setenv("SELAR_LOCAL_CACHE", str(tmp_path / folder))
        history = ChatHistory()
        history.append_string("x")
        assert list(history.load_history_strings()) == []
    monkeypatch.setattr("selar_local.cli.chat_editor.history_file", _no_home)
    assert list(ChatHistory().load_history_strings()) == []


def _no_home():
    raise RuntimeError("no home")


def test_interrupts_count_only_where_something_can_be_stopped():
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interrupts.stoppable():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_leave_other_handlers_alone(monkeypatch):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:
        with Interrupts():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [1]


def test_without_a_terminal_there_are_plain_lines():
    assert not can_edit()
    assert isinstance(open_reader(Interrupts(), sl.Conversation(ENGINE), history=False, colors=False), PlainLines)
