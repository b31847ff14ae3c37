"""`selar-local compare`: each answer is what `run` gives; side by side on a wide terminal."""

from __future__ import annotations

import json

import pytest

from selar_local.engine.stream import Stream

SHORT = ("-n", "24", "-t", "1", "--seed", "1")
EXPLORED = "\x1b[95m\x1b[4m"


def test_each_answer_is_that_of_run(model, cli):
    told = json.loads(cli("compare", model, "Hello", *SHORT, "--json", "--methods", "cot,selar:tau=0.3,swir").out)
    assert (told["model"], told["seed"]) == (str(model), 1)
    assert [one["label"] for one in told["answers"]] == ["cot", "selar tau=0.3", "swir"]
    for one, words in zip(told["answers"], (["-M", "cot"], ["--tau", "0.3"], ["-M", "swir"]), strict=True):
        alone = json.loads(cli("run", model, "Hello", *SHORT, "--json", *words).out)
        changing = {"prefill_seconds", "decode_seconds", "tokens_per_second", "core_wait", "label"}
        assert {key: one[key] for key in one if key not in changing} == {
            key: alone[key] for key in alone if key not in changing
        }


def test_one_seed_for_all_where_none_is_given(model, cli):
    told = json.loads(
        cli("compare", model, "Hello", "-n", "24", "-t", "1", "--json", "--methods", "cot,selar:tau=2").out
    )
    texts = {one["text"] for one in told["answers"]}
    assert len(texts) == 1 and {one["seed"] for one in told["answers"]} == {told["seed"]}  # above 1: it never explores
    again = cli("compare", model, "Hello", "-n", "24", "-t", "1", "--json", "-s", told["seed"])
    assert json.loads(again.out)["answers"][0]["text"] in texts


def test_off_a_terminal_one_stands_after_the_other(model, cli):
    done = cli("compare", model, "Hello", *SHORT)
    texts = [one["text"] for one in json.loads(cli("compare", model, "Hello", *SHORT, "--json").out)["answers"]]
    first, second = done.out.split("\nselar\n")
    assert done.code == 0 and first.startswith(f"cot\n{texts[0]}") and second.startswith(texts[1])
    assert "\x1b" not in done.out
    for part in (first, second):
        assert "[24 tokens" in part and "seed 1" in part and "length]" in part
    quiet = cli("compare", model, "Hello", *SHORT, "-q")
    assert quiet.err == "" and "tokens" not in quiet.out and texts[0] in quiet.out


def test_side_by_side_on_a_wide_terminal(model, terminal):
    wide = terminal("compare", model, "--raw", "-p", "Hello", *SHORT, COLUMNS="100")
    narrow = terminal("compare", model, "--raw", "-p", "Hello", *SHORT, COLUMNS="60")
    assert (wide.end(), narrow.end()) == (0, 0)
    assert EXPLORED in wide.screen and EXPLORED in narrow.screen
    (heading,) = [line for line in wide.text.splitlines() if line.split() == ["cot", "selar"]]
    assert heading.index("selar") == 51  # two columns of 49
    assert wide.text.count("seed 1") == narrow.text.count("seed 1") == 2
    assert [line for line in narrow.text.splitlines() if line.strip() == "cot"]
    assert all(len(line) <= 60 for line in narrow.text.splitlines() if "tokens/s" in line)


def test_options_go_to_every_method_that_has_them(model, cli):
    words = ("compare", model, "Hello", *SHORT, "--json", "--methods", "cot,selar,selar:tau=0.2")
    told = json.loads(cli(*words, "--contrast", "0", "--tau", "0.7").out)["answers"]
    assert [one["options"].get("contrast") for one in told] == [None, 0, 0]
    assert [one["options"].get("tau") for one in told] == [None, 0.7, 0.2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--methods", "cot,magic"], ["magic", "selar"]),
        (["--methods", "cot,cot"], ["more than once"]),
        (["--methods", "selar:tau"], ["tau=0.3"]),
        (["--methods", "cot", "--tau", "0.3"], ["--tau", "cot"]),
        (["--methods", "cot,selar:k=1"], ["k must be"]),
        (["--temperature", "-1"], ["--temperature"]),
        (["--raw", "--system", "x"], ["--system"]),
    ],
)
def test_wrong_usage(options, words, model, cli):
    done = cli("compare", model, "-p", "Hello", *options)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in done.err


def test_it_needs_a_prompt(model, cli):
    assert "no prompt" in cli("compare", model).err
    assert json.loads(cli("compare", model, *SHORT, "--json", stdin=b"Hello").out)["answers"][0]["prompt_tokens"] == 5
    told = json.loads(cli("compare", model, "Hello", *SHORT, "--json", stdin=b"text").out)
    assert {one["prompt_tokens"] for one in told["answers"]} == {len("text\n\nHello")}


def test_ctrl_c_keeps_the_partial_text_and_ends_the_list(model, cli, monkeypatch):
    original, seen = Stream.__next__, []

    def interrupted(self):
        seen.append(None)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Stream, "__next__", interrupted)
    done = cli("compare", model, "Hello", "-t", "1", "--seed", "1", "-c", "30000", "--json")
    (answer,) = json.loads(done.out)["answers"]
    assert done.code == 130 and answer["finish_reason"] == "cancelled" and answer["text"]


def test_thinking_and_text_in_a_column(thinking_model, terminal):
    done = terminal(
        "compare", thinking_model, "-p", "Hi", *SHORT, "--methods", "cot,selar", COLUMNS="100", NO_COLOR="1"
    )
    assert done.end() == 0 and done.text.count("seed 1") == 2 and "\x1b" not in done.screen.replace("\x1b[?25h", "")


def test_a_model_that_takes_ids_alone(family_model, cli):
    words = ("compare", family_model("glm4"), "Hello", *SHORT, "--json")
    assert [one["label"] for one in json.loads(cli(*words).out)["answers"]] == ["cot"]
    refused = cli(*words, "--methods", "cot,selar")
    assert refused.code == 1 and "error: selar cannot be used, cot can: " in refused.err
