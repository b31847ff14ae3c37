"""The commands: known without being imported, in the order of use, and what a line without a command means."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest

from selar_local.cli.commands import COMMANDS
from selar_local.cli.lazy_group import load_command
from selar_local.cli.main import cli as program

SHORT = ("-n", "2", "-t", "1", "--seed", "1")


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a call of the program imports."""
    code = (
        "import sys\ntry:\n    from selar_local.cli.main import main\n    main()\n"
        "finally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_leads_to_the_command(name):
    command = load_command(name)
    assert command.name == name
    assert isinstance(command, click.Command) and command.callback is not None


def test_help_lists_the_commands_in_the_order_of_use(cli):
    lines = cli("--help").out.splitlines()
    shown = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :]]
    assert shown == list(COMMANDS) and shown[:4] == ["run", "serve", "models", "pull"] and shown[-1] == "doctor"
    assert program.list_commands(click.Context(program)) == shown


def test_help_imports_no_command_and_nothing_heavy():
    modules = loaded_by("--help")
    assert "selar_local.cli.main" in modules
    assert not {"numpy", "llama_cpp", "selar_local.cli.run", "selar_local.methods", "tqdm", "jinja2"} & modules


def test_a_command_imports_no_other():
    modules = loaded_by("methods")
    assert "selar_local.cli.methods" in modules
    others = {entry.module for name, entry in COMMANDS.items() if name != "methods"}
    assert not others & modules and "llama_cpp" not in modules


@pytest.mark.parametrize(
    "words",
    [
        ("eval", "--taak", "x"),
        ("eval", "--baseline", "swir"),
        ("eval", "--methods", "cot,magic"),
        ("eval", "--samples", "0"),
        ("eval", "--task", "nothing"),
        ("eval", "--k", "1"),
    ],
)
def test_a_usage_error_of_eval_comes_before_its_imports(words):
    heavy = {"inspect_ai", "math_verify", "llama_cpp", "scipy", "reasoning_gym", "datasets"}
    modules = loaded_by(*words)
    assert "error:" in modules and not heavy & modules


# -- what stands in the place of the command -------------------------------------------------------------


def test_a_model_in_the_place_of_the_command_means_run(model, cli):
    usual = cli("run", model, "-p", "Hello", "-q", *SHORT)
    assert usual.code == 0 and usual.out
    assert cli(model, "-p", "Hello", "-q", *SHORT) == usual
    assert cli(model, "Hello", "-q", *SHORT) == usual
    assert cli("-m", model, "-p", "Hello", "-q", *SHORT) == usual
    assert cli("--model", model, "Hello", "-q", *SHORT) == usual
    assert cli(*SHORT, "-q", "-m", model, "Hello") == usual
    assert cli("run", "-m", model, "Hello", "-q", *SHORT) == usual
    assert cli("--no-config", "-m", model, "Hello", "-q", *SHORT) == usual


@pytest.mark.parametrize("word", ["missing.gguf", "MISSING.GGUF", "ollama:qwen3:8b", "hf:not-a-repository"])
def test_what_looks_like_a_model_is_looked_for(word, cli):
    done = cli(word, "Hello")
    assert done.code == 1 and word.removeprefix("ollama:") in done.err and done.err.startswith("error: ")


def test_a_question_says_what_to_type(cli):
    done = cli("Why is the sky blue?")
    assert done.code == 2 and "selar-local run -p 'Why is the sky blue?'" in done.err
    assert "run -p" in cli("Why?").err and cli("Why?").code == 2


@pytest.mark.parametrize(("word", "near"), [("rnu", "run"), ("evaluate", "eval"), ("method", "methods")])
def test_a_command_that_is_misspelt(word, near, cli):
    assert cli(word) == (2, "", f"error: there is no command {word!r}; did you mean {near!r}?\n")


def test_neither_a_command_nor_anything_near(cli):
    done = cli("qqqq")
    assert done.code == 2 and "--help" in done.err
    done = cli("--verison")
    assert done.code == 2 and "--version" in done.err


def test_an_option_of_run_without_a_command(cli):
    done = cli("--taau", "0.3")
    assert done.code == 2 and "--tau" in done.err


def test_python_m(process):
    assert process("-V").out == process("--version").out


# -- -m and -M -----------------------------------------------------------------------------------------------


def test_capital_m_is_the_method(model, cli):
    done = cli("run", model, "Hello", "-M", "cot-greedy", "--json", *SHORT)
    assert json.loads(done.out)["method"] == "cot-greedy"


def test_a_model_named_twice(model, cli):
    for words in (("run", "-m", model, model, "Hello"), ("doctor", "-m", model, model), ("serve", "x", "-m", "y")):
        done = cli(*words)
        assert done.code == 2 and "the model is given twice" in done.err


@pytest.mark.parametrize("name", ["run", "serve", "compare", "eval", "calibrate", "doctor"])
def test_every_command_with_a_model_takes_m(name):
    flags = {flag for parameter in load_command(name).params for flag in parameter.opts}
    assert {"-m", "--model"} <= flags


def test_doctor_takes_m(model, cli):
    assert json.loads(cli("doctor", "-m", model, "--json", "-t", "1").out)["injection_max_abs_diff"] == 0
