"""Completion by the shell: commands, options, methods, GGUF files; a command is imported when it is completed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from selar_local.cli.commands import COMMANDS
from selar_local.cli.completion import model_files
from selar_local.cli.main import cli
from selar_local.methods import METHODS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with some files."""
    for name in ("a.gguf", "notes.txt", "B.GGUF", ".hidden.gguf", "models/one.gguf", "models/two.gguf", "old/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def complete(folder):
    """`complete(*words)`: what is offered for the last word, in a folder with some files."""

    def call(*words):
        *before, last = words
        shell = BashComplete(cli, {}, "selar-local", "_SELAR_LOCAL_COMPLETE")
        return [item.value for item in shell.get_completions(before, last)]

    return call


def test_a_shell_asks_the_program(folder):
    words = {"_SELAR_LOCAL_COMPLETE": "bash_complete", "COMP_WORDS": "selar-local run --ta", "COMP_CWORD": "2"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "selar_local"], env={**os.environ, "PYTHONPATH": path, **words}, cwd=folder,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout.splitlines(), done.stderr) == (["plain,--tau"], "")


def test_commands_and_model_files_come_first(complete):
    assert complete("") == [*COMMANDS, "B.GGUF", "a.gguf", "models/", "old/"]
    assert complete("re") == ["report"]
    assert complete("a") == ["analyze", "a.gguf"]
    assert "--version" in complete("--")


def test_the_options_of_a_command(complete):
    assert complete("run", "--ta") == ["--tau"]
    assert complete("run", "--met") == ["--method"]
    assert "--api-key" in complete("serve", "--a") and "--api-key" not in complete("run", "--a")
    assert complete("a.gguf", "--ta") == ["--tau"]
    assert complete("trace", "") == ["view"]


@pytest.mark.parametrize("flag", ["--method", "-M"])
def test_methods_and_choices(flag, complete):
    assert complete("run", flag, "") == [*METHODS]
    assert complete("run", flag, "c") == [name for name in METHODS if name.startswith("c")]
    assert complete("run", "--gate-on", "f") == ["filtered", "full"]


@pytest.mark.parametrize("words", [("run",), ("run", "-m"), ("-m",), ("serve",), ("eval", "--model")])
def test_the_model(words, complete):
    assert [word for word in complete(*words, "") if not word.startswith("smollm")] == [
        "B.GGUF",
        "a.gguf",
        "models/",
        "old/",
    ]
    assert complete(*words, "a") == ["a.gguf"]
    assert complete(*words, "mod") == ["models/", "models/one.gguf", "models/two.gguf"]
    assert complete(*words, "models/t") == ["models/two.gguf"]


def test_a_broken_config_file_does_not_end_it(complete, tmp_path, monkeypatch):
    (tmp_path / "bad.toml").write_text("= = =")
    monkeypatch.setenv("SELAR_LOCAL_CONFIG", str(tmp_path / "bad.toml"))
    assert complete("run", "--ta") == ["--tau"]


def test_files_beyond_this_folder(tmp_path):
    (tmp_path / "x.gguf").touch()
    (tmp_path / "sub").mkdir()
    assert [item.value for item in model_files(f"{tmp_path}{os.sep}")] == [
        f"{tmp_path}{os.sep}sub{os.sep}",
        f"{tmp_path}{os.sep}x.gguf",
    ]
    assert model_files(str(tmp_path / "nothing" / "x")) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell(shell, process, monkeypatch):
    monkeypatch.setenv("_SELAR_LOCAL_COMPLETE", f"{shell}_source")
    done = process()
    assert done.code == 0 and "_SELAR_LOCAL_COMPLETE" in done.out and "selar-local" in done.out
