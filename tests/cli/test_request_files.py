"""`run --messages` and `--tools`: what the files may hold, and what they stand beside."""

from __future__ import annotations

import json

import pytest

import selar_local as sl
from selar_local.engine.events import Timings, Usage
from selar_local.formats import Call

SHORT = ("-n", "3", "-t", "1", "-s", "1", "-M", "cot")
TALK = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def file(tmp_path):
    """`file(value)`: the path of a JSON file with it; a text is written as it is."""

    def write(value: object, name: str = "talk.json") -> str:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
        return str(path)

    return write


def test_a_conversation_is_answered_as_its_prompt_would_be(cli, chat_model, file):
    prompt = json.loads(cli("run", chat_model, "Hello", *SHORT, "--json").out)
    talk = json.loads(cli("run", chat_model, "--messages", file(TALK), *SHORT, "--json").out)
    assert talk.pop("message") == {"role": "assistant", "content": talk["text"]}
    same = ("text", "prompt_tokens", "seed", "finish_reason")
    assert [talk[name] for name in same] == [prompt[name] for name in same] and "message" not in prompt
    system = json.loads(
        cli("run", chat_model, "--messages", "-", "--system", "Be brief.", *SHORT, "--json",
            stdin=json.dumps(TALK).encode()).out
    )  # fmt: skip
    both = [{"role": "system", "content": "Be brief."}, *TALK]
    again = json.loads(cli("run", chat_model, "--messages", file(both), *SHORT, "--json").out)
    assert system["prompt_tokens"] == again["prompt_tokens"] > prompt["prompt_tokens"]


def test_a_begun_answer_is_continued(cli, chat_model, file):
    begun = [*TALK, {"role": "assistant", "content": "I am"}]
    done = cli("run", chat_model, "--messages", file(begun), *SHORT, "-q")
    assert done.code == 0 and done.out


def test_a_model_without_a_template_gets_chatml(cli, model, file):
    done = cli("run", model, "--messages", file(TALK), *SHORT)
    assert done.code == 0 and "ChatML is assumed" in done.err


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("{", "holds no JSON"), ({"messages": TALK}, "wants a list of JSON objects"), ([], "wants a list"),
        (["Hello"], "wants a list"), ("[" * 100_000, "holds no JSON"), ([{"role": "user"}], "content"),
        ([{"content": "Hello"}], "role"), ("\0" * 9, "is not a text file"),
    ],
)  # fmt: skip
def test_another_file_is_an_error_of_one_line(cli, chat_model, file, value, says):
    done = cli("run", chat_model, "--messages", file(value), *SHORT)
    assert (done.code, done.out) == (1, "") and says in done.err and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Hi", "--messages", "x.json"), "comes from PROMPT and --messages"),
        (("-p", "Hi", "--messages", "x.json"), "comes from -p and --messages"),
        (("-f", "a.txt", "--messages", "x.json"), "comes from -f and --messages"),
        (("--raw", "--messages", "x.json"), "--messages has no place beside --raw"),
        (("Hi", "--raw", "--tools", "x.json"), "--tools has no place beside --raw"),
        (("Hi", "--tools", "-"), "--tools takes a file"),
    ],
)
def test_what_they_exclude(cli, chat_model, arguments, says):
    done = cli("run", chat_model, *arguments, *SHORT)
    assert done.code == 2 and says in done.err


def test_standard_input_is_named(cli, chat_model):
    done = cli("run", chat_model, "--messages", "-", *SHORT, stdin=b"")
    assert done.code == 1 and "standard input holds no JSON" in done.err


def test_a_missing_file_is_named(cli, chat_model, file):
    done = cli("run", chat_model, "--messages", "no.json", *SHORT)
    assert done.code == 1 and "cannot read the messages from no.json" in done.err
    done = cli("run", chat_model, "Hi", "--tools", "no.json", *SHORT)
    assert done.code == 1 and "cannot read the tools from no.json" in done.err


def test_tools_need_something_to_answer(cli, chat_model, file):
    tools = file([{"type": "function", "function": {"name": "now", "parameters": {}}}])
    done = cli("run", chat_model, "--tools", tools, *SHORT)
    assert done.code == 2 and "no prompt" in done.err
    done = cli("run", chat_model, "Hello", "--tools", tools, *SHORT, "--json")
    assert done.code == 0 and json.loads(done.out)["message"]["role"] == "assistant"


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ([{"type": "web_search"}], "a function with a name"),
        ([{"type": "function"}], "a function with a name"),
        ([{"type": "function", "function": 5}], "a function with a name"),
        ([{"type": "function", "function": {"name": ""}}], "a function with a name"),
        ([{"type": "function", "function": {"name": "now", "parameters": 5}}], "parameters of the tool now"),
    ],
)
def test_tools_that_are_none(cli, chat_model, file, tools, says):
    done = cli("run", chat_model, "Hello", "--tools", file(tools), *SHORT)
    assert done.code == 2 and says in done.err and "Traceback" not in done.err


def test_a_call_that_is_cut_off_is_a_warning(cli, chat_model, file, monkeypatch):
    cut = sl.Result("", "", "length", Usage(1, 1, 0), Timings(0, 0, 1), cut_call=Call("weather", '{"ci'))
    monkeypatch.setattr("selar_local.cli.session.Session.show", lambda *_, **more: cut)
    for options in ((), ("--json",), ("-q",)):
        done = cli("run", chat_model, "--messages", file(TALK), *SHORT, *options)
        assert done.code == 0 and "warning: the call of weather is cut off" in done.err
