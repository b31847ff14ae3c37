"""Flags, defaults and help texts come from the configuration classes and cannot drift from them."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest

from selar_local import __version__
from selar_local.cli.doctor import doctor
from selar_local.cli.grouped_help import GroupedCommand, option
from selar_local.cli.options import build_method
from selar_local.cli.run import run
from selar_local.config import ChatConfig, EngineConfig, GenerationConfig, SamplingConfig
from selar_local.errors import OptionError
from selar_local.methods import METHODS, Selar
from selar_local.options import Option, described, shown

CONFIGS = (EngineConfig, SamplingConfig, GenerationConfig, ChatConfig)
FIELDS = [
    (cls, field) for cls in (*CONFIGS, *METHODS.values()) for field in fields(cls) if field.metadata.get("cli", True)
]


def page(command: click.Command, width: int = 100) -> str:
    """The help page."""
    names = {"help_option_names": ["-h", "--help"], "info_name": f"selar-local {command.name}"}
    return command.get_help(click.Context(command, terminal_width=width, **names))


def entry(text: str, flag: str) -> str:
    """What the page says of a flag, on one line."""
    lines = iter(text.splitlines())
    start = next(line for line in lines if line.strip().startswith("-") and flag in line.replace(",", " ").split())
    said = [start]
    for line in lines:
        if not line.startswith("    ") or line.strip().startswith("-"):
            break
        said.append(line)
    return " ".join(" ".join(said).split())


@pytest.mark.parametrize(("cls", "field"), FIELDS, ids=lambda value: getattr(value, "name", ""))
def test_every_field_is_in_the_help_with_its_default(cls, field):
    for flag in [flag for declared in field.metadata["flags"] for flag in declared.split("/")]:
        said = entry(page(run), flag)
        assert field.metadata["help"] in said
        if field.default not in (None, (), False):
            assert f"[default: {shown(field.default)}]" in said
        for choice in field.metadata.get("choices", ()):
            assert choice in said


def option_of(cls: type, name: str) -> Option:
    return next(one for one in described(cls) if one.name == name)


def test_the_contract_names_its_flags():
    flags = {flag for parameter in run.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    contract = """-p --prompt -f --file --method --greedy --k --tau --contrast --symbol-guard --no-symbol-guard
    --gate-on --scope --temperature --top-k --top-p --min-p --seed -n --max-tokens --stop --raw --system --thinking
    --no-thinking -c --ctx-size -ngl --gpu-layers -t --threads -ctk --cache-type-k -ctv --cache-type-v -fa --flash-attn
    --trace --json --no-color"""
    assert set(contract.split()) <= flags


def test_absent_options_leave_the_defaults_to_the_classes():
    own = {field.name for _, field in FIELDS}
    for command in (run, doctor):
        given = command.make_context(command.name, [], help_option_names=["-h", "--help"]).params
        assert all(value in (None, ()) for name, value in given.items() if name in own)
    assert build_method("selar", {"k": None, "tau": None, "stop": ()}) == Selar()
    assert build_method("selar", {"k": 5, "symbol_guard": False}) == Selar(k=5, symbol_guard=False)


def test_the_page_is_grouped_and_names_every_method():
    text = page(run)
    headings = [
        "Model:", "Prompt:", "Method:", "Sampling and length:", "Output:", "Model and engine:", "Options of selar:",
        "General:",
    ]  # fmt: skip
    places = [text.splitlines().index(heading) for heading in headings]
    assert places == sorted(places)
    for name, cls in METHODS.items():
        assert any(line.split() == [name, *cls.summary.split()] for line in text.splitlines())
    assert "Examples:" in text and "\u00a0" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_an_option_that_methods_explain_differently_is_explained_for_each():
    text = " ".join(page(run).split())
    for name in ("tau", "k", "beta"):
        for cls in METHODS.values():
            for field in fields(cls):
                if field.name == name:
                    default = "" if field.default is None else f" [default: {field.default}]"
                    assert f"{cls.name}: {field.metadata['help']}{default}" in text
    assert "--scope [all|thinking] explore everywhere" in text  # explained alike: once


@pytest.mark.parametrize("width", [80, 110])
def test_the_page_fits_the_terminal_and_tears_no_default_apart(width):
    text = page(run, width)
    assert "[default:\n" not in text.replace(" \n", "\n")


def test_an_option_without_a_heading_stays_under_the_one_before():
    @click.command(cls=GroupedCommand)
    @option("--first", heading="One", help="the first")
    @option("--second", help="the second")
    def command(first, second):
        """Nothing."""

    assert [line.strip() for line in page(command).splitlines() if line.endswith(":")] == ["One:", "General:"]


def test_without_arguments_the_help_and_exit_code_2(cli):
    done = cli()
    assert (done.code, done.out) == (2, "") and "Commands:" in done.err and "doctor" in done.err


def test_asked_for_help_and_version_go_to_standard_output(cli):
    for arguments in (["--help"], ["run", "-h"], ["doctor", "--help"]):
        done = cli(*arguments)
        assert (done.code, done.err) == (0, "") and done.out.startswith("Usage: selar-local")
    assert cli("--version") == cli("-V") == (0, f"selar-local, version {__version__}\n", "")


@pytest.mark.parametrize(
    ("cls", "name", "text", "value"),
    [
        (Selar, "tau", "0.4", 0.4),
        (Selar, "k", "5", 5),
        (Selar, "symbol_guard", "off", False),
        (Selar, "gate_on", "full", "full"),
        (Selar, "tau", "default", 0.5),
        (SamplingConfig, "seed", "7", 7),
        (SamplingConfig, "seed", "none", None),
        (GenerationConfig, "stop", "\n\n", ("\n\n",)),
        (GenerationConfig, "max_tokens", "12", 12),
    ],
)
def test_values_typed_in_the_chat(cls, name, text, value):
    assert option_of(cls, name).parse(text) == value


def test_a_typed_value_that_is_none():
    with pytest.raises(OptionError, match="k must be a whole number, not 'many'"):
        option_of(Selar, "k").parse("many")


def test_a_grammar_and_a_schema_bind_the_answer(cli, model):
    schema = '{"enum": ["red", "yellow"]}'
    done = cli("run", model, "-p", "x", "--raw", "--json-schema", schema, "-t", 1)
    assert (done.code, done.out.strip()) in ((0, '"red"'), (0, '"yellow"'))
    done = cli("run", model, "-p", "x", "--raw", "--grammar", 'root ::= "yes"', "-t", 1)
    assert (done.code, done.out.strip()) == (0, "yes")
    for bad in (["--json-schema", "{"], ["--grammar", "root ::= ("]):
        done = cli("run", model, "-p", "x", "--raw", *bad, "-t", 1)
        assert done.code == 2 and done.err.splitlines()[-1].startswith("error: ")
