"""Text on standard input beside a prompt: joined to it, never waited for without an end."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import selar_local as sl
from cli.conftest import COMMAND
from selar_local.cli import prompt as prompt_module
from selar_local.cli.prompt import PipedText, joined

ONE = ("--raw", "-n", "0", "-t", "1", "--json")


def tokens(done):
    """The length of the prompt."""
    return json.loads(done.out if hasattr(done, "out") else done.stdout)["prompt_tokens"]


@pytest.fixture(scope="module")
def length(model):
    """`length(text)`: the tokens of that prompt alone."""
    with sl.load(model, threads=1) as engine:
        yield lambda text: engine.generate(text, raw=True, max_tokens=0).usage.prompt_tokens


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        (b"a text", "a text\n\nHello"),
        (b"a text\n", "a text\n\nHello"),
        (b"a text\r\n\r\n", "a text\n\nHello"),
        (b"  indented\nlines\n", "  indented\nlines\n\nHello"),
        ("Größe".encode("utf-16"), "Größe\n\nHello"),
        (b"\xef\xbb\xbfmark", "mark\n\nHello"),
        (b"", "Hello"),
        (b" \n\n", "Hello"),
    ],
)
def test_text_an_empty_line_the_prompt(text, prompt):
    assert joined(text, "Hello") == prompt


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_it_is_joined_to_the_prompt(quiet, model, process, length):
    given = ("-p", "Hello") if quiet else ("Hello",)
    done = process("run", model, *given, *ONE, *quiet, stdin=b"a text\n")
    assert tokens(done) == length("a text\n\nHello") and "warning" not in done.err
    assert tokens(process("run", model, *given, *ONE, *quiet, stdin=b"")) == length("Hello")


def test_the_same_without_a_process_of_its_own(model, cli, length):
    assert tokens(cli("run", model, "Hello", *ONE, stdin=b"a text\n")) == length("a text\n\nHello")


def test_minus_beside_a_prompt_reads_it_all(model, process, cli, tmp_path, length):
    for given in (("Hello",), ("-p", "Hello")):
        assert tokens(process("run", model, *given, "-f", "-", *ONE, stdin=b"a text\n")) == length("a text\n\nHello")
    (tmp_path / "question.txt").write_text("x")
    done = cli("run", model, "Hello", "-f", tmp_path / "question.txt", *ONE)
    assert done.code == 2 and "PROMPT and -f" in done.err
    assert cli("run", model, "Hello", "-p", "x", "-f", "-", *ONE).code == 2


def test_a_file_is_joined_whatever_its_length(model, tmp_path, length):
    (tmp_path / "text.txt").write_bytes(b"line\n" * 500)
    with (tmp_path / "text.txt").open("rb") as file:
        done = subprocess.run(
            [*COMMAND, "run", str(model), "Hello", *ONE], stdin=file, capture_output=True, timeout=60, check=True
        )
    assert tokens(done) == length("line\n" * 500 + "\nHello")


def test_what_is_no_text(model, process):
    done = process("run", model, "Hello", *ONE, stdin=b"\0\1\2")
    assert (done.code, done.err) == (1, "error: standard input is not a text file\n")


# -- input that nobody writes, or that is another program's -------------------------------------------


@pytest.fixture
def pipe():
    """(the end that is read, the end that is written)."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def test_a_pipe_that_nobody_writes_to_does_not_stop_it(model, pipe, length):
    words = [*COMMAND, "run", str(model), "Hello", *ONE, "-q"]
    done = subprocess.run(words, stdin=pipe[0], capture_output=True, timeout=60, check=True)
    assert tokens(done) == length("Hello")
    assert b"warning: nothing came on standard input for 3 seconds" in done.stderr
    assert b"< /dev/null" in done.stderr and b"-f -" in done.stderr


def test_a_pipe_that_is_written_to_late_is_read_to_its_end(model, pipe, length):
    words = [*COMMAND, "run", str(model), "Hello", *ONE, "-q"]
    process = subprocess.Popen(words, stdin=pipe[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(pipe[0])
    for part in (b"a ", b"text"):
        time.sleep(0.5)
        os.write(pipe[1], part)
    os.close(pipe[1])
    out, err = process.communicate(timeout=60)
    assert json.loads(out)["prompt_tokens"] == length("a text\n\nHello") and err == b""


def test_a_socket_that_nobody_writes_to(model, length):
    socket = pytest.importorskip("socket")
    if not hasattr(socket, "AF_UNIX"):
        pytest.skip("a socket as standard input is POSIX")
    here, there = socket.socketpair()
    with here, there:
        words = [*COMMAND, "run", str(model), "Hello", *ONE]
        done = subprocess.run(words, stdin=there.fileno(), capture_output=True, timeout=60, check=True)
    assert tokens(done) == length("Hello") and b"nothing came" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sh is POSIX")
def test_a_loop_of_the_shell_keeps_its_lines(model, tmp_path, length):
    (tmp_path / "questions.txt").write_text("One?\nTwo?\nThree?\n")
    script = 'while read question; do "$@" "$question"; echo "$question" >&2; done < questions.txt'
    words = ["sh", "-c", script, "sh", *COMMAND, "run", str(model), *ONE, "-q", "-p"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(words, capture_output=True, timeout=60, check=True, cwd=tmp_path, env=environment)
    assert [json.loads(line)["prompt_tokens"] for line in done.stdout.splitlines()] == [
        length(text) for text in ("One?", "Two?", "Three?")
    ]
    errors = done.stderr.decode().splitlines()
    assert [line for line in errors if line.endswith("?")] == ["One?", "Two?", "Three?"]
    assert sum("another program has read a part of it" in line for line in errors) == 2  # not where nothing is left


def test_a_closed_standard_input(model, length):
    if sys.platform == "win32":
        pytest.skip("sh is POSIX")
    words = ["sh", "-c", '"$@" <&-', "sh", *COMMAND, "run", str(model), "Hello", *ONE]
    done = subprocess.run(words, capture_output=True, timeout=60, check=True)
    assert tokens(done) == length("Hello") and done.stderr == b""


def test_the_wait_begins_with_the_program(monkeypatch, pipe):
    monkeypatch.setattr(sys, "stdin", os.fdopen(pipe[0], "r"))
    text = PipedText()
    monkeypatch.setattr(prompt_module, "_PATIENCE", 0.0)
    said = []
    assert text.wait(said.append) == b"" and len(said) == 1
    sys.stdin.close()
