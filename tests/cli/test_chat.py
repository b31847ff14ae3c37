"""The chat, on a pseudo-terminal: history, commands, Ctrl-C and Ctrl-D at every moment."""

from __future__ import annotations

import builtins
import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

import selar_local as sl
from selar_local.cli.chat import Chat
from selar_local.cli.chat_options import find_option, set_option
from selar_local.config import GenerationConfig, SamplingConfig
from selar_local.engine.engine import Engine
from selar_local.errors import OptionError
from selar_local.options import described

ENGINE: Any = SimpleNamespace(info=SimpleNamespace(no_vectors=None, sampling={}))  # asked nothing else

OPTIONS = ("-t", "1", "--seed", "1")


@pytest.fixture
def typed(monkeypatch, cli, chat_model):
    """`typed(lines)` talks in this process: what was written, and the messages each turn was given."""

    def call(*lines, options=(*OPTIONS, "-n", "6"), model=chat_model):
        waiting = [*lines]
        asked = []

        def read(prompt=""):
            if not waiting:
                raise EOFError
            line = waiting.pop(0)
            if isinstance(line, BaseException):
                raise line
            return line

        stream = Engine.stream

        def noted(self, *positional, **request):
            asked.append(request["messages"])
            return stream(self, *positional, **request)

        monkeypatch.setattr(builtins, "input", read)
        monkeypatch.setattr("selar_local.cli.prompt.is_terminal", lambda stream: True)
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "stream", noted)
            done = cli("run", model, *options)
        return done, asked

    return call


@pytest.fixture
def conversation():
    return sl.Conversation(ENGINE, method="selar")


def said(message):
    return message["role"], message["content"]


def test_the_conversation_is_remembered_and_forgotten(typed):
    done, asked = typed("one", "two", "/clear", "three")
    assert done.code == 0
    assert [len(messages) for messages in asked] == [1, 3, 1]
    answer = asked[1][1]
    assert said(asked[1][0]) == ("user", "one") and said(asked[1][2]) == ("user", "two")
    assert answer["role"] == "assistant" and done.out.startswith(answer["content"])
    assert "forgotten" in done.err


def test_a_system_message_may_change(typed):
    done, asked = typed("one", "/system Be terse.", "two", "/show", "/system", "three", options=(*OPTIONS, "-n", "2"))
    assert [messages[0]["role"] for messages in asked] == ["user", "system", "user"]
    assert asked[1][0]["content"] == "Be terse." and "system message: Be terse." in done.err


def test_options_and_methods_may_change(typed):
    lines = ["/set tau 0.25", "/set tau", "/set symbol-guard off", "/set magic 1", "/set temperature=0.9", "/show"]
    done, _ = typed(*lines, "/method cot", "/set tau 0.3", "/set ctx_size 9", "/set k 1", "/method selar", "/set k 1")
    notes, errors = done.err.splitlines(), [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert notes.count("tau = 0.25") == 2 and "temperature = 0.9" in notes
    assert "method selar: k 3, tau 0.25, contrast 1.0, symbol_guard off" in done.err
    assert "method cot: no options" in notes
    assert len(errors) == 5
    for error, words in zip(errors, ["'magic'", "'tau' with method cot", "fixed", "'k'", "between 2"], strict=True):
        assert words in error


@pytest.mark.parametrize(
    ("typed_option", "said_back"),
    [
        ("temp 0.9", "temperature = 0.9"),
        ("--temp 0.9", "temperature = 0.9"),
        ("temp=0.9", "temperature = 0.9"),
        ("-n 5", "max_tokens = 5"),
        ("max-tokens 5", "max_tokens = 5"),
        ("s 3", "seed = 3"),
        ("no-symbol-guard", "symbol_guard = off"),
        ("--symbol-guard off", "symbol_guard = off"),
        ("greedy on", "greedy = on"),
        ("no-thinking", "thinking = off"),
        ("overflow error", "overflow = error"),
        ("stop a=b", "stop = 'a=b'"),
        ("j {}", "json_schema = {}"),
    ],
)
def test_every_flag_of_an_option_works_in_set(typed_option, said_back, conversation):
    assert set_option(conversation, typed_option) == said_back
    name = typed_option.replace("=", " ").split()[0].removeprefix("--no-").removeprefix("no-")
    if name != "greedy":  # a flag without a value shows
        assert set_option(conversation, name) == said_back
    set_option(conversation, f"{name} default")
    assert conversation.options == {} and conversation.method == sl.Selar()
    assert (conversation.thinking, conversation.overflow) == (None, "drop")


def test_every_flag_of_run_that_has_an_effect_on_turns_is_known(conversation):
    classes = (sl.Selar, SamplingConfig, GenerationConfig)
    for cls in classes:
        for option in described(cls):
            for flag in [flag for declared in option.flags for flag in declared.split("/")]:
                assert find_option(conversation, flag).option.name == option.name
                assert find_option(conversation, flag.lstrip("-")).option.name == option.name


@pytest.mark.parametrize(
    ("typed_option", "words"),
    [
        ("", "as in"), ("nothing 1", "'nothing' with method selar"), ("-c 9", "fixed"), ("ctx-size 9", "fixed"),
        ("system x", "/system"), ("no-symbol-guard on", "no value"), ("overflow shrink", "overflow"), ("tau 1e", "tau"),
        ("n -2", "max_tokens"), ("window_size 3", "'window_size' with method selar"),
    ],
)  # fmt: skip
def test_wrong_options_change_nothing(typed_option, words, conversation):
    with pytest.raises(OptionError, match=re.escape(words)):
        set_option(conversation, typed_option)
    assert conversation.options == {} and conversation.method == sl.Selar() and conversation.overflow == "drop"


def test_mistakes_are_told_and_the_chat_goes_on(typed):
    lines = [
        "/nonsense",
        "/",
        "/set",
        "/method magic",
        "/set tau many",
        "",
        "  ",
        "ho",
        "x " * 300,
        "hi",
        "/bye",
        "never",
    ]
    done, asked = typed(*lines, options=(*OPTIONS, "-n", "6", "-c", "256", "--overflow", "error"))
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    for error, words in zip(errors, ["/nonsense", "/help", "as in", "magic", "many", "/clear"], strict=True):
        assert words in error
    assert len(asked) == 3 and len(asked[2]) == 3  # the turn that failed is not remembered


def test_an_option_without_effect_is_noted_once(typed):
    done, asked = typed("one", "two", options=(*OPTIONS, "-n", "6", "--thinking"))
    assert len(asked) == 2
    assert done.err.count("thinking has no effect: the chat template of this model has no switch for it") == 1


def test_help_lists_every_command(typed):
    done, _ = typed("/help", "/?")
    commands = {name.removeprefix("_do_") for name in vars(Chat) if name.startswith("_do_")}
    for name in commands:
        assert done.err.count(f"\n/{name}") >= 1
    assert done.err.count("/bye") >= 2


def test_several_lines_at_once(typed):
    _, asked = typed('"""one', "two", 'three"""', '"""one line"""')
    assert [messages[-1]["content"] for messages in asked] == ["one\ntwo\nthree", "one line"]


def test_an_answer_that_explored_often_ends_with_advice_that_can_be_set(typed):
    options = (*OPTIONS, "-n", "30", "--tau", "0.2", "--no-symbol-guard")
    done, asked = typed("one", "/set --max-share 0.15", "two", options=options)
    hints = [line for line in done.err.splitlines() if "of the steps explored" in line]
    assert (
        len(asked) == 2
        and len(hints) == 1
        and hints[0].endswith("Try --contrast 0, --anchor 0.5 and --max-share 0.15.")
    )
    assert "max_share = 0.15" in done.err


def test_messages_that_begin_with_a_slash(typed):
    lines = ["/etc/fstab has noatime, what is that?", "// is what kind of comment?", "/* and this? */", "/nosuch a"]
    more = ["/tmp is full, see /var", '"""/set is a word"""', "/savv a/b", "/24 subnets"]
    done, asked = typed(*lines, *more, options=(*OPTIONS, "-n", "1"))
    questions = [messages[-1]["content"] for messages in asked]
    assert questions == [*lines[:3], more[0], "/set is a word", more[3]]
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and all("//" in error and '"""' in error for error in errors)
    assert "/nosuch" in errors[0] and "did you mean /save?" in errors[1]


def test_retry_and_undo(typed):
    lines = ["one", "two", "/retry", "/retry cot", "/undo", "three", "/undo", "/undo", "/undo", "/retry"]
    done, asked = typed(*lines, options=("-t", "1", "-n", "3", "--seed", "5"))
    assert [[message["content"] for message in messages][::2] for messages in asked] == [
        ["one"], ["one", "two"], ["one", "two"], ["one", "two"], ["one", "three"],
    ]  # fmt: skip
    seeds = re.findall(r"seed (\d+)", done.err)
    assert seeds == ["5", "5", "6", "7", "5"]
    assert done.err.count("% exploration") == 4, "the turn by cot has none"
    assert done.err.count("forgotten: ") == 3 and done.err.count("error: there is no question") == 2


def test_greedy_retries_say_that_nothing_changes(typed):
    done, _ = typed("one", "/retry", options=(*OPTIONS, "-n", "1", "--method", "cot-greedy"))
    assert "every seed gives the same answer" in done.err


def test_files_go_with_a_message(typed, tmp_path):
    plain, spaced = tmp_path / "notes.txt", tmp_path / "my notes.md"
    plain.write_text("first line\n", "utf-8")
    spaced.write_text("```py\ncode\n```\n", "utf-8")
    escaped = str(spaced).replace(" ", "\\ ")
    lines = [
        f"/file {plain}", f"/file {spaced}", "/file", "what is this?",
        f"/file {plain} and this?", f'/file "{spaced}" quoted?', f"/file {escaped} dropped?",
        f"/file {plain}", "/clear", "bare",
    ]  # fmt: skip
    done, asked = typed(*lines, options=(*OPTIONS, "-n", "1"))
    first = "notes.txt:\n```\nfirst line\n```"
    second = "my notes.md:\n````\n```py\ncode\n```\n````"
    assert [messages[-1]["content"] for messages in asked] == [
        f"{first}\n\n{second}\n\nwhat is this?", f"{first}\n\nand this?", f"{second}\n\nquoted?",
        f"{second}\n\ndropped?", "bare",
    ]  # fmt: skip
    assert "with the next message: notes.txt, my notes.md" in done.err


def test_files_that_cannot_go_with_a_message(typed, tmp_path, chat_model):
    (tmp_path / "long.txt").write_text("ab " * 400, "utf-8")
    (tmp_path / "empty").write_text("")
    (tmp_path / "utf16.txt").write_bytes("gr\u00f6\u00dfer".encode("utf-16"))
    paths = [tmp_path / "none.txt", tmp_path, tmp_path / "long.txt", chat_model, '"', f"{tmp_path / 'utf16.txt'} ?"]
    done, asked = typed(*[f"/file {path}" for path in paths], options=(*OPTIONS, "-n", "1", "-c", "256"))
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    for error, words in zip(
        errors, ["cannot read", "not a file", "tokens", "not a text file", "cannot read"], strict=True
    ):
        assert re.search(words, error)
    assert len(asked) == 1 and "gr\u00f6\u00dfer" in asked[0][-1]["content"]


def test_saved_and_loaded(typed, tmp_path):
    path, other = tmp_path / "talk.json", tmp_path / "other.txt"
    other.write_text("mine", "utf-8")
    lines = [
        "/system Be brief.",
        "one",
        "/method cot",
        "/set temp 0.9",
        f"/save {path}",
        f"/save {path}",
        f"/save {other}",
    ]
    done, _ = typed(*lines, "/save", "/save " + str(tmp_path), options=(*OPTIONS, "-n", "2"))
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3 and "other.txt is there already" in errors[0] and "missing" in errors[1]
    assert other.read_text("utf-8") == "mine" and done.err.count(f"saved: {path}, 1 turn") == 2
    done, asked = typed(
        f'/load "{path}"', "two", f"/load {other}", f"/load {tmp_path / 'none'}", options=(*OPTIONS, "-n", "1")
    )
    assert [message["role"] for message in asked[0]] == ["system", "user", "assistant", "user"]
    assert "loaded: " in done.err and "method cot: no options" in done.err and "temperature 0.9" in done.err
    assert done.err.count("error: ") == 2


def test_a_full_context_drops_the_oldest_turns_and_says_so(typed):
    words = "ab " * 20
    done, asked = typed("/system S", *[words] * 8, "/context", options=(*OPTIONS, "-n", "4", "-c", "256"))
    assert all(messages[0]["role"] == "system" and messages[1]["role"] == "user" for messages in asked)
    assert len(asked) == 8 and max(len(messages) for messages in asked) < 16
    dropped = re.findall(r"the context was full: (?:the (\d+) oldest turns are|(the) oldest turn is)", done.err)
    assert dropped
    total = sum(int(many or 1) for many, _ in dropped)
    assert f"8 turns, the oldest {total} no longer sent" in done.err
    meters = [(int(used), int(size)) for used, size in re.findall(r"\[context (\d+) of (\d+) tokens", done.err)]
    assert len(meters) == 8 and all(0 < used < size == 256 for used, size in meters)


def test_a_turn_that_is_stopped_before_its_answer_may_be_asked_again(typed, monkeypatch):
    from selar_local.engine.stream import Stream

    original, presses = Stream.__next__, [KeyboardInterrupt]

    def first(self):
        if presses:
            raise presses.pop()
        return original(self)

    monkeypatch.setattr(Stream, "__next__", first)
    done, asked = typed("one", "/retry", options=(*OPTIONS, "-n", "2"))
    assert "not kept" in done.err and [len(messages) for messages in asked] == [1, 1]


def test_a_second_ctrl_c_while_the_first_is_obeyed(typed, monkeypatch):
    from selar_local.engine.stream import Stream

    presses, original, close = [KeyboardInterrupt] * 4, Stream.__next__, Stream.close

    def pressed(function):
        def call(self):
            if presses:
                raise presses.pop()
            return function(self)

        return call

    monkeypatch.setattr(Stream, "__next__", pressed(original))
    monkeypatch.setattr(Stream, "close", pressed(close))
    done, asked = typed("one", KeyboardInterrupt(), "two", "three")
    assert done.code == 0 and done.err.count("not kept") == 2 and "/bye or Ctrl-D" in done.err
    assert len(asked) == 3 and len(asked[2]) == 1


def test_on_a_terminal(chat_model, terminal):
    """A whole visit: greeting, an answer with colours, Ctrl-C in the answer, twice at the prompt, Ctrl-D."""
    visit = terminal("run", chat_model, *OPTIONS, "-c", "60000")
    visit.chat("Hello").expect("\n").expect("\n").type("\x03").expect("cancelled")
    visit.expect(">>> ").type("half a line").expect("half a line").ctrl_c_until("leaves")
    visit.expect(">>> ").ctrl_c_until("leaves")
    visit.chat("/set max_tokens 4").expect("max_tokens = 4")
    visit.chat("x" * 3000).expect("4 tokens")
    visit.expect(">>> ").type("\x04")
    assert visit.end() == 0
    assert "/help for commands" in visit.text and "exploration steps are marked like this" in visit.text
    assert "\x1b[95m\x1b[4m" in visit.screen
    assert visit.text.count("% exploration steps") == 2 and "Traceback" not in visit.text


def test_ctrl_c_while_a_long_prompt_is_read(model, tmp_path, terminal):
    prompt = tmp_path / "long.txt"
    prompt.write_text("ab cd ef " * 6000)
    visit = terminal("run", model, "--raw", "-f", prompt, "-c", "60000", *OPTIONS, "--json")
    visit.expect("reading the prompt").type("\x03")
    assert visit.end() == 130
    answer = json.loads(visit.text[visit.text.index("{") :])
    assert (answer["finish_reason"], answer["tokens"]) == ("cancelled", 0)


def test_a_model_that_takes_ids_alone(typed, family_model):
    done, _ = typed("Hello", "again", "/method selar", "no", "/method cot", "yes", model=family_model("glm4"))
    assert done.code == 0 and "· cot ·" in done.err
    assert done.err.count("soft methods cannot be used: ") == 1
    assert done.err.count("error: selar cannot be used, cot can: ") == 1
