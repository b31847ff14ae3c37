"""`selar-local methods`: every method and option, from the declarations, without llama.cpp."""

from __future__ import annotations

import json
import subprocess
import sys
import typing
from dataclasses import fields
from typing import Literal

import click
import pytest

from selar_local.cli.methods import methods
from selar_local.cli.run import run
from selar_local.config import EngineConfig, SamplingConfig
from selar_local.methods import DEFAULT_METHOD, METHODS, Selar, SoftThinking
from selar_local.options import described

BY_NAME = pytest.mark.parametrize("cls", METHODS.values(), ids=METHODS)


def page(*arguments: str, width: int = 80) -> str:
    """What the command shows on a terminal of that width."""
    context = click.Context(methods, info_name="methods", terminal_width=width, max_content_width=110)
    with context, pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr(click, "echo", said.append)
        assert methods.callback(*arguments) == 0
    return "\n".join(said)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_json_tells_everything_that_is_declared(cli):
    done = cli("methods", "--json")
    report = json.loads(done.out)
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert report["default"] == DEFAULT_METHOD
    assert [method["name"] for method in report["methods"]] == list(METHODS)
    for told, cls in zip(report["methods"], METHODS.values(), strict=True):
        assert (told["class"], told["summary"], told["source"]) == (cls.__name__, cls.summary, cls.source)
        assert told["sampling_defaults"] == cls.sampling_defaults
        assert [option["name"] for option in told["options"]] == [field.name for field in fields(cls)]
        types = typing.get_type_hints(cls)
        for option, field in zip(told["options"], fields(cls), strict=True):
            metadata, literal = field.metadata, typing.get_origin(types[field.name]) is Literal
            assert option["help"] == metadata["help"] and option["default"] == field.default
            assert option["choices"] == (list(typing.get_args(types[field.name])) if literal else [])
            assert option["source"] == metadata.get("source", cls.source)
            assert option["python_only"] == (not metadata.get("cli", True))
            assert "/".join(option["flags"]) == ("" if option["python_only"] else "/".join(metadata["flags"]))


def test_types_and_flags_of_a_few(cli):
    (selar,) = json.loads(cli("methods", "selar", "--json").out)["methods"]
    options = {option["name"]: option for option in selar["options"]}
    assert {name: options[name]["type"] for name in ("k", "tau", "contrast", "symbol_guard", "scope")} == {
        "k": "integer", "tau": "number|text", "contrast": "float", "symbol_guard": "boolean", "scope": "choice",
    }  # fmt: skip
    assert options["symbol_guard"]["flags"] == ["--symbol-guard", "--no-symbol-guard"]


def test_a_name_that_is_none(cli):
    done = cli("methods", "magic")
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: unknown method 'magic' (known: {', '.join(METHODS)})\n"
    assert cli("methods", "magic", "--json") == done


@BY_NAME
def test_the_page_of_one_method(cls):
    text = page(cls.name, False)
    assert flat(text).startswith(f"Method: {cls.name} {cls.summary} [{cls.source}]")
    assert all(row.usage in text for row in described(cls))
    assert ("[the default]" in text) == (cls.name == DEFAULT_METHOD)
    assert ("[no options]" in text) == (not fields(cls))
    others = {name for name in METHODS if name != cls.name}
    assert not any(line.split()[:1] == [name] for line in text.splitlines() for name in others)
    for field in fields(cls):
        assert field.default is None or field.metadata["help"] in flat(text)
        if "source" in field.metadata:
            assert f"[{field.metadata['source']}]" in flat(text)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_all_methods_fit_the_terminal(width):
    text = page(None, False, width=width)
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith((" ", "The "))]
    assert headings[0] == "Methods:"
    assert headings[1:] == [
        *(f"Options of {name}:" for name, cls in METHODS.items() if fields(cls)),
        *(f"Sampling defaults of {name}:" for name, cls in METHODS.items() if cls.sampling_defaults),
    ]
    assert all(len(line) <= width for line in text.splitlines())
    assert not {"\u00a0", "\u2011"} & set(text)
    assert text.splitlines()[1].split()[0] == DEFAULT_METHOD


def test_short_remarks_are_not_torn_apart():
    text = page(None, False)
    for remark in (
        "[default: as before]",
        "[default: 0.5]",
        "[the authors' program]",
        "[arXiv 2508.03440]",
        "[no options]",
    ):
        assert text.count(remark) == flat(text).count(remark) > 0
    assert "[default: <|start-latent|> " in text
    assert "[default: 0.5 for gumbel, 1 for" in flat(text) and "(default:" not in text


def test_sampling_defaults_of_its_own():
    general = SamplingConfig()
    told = flat(page("soft-thinking", False)).partition("Sampling defaults of soft-thinking: ")[2]
    for name, value in SoftThinking.sampling_defaults.items():
        flag = "--" + name.replace("_", "-")
        assert f"{flag} {value} (other methods: {getattr(general, name)})" in told
    assert "Sampling defaults" not in page("selar", False)


def test_the_two_help_pages_agree_on_what_one_writes():
    context = click.Context(run)
    written = {parameter.name: parameter.get_help_record(context) for parameter in run.params}
    for cls in (*METHODS.values(), SamplingConfig, EngineConfig):
        for row in described(cls):
            if row.flags and not row.name.startswith("cache_type"):  # their long choices are told in the help text
                assert written[row.name][0] == row.usage


def test_a_default_in_words():
    rows = {row.name: row for cls in METHODS.values() for row in described(cls)}
    rows["tau"] = next(row for row in described(Selar) if row.name == "tau")
    assert (rows["max_switch_count"].default_text, rows["tau"].default_text) == ("no limit", "0.5")
    assert rows["max_switch_count"].meaning == "switches to normal after which the thinking is made to end"
    assert rows["tau"].meaning == next(f for f in fields(Selar) if f.name == "tau").metadata["help"]
    assert {row.name: row for row in described(SamplingConfig)}["seed"].source is None


def test_it_needs_no_llama_cpp():
    code = (
        "import sys; sys.modules['llama_cpp'] = None\n"
        "from selar_local.cli.main import main\n"
        "try:\n    main(['methods', '--json'])\n"
        "except SystemExit as leaving:\n    heavy = {'gguf', 'jinja2', 'tqdm', 'huggingface_hub'} & set(sys.modules)\n"
        "    print(leaving.code, sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == "0 []\n"
    assert len(json.loads(done.stdout)["methods"]) == len(METHODS)


def test_it_is_listed_with_the_commands(cli):
    assert "The decoding methods and their options." in cli().err
    assert cli("methods", "-h").out.startswith("Usage: selar-local methods [OPTIONS] [NAME]")
