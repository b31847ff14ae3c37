"""`selar-local run`: one answer; what goes where, the trace, the JSON object, the prompt's sources."""

from __future__ import annotations

import codecs
import json
from contextlib import contextmanager

import pytest

import selar_local as sl
from selar_local.advice import advice
from selar_local.cli.display import Display
from selar_local.engine.stream import Stream
from selar_local.trace import read_trace

SHORT = ("-n", "24", "-t", "1", "--seed", "1")


@pytest.fixture(scope="module")
def engine(model):
    with sl.load(model, threads=1) as engine:
        yield engine


def test_the_answer_alone_goes_to_standard_output(model, engine, cli):
    done = cli("run", model, "Hello", *SHORT)
    result = engine.generate("Hello", raw=True, max_tokens=24, seed=1)
    *_, statistics, hint = done.err.splitlines()
    assert hint == advice(sl.Selar(), result.usage, lambda name, value: f"--{name} {value}".replace("_", "-"))
    assert (done.code, done.out.removesuffix("\n")) == (0, result.text.removesuffix("\n"))
    assert "--raw" in done.err.splitlines()[0]
    for part in ("24 tokens", "tokens/s", "% exploration steps", "mean entropy", "seed 1", "length"):
        assert part in statistics
    assert f"{100 * result.usage.explored_share:.1f} % exploration" in statistics
    assert "\x1b" not in done.out + done.err


def test_json_is_one_object_with_the_streamed_text(model, cli):
    streamed = cli("run", model, "Hello", *SHORT)
    done = cli("run", model, "Hello", *SHORT, "--json")
    answer = json.loads(done.out)
    assert done.code == 0 and done.out.count("\n") == 1
    assert answer["text"].removesuffix("\n") == streamed.out.removesuffix("\n")
    assert answer["finish_reason"] == "length" and answer["tokens"] == 24 and answer["prompt_tokens"] == 5
    assert answer["explored_steps"] > 0 and 0 < answer["mean_entropy"] < 1
    assert answer["decode_seconds"] > 0 and answer["prefill_seconds"] > 0
    assert (answer["method"], answer["options"]["k"], answer["seed"]) == ("selar", 3, 1)
    assert answer["hint"] in streamed.err and "--max-share 0.15" in answer["hint"]
    limited = cli("run", model, "Hello", *SHORT, "--json", "--max-share", "0.15")
    assert json.loads(limited.out)["hint"] is None and 0 < json.loads(limited.out)["explored_steps"] <= 0.15 * 24


def test_options_without_effect_are_noted_on_standard_error(chat_model, cli):
    options = ("--method", "coconut", "--thinking")
    expected = [
        "thinking has no effect: the chat template of this model has no switch for it",
        "this model has no token <|start-latent|>: it was probably not trained for coconut, expect broken text",
    ]
    done = cli("run", chat_model, "Hello", *SHORT, *options)
    said = ["--" + expected[0], expected[1]]  # on a command line an option is a flag
    assert [line for line in done.err.splitlines() if line in said] == said
    assert json.loads(cli("run", chat_model, "Hello", *SHORT, *options, "--json").out)["notes"] == expected
    assert cli("run", chat_model, "Hello", *SHORT, *options, "--quiet").err == ""
    assert json.loads(cli("run", chat_model, "Hello", *SHORT, "--json").out)["notes"] == []


def test_json_is_ascii_where_the_encoding_demands_it(model, process, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = process("run", model, "--raw", "-p", "Ä你", *SHORT, "--json")
    assert done.out.isascii() and json.loads(done.out)["tokens"] == 24


def test_the_trace_tells_every_step(model, tmp_path, cli):
    path = tmp_path / "trace.jsonl"
    done = cli("run", model, "Hello", *SHORT, "--json", "--trace", path, "--tau", "0.3")
    answer, (run, steps, end) = json.loads(done.out), read_trace(path)
    assert run["method"] == "selar" and run["options"]["tau"] == 0.3 and run["sampling"]["seed"] == 1
    assert run["model"]["path"] == str(model) and len(run["model"]["sha256"]) == 64
    assert len(run["prompt_tokens"]) == answer["prompt_tokens"]
    assert "".join(step["text"] for step in steps) == answer["text"]
    assert [step["i"] for step in steps] == list(range(24))
    assert sum(step["explored"] for step in steps) == answer["explored_steps"] == end["explored_steps"]
    assert end["finish_reason"] == "length" and end["tokens"] == 24


@pytest.mark.parametrize("source", ["argument", "-p", "-f", "-f -", "standard input"])
def test_the_prompt_comes_from_anywhere(source, model, tmp_path, cli):
    file = tmp_path / "prompt.txt"
    file.write_bytes(b"Hello\r\n")
    arguments, stdin = {
        "argument": (["Hello"], None),
        "-p": (["-p", "Hello"], None),
        "-f": (["-f", file], None),
        "-f -": (["-f", "-"], b"Hello\n"),
        "standard input": ([], b"Hello\n"),
    }[source]
    done = cli("run", model, *arguments, "-n", "1", "-t", "1", "--json", stdin=stdin)
    assert json.loads(done.out)["prompt_tokens"] == 5


def test_a_prompt_file_that_is_no_text(model, cli):
    done = cli("run", model, "-f", model)
    assert (done.code, done.err) == (1, f"error: {model} is not a text file\n")


@pytest.mark.parametrize(
    "data", [codecs.BOM_UTF8 + b"Hello", codecs.BOM_UTF16_LE + "Hello\r\n".encode("utf-16-le"), b"\xffello"]
)
def test_marks_of_an_encoding_and_bytes_that_are_no_text(data, model, tmp_path, cli):
    (tmp_path / "prompt.txt").write_bytes(data)
    done = cli("run", model, "-f", tmp_path / "prompt.txt", "-n", "1", "-t", "1", "--json")
    # Bytes that are no text become U+FFFD, which this vocabulary spells in three tokens.
    assert json.loads(done.out)["prompt_tokens"] == (7 if data.startswith(b"\xffe") else 5)


def test_system_template_and_raw(chat_model, cli):
    def tokens(*arguments):
        return json.loads(cli("run", chat_model, "-p", "Hi", "-n", "0", "-t", "1", "--json", *arguments).out)

    raw, plain, system = tokens("--raw"), tokens(), tokens("--system", "Be brief.")
    assert raw["prompt_tokens"] < plain["prompt_tokens"] < system["prompt_tokens"]
    assert (raw["tokens"], raw["text"], raw["finish_reason"]) == (0, "", "length")


@pytest.mark.parametrize("flag", ["--max-tokens", "-n"])
def test_minus_one_is_no_limit(flag, model, cli):
    told = json.loads(cli("run", model, "Hello", "-c", "256", "-t", "1", "-s", "1", "--json", flag, "-1").out)
    assert told["finish_reason"] == "length" and told["context_full"] is True


def test_minus_one_is_a_random_seed_and_no_top_k(model, cli, tmp_path):
    words = ("run", model, "Hello", "--raw", "-n", "4", "-t", "1", "--json")
    assert len({json.loads(cli(*words, "-s", "-1").out)["seed"] for _ in range(3)}) == 3
    off, zero = (json.loads(cli(*words, "-s", "1", "--top-k", number).out)["text"] for number in ("-1", "0"))
    assert off == zero
    cli(*words, "-s", "-1", "--top-k", "-1", "--trace", tmp_path / "trace.jsonl")
    assert read_trace(tmp_path / "trace.jsonl")[0]["sampling"]["top_k"] == 0
    for wrong in (("-n", "-2"), ("-s", "-2"), ("--top-k", "-2")):
        assert cli(*words, *wrong).code == 2


@pytest.mark.parametrize("method", ["selar", "soft-thinking", "cot"])
def test_temperature_zero_is_greedy(method, model, cli):
    words = ("run", model, "Hello", "-M", method, "-n", "12", "-t", "1", "--json")
    zero, greedy = (json.loads(cli(*words, *flags).out)["text"] for flags in (("--temperature", "0"), ("--greedy",)))
    assert zero == greedy


def test_thinking_and_answer_are_told_apart(thinking_model, cli):
    options = ("run", thinking_model, "Hi", *SHORT, "--stop", "\x00")
    done, told = cli(*options), json.loads(cli(*options, "--json").out)
    assert told["thinking"] and not told["text"]
    assert done.out == ""
    assert done.err.startswith("Thinking...\n" + told["thinking"])
    assert cli(*options, "-q") == (0, "", "")


def test_quiet_is_the_answer_alone(model, cli):
    done = cli("run", model, "Hello", *SHORT, "-q")
    assert done.code == 0 and done.out and done.err == ""


def test_a_stop_string_ends_the_text_before_it(model, engine, cli):
    text = engine.generate("Hello", raw=True, max_tokens=24, seed=1).text
    stop = text[4:6]
    done = cli("run", model, "Hello", *SHORT, "--stop", stop)
    assert done.out.removesuffix("\n") == text[: text.index(stop)].removesuffix("\n")
    assert f"stop: {stop!r}" in done.err


def test_a_full_context_says_how_to_get_more(model, cli):
    done = cli("run", model, "Hello", "-c", "256", "-t", "1", "--seed", "1")
    assert done.code == 0 and "the context is full (raise it with -c)" in done.err


# -- Ctrl-C ------------------------------------------------------------------------------------------------


def _interrupt_after(monkeypatch, events):
    """Ctrl-C while the n-th event is on its way."""
    original, seen = Stream.__next__, []

    def interrupted(self):
        if len(seen) == events:
            seen.append(None)
            raise KeyboardInterrupt
        seen.append(None)
        return original(self)

    monkeypatch.setattr(Stream, "__next__", interrupted)


@pytest.mark.parametrize("events", [0, 5])
def test_ctrl_c_keeps_the_partial_text(events, model, tmp_path, cli, monkeypatch):
    _interrupt_after(monkeypatch, events)
    path = tmp_path / "trace.jsonl"
    options = ("run", model, "Hello", "-t", "1", "--seed", "1", "-c", "30000", "--trace", path)
    done = cli(*options, "--json")
    answer = json.loads(done.out)
    assert (done.code, answer["finish_reason"]) == (130, "cancelled")
    assert answer["tokens"] >= events and bool(answer["text"]) >= bool(events)
    run, steps, end = read_trace(path)
    assert run["type"] == "run" and len(steps) == events and end["finish_reason"] == "cancelled"


def test_ctrl_c_shows_what_was_made(model, cli, monkeypatch):
    _interrupt_after(monkeypatch, 5)
    done = cli("run", model, "Hello", "-t", "1", "--seed", "1", "-c", "30000")
    assert done.code == 130 and done.out.endswith("\n") and len(done.out) > 1
    assert any(line.endswith("cancelled]") for line in done.err.splitlines())  # advice may follow


def test_ctrl_c_while_the_model_loads(model, cli, monkeypatch):
    @contextmanager
    def pressed(self, label):
        def report(share):
            raise KeyboardInterrupt

        yield report

    monkeypatch.setattr(Display, "progress", pressed)
    done = cli("run", model, "Hello", *SHORT)
    assert (done.code, done.out, done.err.strip()) == (130, "", "interrupted")


# -- a real model ------------------------------------------------------------------------------------------


@pytest.mark.gguf
def test_a_real_model_says_the_same_again(smollm2, tmp_path, cli):
    path = tmp_path / "t.jsonl"
    options = ("run", smollm2, "-p", "Why is the sky blue?", "-n", "16", "--seed", "1", "-t", "1")
    runs = [json.loads(cli(*options, "--trace", path, "--json").out) for _ in range(2)]
    streamed = cli(*options)
    assert runs[0]["text"] == runs[1]["text"] and runs[0]["tokens"] == 16
    assert streamed.out == runs[0]["text"].removesuffix("\n") + "\n"
    _, steps, end = read_trace(path)
    assert "".join(step["text"] for step in steps) == runs[0]["text"]
    assert end["explored_steps"] == runs[0]["explored_steps"] > 0


def test_a_model_that_takes_ids_alone(family_model, cli):
    path, short = family_model("glm4"), ("-t", "1", "-c", "512")
    unnamed = cli("run", path, "-p", "the", "--raw", "-n", "4", "-s", "1", *short)
    assert unnamed.code == 0 and unnamed.err.count("soft methods cannot be used: ") == 1
    named = cli("run", path, "-p", "the", "--raw", "-n", "4", "-s", "1", *short, "--method", "cot", "--json")
    assert json.loads(named.out)["text"] == unnamed.out.removesuffix("\n")
    for choice in (["--method", "selar"], ["--tau", "0.3"]):
        refused = cli("run", path, "-p", "the", "--raw", *short, *choice)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith("error: selar cannot be used, cot can: ") and refused.err.count("\n") == 1


def test_what_makes_answers_worse_is_said_in_a_line(model, cli, tiny):
    done = cli("run", tiny(metadata={"tokenizer.ggml.pre": None}), "-p", "a", "-n", "2", "-t", "1", "-c", "600", "-q")
    first, second = done.err.splitlines()
    assert first.startswith("warning: the file does not name its pre-tokenizer")
    assert second.startswith("warning: the context of 600 tokens is longer than the 512 ")
    assert cli("run", model, "-p", "a", "-n", "2", "-t", "1", "-c", "512", "-q").err == ""


def test_verbose_shows_the_log_of_llama_cpp(model, process):
    done = process("run", model, "-p", "a", "-n", "2", "-t", "1", "--verbose", "-q")
    assert "llama_model_loader" in done.err and "llama_model_loader" not in done.out
