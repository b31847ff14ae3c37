"""The chat, on a pseudo-terminal: history, commands, Ctrl-C and Ctrl-D at every moment."""

from __future__ import annotations

import builtins
import json

import pytest

from selar_local.cli import chat as chat_module

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

        show = chat_module.Session.show

        def noted(self, engine, trace=None, **request):
            asked.append(request["messages"])
            return show(self, engine, trace, **request)

        monkeypatch.setattr(builtins, "input", read)
        monkeypatch.setattr("selar_local.cli.prompt.is_terminal", lambda stream: True)
        with monkeypatch.context() as patch:
            patch.setattr(chat_module.Session, "show", noted)
            done = cli("run", model, *options)
        return done, asked

    return call


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
    lines = ["/set tau 0.25", "/set tau", "/set symbol-guard off", "/set n 1", "/set temperature=0.9", "/show"]
    done, _ = typed(*lines, "/method cot", "/set tau 0.3", "/set ctx_size 9", "/set k 1", "/method selar", "/set k 1")
    notes, errors = done.err.splitlines(), [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert notes.count("tau = 0.25") == 2 and "temperature = 0.9" in notes
    assert "method selar: k 3, tau 0.25, contrast 1.0, symbol_guard off" in done.err
    assert "method cot: no options" in notes
    assert len(errors) == 5
    for error, words in zip(errors, ["'n'", "'tau' with method cot", "fixed", "'k'", "between 2"], strict=True):
        assert words in error


def test_mistakes_are_told_and_the_chat_goes_on(typed):
    lines = ["/nonsense", "/", "/set", "/method magic", "/set tau many", "", "  ", "x " * 300, "hi", "/bye", "never"]
    done, asked = typed(*lines, options=(*OPTIONS, "-n", "6", "-c", "256"))
    errors = [line for line in done.err.splitlines() if line.startswith("error: ")]
    for error, words in zip(errors, ["/nonsense", "/help", "as in", "magic", "many", "/clear"], strict=True):
        assert words in error
    assert len(asked) == 2 and len(asked[1]) == 1  # the turn that failed is not remembered


def test_an_option_without_effect_is_noted_once(typed):
    done, asked = typed("one", "two", options=(*OPTIONS, "-n", "6", "--thinking"))
    assert len(asked) == 2
    assert done.err.count("thinking has no effect: the chat template of this model has no switch for it") == 1


def test_help_lists_every_command(typed):
    done, _ = typed("/help", "/?")
    commands = {name.removeprefix("_do_") for name in vars(chat_module._Conversation) if name.startswith("_do_")}
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
    assert len(asked) == 2 and len(hints) == 1 and hints[0].endswith("Try --max-share 0.15 and --anchor 0.5.")
    assert "max_share = 0.15" in done.err


def test_a_second_ctrl_c_while_the_first_is_obeyed(typed, monkeypatch):
    from selar_local.engine.stream import Stream

    presses = [KeyboardInterrupt, KeyboardInterrupt]
    original = Stream.close

    def close(self):
        if presses:
            raise presses.pop()
        original(self)

    monkeypatch.setattr(Stream, "close", close)
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
