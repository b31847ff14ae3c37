"""Defaults from the config file and the environment: precedence, values checked like flags, errors that say where."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import click
import pytest

from selar_local.cli.commands import COMMANDS
from selar_local.cli.config_file import config_path, read_config
from selar_local.cli.lazy_group import load_command
from selar_local.cli.option_sources import OWN_VARIABLES, variable_of
from selar_local.evaluation.log_files import log_files
from selar_local.methods import METHODS

NOTHING = ("-p", "Hello", "--raw", "-n", "0", "-t", "1", "--json")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """`config(text)` is the user's config file from now on."""

    def write(text, name="config.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        monkeypatch.setenv("SELAR_LOCAL_CONFIG", str(path))
        return path

    return write


@pytest.fixture
def options(model, cli):
    """`options(*words)`: the method and its options as `run` used them."""

    def call(*words):
        done = cli("run", model, *NOTHING, *words)
        assert done.code == 0, done.err
        told = json.loads(done.out)
        return told["method"], told["options"]

    return call


# -- precedence -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize("section", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_the_flag_then_the_variable_then_the_section_then_the_shared_key(
    flag, variable, section, shared, config, options, monkeypatch
):
    config(("tau = 0.1\n" if shared else "") + "[run]\n" + ("tau = 0.2\n" if section else "") + "[serve]\ntau = 0.9\n")
    if variable:
        monkeypatch.setenv("SELAR_LOCAL_TAU", "0.3")
    _, used = options(*(("--tau", "0.4") if flag else ()))
    assert used["tau"] == (0.4 if flag else 0.3 if variable else 0.2 if section else 0.1 if shared else 0.5)


def test_no_config_leaves_the_environment(config, options, monkeypatch):
    config("tau = 0.1\nk = 7")
    monkeypatch.setenv("SELAR_LOCAL_K", "5")
    assert options("--no-config")[1]["tau"] == 0.5
    assert options("--no-config")[1]["k"] == 5


def test_no_config_before_the_command(config, model, cli):
    config("tau = 0.1")
    for words in (("--no-config", "run", model), ("--no-config", model), ("--no-config", "-m", model)):
        assert json.loads(cli(*words, *NOTHING).out)["options"]["tau"] == 0.5


def test_every_kind_of_value(config, options, monkeypatch):
    config('k = 5\ncontrast = 2\nsymbol-guard = false\nstrict_gate = true\ngate-on = "full"\ntau = 0.25')
    _, used = options()
    assert (used["k"], used["contrast"], used["symbol_guard"], used["strict_gate"]) == (5, 2.0, False, True)
    assert (used["gate_on"], used["tau"]) == ("full", 0.25)
    assert options("--symbol-guard")[1]["symbol_guard"] is True


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("0", False), ("off", False), ("", True)])
def test_switches_in_the_environment(text, value, options, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_SYMBOL_GUARD", text)  # an empty variable sets nothing
    assert options()[1]["symbol_guard"] is value


def test_texts_that_may_be_given_several_times(config, model, cli, monkeypatch):
    words = ("run", model, "-p", "Hello", "--raw", "-n", "24", "-t", "1", "--seed", "1", "--json")
    text = json.loads(cli(*words).out)["text"]
    config(f"stop = [{json.dumps(text[4:6])}, 'never there']")
    assert json.loads(cli(*words).out)["stop_string"] == text[4:6]
    config(f"stop = {json.dumps(text[4:6])}")
    assert json.loads(cli(*words).out)["stop_string"] == text[4:6]
    assert json.loads(cli(*words, "--stop", text[2:4]).out)["stop_string"] == text[2:4]
    monkeypatch.setenv("SELAR_LOCAL_STOP", "never there")  # one text, spaces included
    assert json.loads(cli(*words).out)["stop_string"] is None


def test_a_model_may_be_the_default(config, model, cli):
    config(f"model = {json.dumps(str(model))}")
    assert json.loads(cli("run", *NOTHING).out)["model"] == str(model)
    done = cli("run", "missing.gguf", *NOTHING)
    assert done.code == 1 and "missing.gguf" in done.err
    assert "model" not in json.loads(cli("doctor", "--json").out)  # a default is not asked about


# -- an option of another method -------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_default_for_another_method_is_not_an_error(name, config, options):
    config("tau = 0.3\nmax-topk = 5\nalpha = 0.5\nlatent-steps = 0\n")
    method, used = options("--method", name, "--greedy")
    assert method == name
    wanted = {"tau": 0.3, "max_topk": 5, "alpha": 0.5, "latent_steps": 0}
    assert {key: used[key] for key in wanted if key in used} == {key: wanted[key] for key in wanted if key in used}


def test_on_the_command_line_it_still_is(config, model, cli):
    config("tau = 0.3")
    done = cli("run", model, *NOTHING, "--method", "cot", "--tau", "0.3")
    assert done.code == 2 and "--tau is an option of selar, not of cot" in done.err


def test_the_method_itself_may_be_the_default(config, options, monkeypatch):
    config('method = "cot"')
    assert options()[0] == "cot"
    monkeypatch.setenv("SELAR_LOCAL_METHOD", "cot-greedy")
    assert options()[0] == "cot-greedy"
    assert options("-M", "selar")[0] == "selar"


def test_a_system_message_is_no_reason_to_refuse_a_raw_prompt(config, model, cli):
    config('system = "Be brief."')
    assert cli("run", model, *NOTHING).code == 0
    assert "--system" in cli("run", model, *NOTHING, "--system", "Be brief.").err


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\ntaau = 0.3", 2, ["taau", "did you mean 'tau'"]),
        ("tau = 0.4\n\n[run]\nctx_sise = 1", 4, ["ctx_sise", "of run", "'ctx-size'"]),
        ("[runn]\ntau = 0.4", 1, ["'runn'", "did you mean 'run'"]),
        ("prompt = 'x'", 1, ["prompt is no option"]),
        ("json = true", 1, ["json is no option"]),
        ("k = 1", 1, ["k (", "between 2 and 1000, not 1"]),
        ("k = 2.5", 1, ["k (", "'2.5' is not a valid integer"]),
        ("k = true", 1, ["k (", "'true' is not a valid integer"]),
        ("tau = -1", 1, ["tau (", "at least 0"]),
        ("tau = nan", 1, ["tau (", "finite"]),
        ("# a comment\nmethod = 'magic'", 2, ["method (", "magic", "selar"]),
        ("mmap = 'perhaps'", 1, ["mmap (", "perhaps", "boolean"]),
        ("k = [3, 4]", 1, ["k takes one value"]),
        ("stop = [1979-05-27]", 1, ["stop must be"]),
        ("k = 1979-05-27", 1, ["k must be"]),
        ("temperature = -1", 1, ["temperature (", "between 0"]),
        ("cache-type-k = 'q9'", 1, ["cache-type-k (", "q9", "q8_0"]),
    ],
)
def test_an_error_says_where_it_is(text, line, words, config, model, cli):
    path = config(text)
    done = cli("run", model, *NOTHING)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert f"{path}, line {line}" in done.err
    for word in words:
        assert word in done.err
    assert cli("run", model, *NOTHING, "--no-config").code == 0
    assert cli("run", "--help").code == 0 and cli("--version").code == 0


@pytest.mark.parametrize(("name", "text"), [("TAU", "-1"), ("K", "two"), ("METHOD", "magic"), ("MMAP", "perhaps")])
def test_an_error_names_the_variable(name, text, model, cli, monkeypatch):
    monkeypatch.setenv(f"SELAR_LOCAL_{name}", text)
    done = cli("run", model, *NOTHING)
    assert done.code == 2 and f"SELAR_LOCAL_{name}" in done.err and f"--{name.lower()}" not in done.err


def test_an_error_in_another_section_waits_for_its_command(config, model, cli):
    config("[serve]\nprot = 1")
    assert cli("run", model, *NOTHING).code == 0
    assert "'port'" in cli("serve", model).err
    assert "'port'" in cli("config").err


def test_a_shared_key_may_be_of_any_command(config, options):
    config("port = 9000\nsamples = 4\nparallel = 2")
    assert options()[0] == "selar"


@pytest.mark.parametrize("text", ["tau = ", "tau 0.3", "[run", "a = 1\na = 2"])
def test_a_file_that_is_no_toml(text, config, model, cli):
    path = config(text + "\n[serve]\n")
    done = cli("run", model, *NOTHING)
    assert done.code == 2 and str(path) in done.err and "line" in done.err and "TOML" in done.err


def test_a_file_that_cannot_be_read(config, tmp_path, model, cli, monkeypatch):
    config("").write_bytes(b"\xff\xfe\xff")
    assert "not UTF-8" in cli("run", model, *NOTHING).err
    monkeypatch.setenv("SELAR_LOCAL_CONFIG", str(tmp_path / "nothing.toml"))
    done = cli("run", model, *NOTHING)
    assert done.code == 2 and "there is no config file" in done.err and "SELAR_LOCAL_CONFIG" in done.err
    monkeypatch.setenv("SELAR_LOCAL_CONFIG", str(tmp_path))
    assert cli("run", model, *NOTHING).code == 2


def test_a_byte_order_mark_and_comments(config, options):
    config("\ufeff# mine\ntau = 0.3  # low\n")
    assert options()[1]["tau"] == 0.3


# -- where it is --------------------------------------------------------------------------------------------------


def test_the_place_of_the_file(monkeypatch, tmp_path):
    monkeypatch.delenv("SELAR_LOCAL_CONFIG")
    assert config_path() == Path(click.get_app_dir("selar-local")) / "config.toml"
    monkeypatch.setenv("SELAR_LOCAL_CONFIG", str(tmp_path / "x.toml"))
    assert config_path() == tmp_path / "x.toml"
    monkeypatch.setenv("SELAR_LOCAL_CONFIG", "~/x.toml")
    assert config_path() == Path("~/x.toml").expanduser()


@pytest.mark.skipif(os.name != "posix", reason="XDG is POSIX")
def test_without_a_file_there_are_no_settings(monkeypatch, tmp_path):
    monkeypatch.delenv("SELAR_LOCAL_CONFIG")
    monkeypatch.setattr(click, "get_app_dir", lambda name: str(tmp_path / name))
    assert read_config() is None


# -- `selar-local config` ------------------------------------------------------------------------------------


def rows(text):
    """(option, value, the rest) of each line after the first."""
    return [tuple(re.split(r"  +", line, maxsplit=2)) for line in text.splitlines()[1:]]


def test_config_shows_what_is_set_and_where(config, cli, monkeypatch):
    path = config('tau = 0.4\nthreads = 2\n[serve]\nport = 9000\napi-key = "secret"\n')
    monkeypatch.setenv("SELAR_LOCAL_TAU", "0.7")
    done = cli("config")
    assert done.code == 0 and done.out.splitlines()[0] == f"config file: {path}" and "secret" not in done.out
    found = {name: (value, rest) for name, value, rest in rows(done.out)}
    assert set(found) == {"tau", "threads", "port", "api-key"}
    assert found["tau"][0] == "0.7" and found["tau"][1].startswith("SELAR_LOCAL_TAU") and "run" in found["tau"][1]
    assert found["threads"][0] == "2" and found["threads"][1].startswith(f"{path}, line 2")
    assert found["port"] == ("9000", f"{path}, line 4  [serve]")


def test_config_of_one_command_shows_all_of_its_options(config, cli):
    path = config("tau = 0.4\n[serve]\ntau = 0.2")
    for command, line, value in (("run", 1, "0.4"), ("serve", 3, "0.2")):
        done = cli("config", command)
        found = {name: (value, rest) for name, value, rest in rows(done.out)}
        assert found["tau"] == (value, f"{path}, line {line}")
        assert found["top-k"] == ("20", "default") and found["seed"] == ("a random one", "default")
        assert found["method"] == ("selar", "default")
        assert ("port" in found) is (command == "serve")


def test_config_of_nothing(cli, config):
    done = cli("config")
    assert done.code == 0 and "nothing is set" in done.out and done.err == ""
    path = config("tau = 0.4")
    assert cli("config", "--path") == (0, f"{path}\n", "")
    assert "nothing is set" in cli("config", "--no-config").out
    assert "did you mean" not in cli("config", "nothing").err and cli("config", "nothing").code == 2


def test_config_checks_values_together(config, cli):
    config("repel = 4\nk = 5")
    assert cli("config").code == 0
    config("repel = 4")
    done = cli("config")
    assert done.code == 2 and "repel (" in done.err and "below k" in done.err


def test_config_warns_of_variables_that_set_nothing(cli, monkeypatch):
    monkeypatch.setenv("SELAR_LOCAL_TAO", "0.3")
    done = cli("config")
    assert done.code == 0 and "warning: SELAR_LOCAL_TAO sets no option; did you mean SELAR_LOCAL_TAU?" in done.err


def test_variables_with_another_meaning_are_known():
    root = Path(__file__).parents[2] / "selar_local"
    named = {name for path in root.rglob("*.py") for name in re.findall("SELAR_LOCAL_[A-Z_]+", path.read_text("utf-8"))}
    options = {
        variable_of(flag)
        for command in map(load_command, COMMANDS)
        for one in (command.commands.values() if isinstance(command, click.Group) else [command])
        for parameter in one.params
        for flag in parameter.opts
    }
    assert {name for name in named if not name.endswith("_")} <= OWN_VARIABLES | options


# -- evaluations -------------------------------------------------------------------------------------------------


def test_a_study_records_what_was_used(config, chat_model, cli, tmp_path):
    path = config("tau = 0.3\ntemperature = 0.8\nmax-topk = 4\n[eval]\nlimit = 2\n")
    folder = tmp_path / "logs"
    words = ("eval", chat_model, "-n", "4", "-t", "1", "--parallel", "2", "--out", folder, "--json")
    done = cli(*words)
    told = json.loads(done.out)
    assert done.code == 0 and f"--tau ({path}, line 1)" in done.err
    assert told["methods"]["selar"]["n"] == 2 and told["methods"]["selar"]["options"]["tau"] == 0.3
    assert told["facts"]["sampling_given"] == {"temperature": 0.8}
    (log,) = [log for log in log_files(folder) if log.label == "selar"]
    assert log.metadata["options"]["tau"] == 0.3 and log.metadata["sampling"]["temperature"] == 0.8
    other = cli(*words, "--no-config", "--limit", "2")
    assert other.code == 2 and "other settings" in other.err and "temperature" in other.err


def test_a_sweep_is_not_stopped_by_a_default(config, chat_model, cli, tmp_path):
    config("tau = 0.3")
    words = ("eval", chat_model, "-n", "4", "-t", "1", "--limit", "2", "--out", tmp_path / "logs", "--json")
    told = json.loads(cli(*words, "--methods", "selar", "--sweep", "tau=0.2,0.9").out)
    assert list(told["methods"]) == ["selar tau=0.2", "selar tau=0.9"]
    done = cli(*words, "--methods", "selar", "--sweep", "tau=0.2,0.9", "--tau", "0.3")
    assert done.code == 2 and "swept" in done.err


def test_the_example_of_the_documentation(config, cli):
    page = (Path(__file__).parents[2] / "docs" / "CONFIG.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    config(example)
    found = {name: value for name, value, _ in rows(cli("config").out)}
    assert {"tau", "port", "samples", "model", "system"} <= set(found) and found["ctx-size"] == "8192"


def test_a_default_that_no_method_takes_is_left_out(chat_model, cli, config, tmp_path):
    config("tau = 0.3\n")
    words = ("eval", chat_model, "-n", "2", "-t", "1", "--limit", "1", "--json", "-q", "--out", tmp_path / "logs")
    done = cli(*words, "--methods", "cot,selar:tau=0.7")
    assert done.code == 0 and json.loads(done.out)["methods"]["selar tau=0.7"]["options"]["tau"] == 0.7
    done = cli(*words, "--methods", "cot,selar:tau=0.7", "--tau", "0.3")
    assert (done.code, done.out) == (2, "") and "--tau has no effect: every method with it sets its own" in done.err
