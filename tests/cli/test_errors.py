"""Bad input is one `error:` line and exit code 1, or 2 for wrong usage: no traceback, no signal, no output."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.tiny_gguf import split_gguf

from cli.conftest import COMMAND

full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk that is full, is Linux's")
RUN = ("-p", "hello", "-n", "4", "-t", "1", "--seed", "1")


def check(outcome, code, *words):
    """One error line with these words in it, and nothing else."""
    lines = outcome.err.splitlines()
    assert (outcome.code, outcome.out, len(lines)) == (code, "", 1), outcome
    assert lines[0].startswith("error: ") and "Traceback" not in lines[0]
    for word in words:
        assert word in lines[0]


# -- models ----------------------------------------------------------------------------------------------


def _cut(model: Path, path: Path, size: int) -> Path:
    path.write_bytes(model.read_bytes()[:size])
    return path


def _zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.txt", "hello" * 100)
    return path


def _split_without_second(model: Path, folder: Path) -> Path:
    first, second = split_gguf(model, folder)
    second.unlink()
    return first


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


NO_MODELS = {
    "missing": (lambda tmp: tmp / "nothing.gguf", "no model"),
    "directory": (lambda tmp: tmp, "folder"),
    "zero-length": (lambda tmp: _written(tmp / "empty.gguf", b""), "empty"),
    "text": (lambda tmp: _written(tmp / "text.gguf", b"Dear model,\n" * 50), "text file"),
    "zip": (lambda tmp: _zip(tmp / "zip.gguf"), "not a GGUF file"),
}
# Each in a process of its own: they could kill it.
BROKEN_MODELS = {
    "one byte short": (lambda tmp, model: _cut(model, tmp / "short.gguf", model.stat().st_size - 1), "short.gguf"),
    "half": (lambda tmp, model: _cut(model, tmp / "half.gguf", model.stat().st_size // 2), "half.gguf"),
    "missing part": (lambda tmp, model: _split_without_second(model, tmp / "parts"), "00002-of-00002"),
}


@pytest.mark.parametrize("kind", NO_MODELS)
def test_what_is_no_model_is_one_error_line(kind, tmp_path, cli):
    make, word = NO_MODELS[kind]
    check(cli("run", make(tmp_path), *RUN), 1, word)


@pytest.mark.parametrize("kind", BROKEN_MODELS)
def test_a_broken_model_is_one_error_line(kind, tmp_path, tiny, process):
    make, word = BROKEN_MODELS[kind]
    check(process("run", make(tmp_path, tiny()), *RUN), 1, word)


def test_an_encoder_is_refused(tiny, process):
    check(process("run", tiny(architecture="bert"), *RUN), 1, "bert")


def test_nan_weights_are_told_without_an_answer(tiny, process):
    bad = tiny(nan_tensor="blk.0.ffn_down.weight")
    check(process("run", bad, "--raw", *RUN), 1, "not numbers")


def test_doctor_tells_a_bad_model_the_same_way(tmp_path, tiny, cli):
    check(cli("doctor", _cut(tiny(), tmp_path / "half.gguf", tiny().stat().st_size // 2)), 1, "half.gguf")


# -- options and prompts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--k", "1"], ["--k", "between 2"]),
        (["--k", "two"], ["--k", "two"]),
        (["--tau", "-0.1"], ["--tau", "at least 0"]),
        (["--tau", "nan"], ["--tau", "finite"]),
        (["--method", "magic"], ["magic", "selar", "cot"]),
        (["--method", "cot", "--tau", "0.3"], ["--tau", "selar", "cot"]),
        (["--ctx-size", "-1"], ["--ctx-size"]),
        (["--cache-type-k", "q9"], ["q9", "q8_0"]),
        (["--top-p", "-1"], ["--top-p"]),
        (["--stop", ""], ["--stop", "not empty"]),
        (["--taau", "0.3"], ["--taau", "--tau"]),
        (["-f", "question.txt"], ["-p and -f"]),
        (["--raw", "--system", "You are."], ["--system", "--raw"]),
    ],
)
def test_wrong_usage_is_exit_code_2(options, words, model, cli):
    check(cli("run", model, *RUN, *options), 2, *words)


def test_unknown_command(cli):
    check(cli("rnu"), 2, "rnu")  # newer versions of click also name the near one


def test_a_prompt_longer_than_the_context(model, cli):
    check(cli("run", model, "--raw", "-p", "x" * 400, "-c", "256", "-t", "1"), 1, "400 tokens", "256")


def test_a_question_in_the_place_of_the_model(cli):
    check(cli("run", "Why is the sky blue?"), 1, "no model", "-p")


@pytest.mark.parametrize("options", [["-p", ""], ["-p", " \n"], ["--raw", "-p", ""]])
def test_an_empty_prompt(options, chat_model, cli):
    check(cli("run", chat_model, "-t", "1", *options), 2, "prompt is empty")


def test_nothing_on_standard_input(chat_model, cli):
    check(cli("run", chat_model, stdin=b""), 2, "prompt is empty")


def test_no_prompt_where_a_chat_will_not_do(chat_model, cli):
    check(cli("run", chat_model, "--json"), 2, "no prompt")


def test_a_prompt_file_that_is_not_there(model, tmp_path, cli):
    check(cli("run", model, "-f", tmp_path / "nothing.txt"), 1, "cannot read the prompt", "nothing.txt")


# -- trace and streams -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [".", "nowhere/trace.jsonl", "a-file/trace.jsonl"])
def test_a_trace_path_that_cannot_be_written(where, model, tmp_path, cli):
    (tmp_path / "a-file").write_text("x")
    check(cli("run", model, *RUN, "--trace", tmp_path / where), 1, "cannot write the trace")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root (and Windows) may write everywhere")
def test_a_read_only_trace_path(model, tmp_path, cli):
    path = tmp_path / "trace.jsonl"
    path.touch()
    path.chmod(stat.S_IREAD)
    check(cli("run", model, *RUN, "--trace", path), 1, "cannot write the trace", "ermission")


def test_a_trace_overwrites_no_model_and_no_prompt(model, tmp_path, cli):
    copy, prompt = tmp_path / "model.gguf", _written(tmp_path / "prompt.txt", b"hello")
    copy.write_bytes(model.read_bytes())
    check(cli("run", copy, *RUN, "--trace", copy), 1, "overwrite a model")
    check(cli("run", copy, "-f", prompt, "--trace", prompt), 1, "overwrite the prompt")
    assert (copy.read_bytes(), prompt.read_bytes()) == (model.read_bytes(), b"hello")


@full_disk
def test_a_full_disk_ends_the_trace_and_not_the_answer(model, cli):
    whole = cli("run", model, "--raw", *RUN)
    traced = cli("run", model, "--raw", *RUN, "--trace", "/dev/full")
    warnings = [line for line in traced.err.splitlines() if line.startswith("warning: ")]
    assert (traced.code, traced.out) == (0, whole.out)
    assert len(warnings) == 1 and "/dev/full" in warnings[0] and "No space left" in warnings[0]


@pytest.mark.skipif(sys.platform == "win32", reason="sh, /dev/full and closed descriptors are POSIX")
@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ('{ "$@" -q; echo $? > "$STATUS"; } | head -c 1 >&2', 0),
        ('"$@" -q >&-; echo $? > "$STATUS"', 0),
        ('"$@" 2>&-; echo $? > "$STATUS"', 0),
        pytest.param('"$@" -q > /dev/full; echo $? > "$STATUS"', 1, marks=full_disk),
    ],
)
def test_streams_that_cannot_be_written(shell, code, model, tmp_path):
    words = [*COMMAND, "run", str(model), "--raw", "-p", "hello", "-n", "300", "-t", "1", "--seed", "1"]
    status = tmp_path / "status"
    environment = {**os.environ, "STATUS": str(status)}
    shell_words = ["sh", "-c", shell, "sh", *words]
    done = subprocess.run(shell_words, capture_output=True, timeout=60, check=False, env=environment)
    assert int(status.read_text()) == code
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr
    if code == 1:
        assert done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1


def test_llama_cpp_that_does_not_load(cli, model, monkeypatch):
    monkeypatch.delitem(sys.modules, "selar_local.llama.native", raising=False)  # other tests have loaded it
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    check(cli("run", model, *RUN), 1, "llama-cpp-python does not work here")


def test_a_prompt_without_quotes_is_told_apart_from_a_surplus_argument(cli, model):
    result = cli("run", str(model), "why", "is", "it")
    assert result.code == 2 and result.err.strip().endswith("put a prompt of several words in quotes")
    assert "quotes" not in cli("doctor", str(model), "x").err


@pytest.mark.parametrize("kind", ["<|im_end|>", "a", "word "])
def test_a_prompt_that_cannot_fit_is_refused_at_once(kind, tiny, process):
    path = tiny(metadata={"tokenizer.ggml.pre": "tekken"})
    prompt = path.parent / "prompt.txt"
    prompt.write_text(kind * (1_000_000 // len(kind)), "utf-8")
    done = process("run", path, "--raw", "-f", prompt, "-c", 256, "-t", 1)
    assert done.code == 1 and done.err.startswith("error: the prompt is too long: ") and len(done.err.splitlines()) == 1
