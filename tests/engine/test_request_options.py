"""The typed keywords: the same as the dataclasses, known to a type checker, refused where they do not belong."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import selar_local as sl
from selar_local import methods
from selar_local.config import EngineConfig, GenerationConfig, SamplingConfig
from selar_local.engine.base_engine import BaseEngine
from selar_local.engine.engine import Engine
from selar_local.engine.isolated import IsolatedEngine
from selar_local.engine.prompts import Prompts
from selar_local.engine.request_options import (
    EngineOptions,
    GenerationOptions,
    RequestOptions,
    SamplingOptions,
)
from selar_local.engine.settings import as_method
from selar_local.errors import OptionError

ROOT = Path(__file__).parent.parent.parent
#: Given as any sequence, kept as a tuple.
WIDER: dict[str, Any] = {
    "stop": Sequence[str],
    "stop_token_ids": Sequence[int],
    "dry_sequence_breakers": Sequence[str],
    "logit_bias": Sequence[str] | Mapping[Any, Any],
}


@pytest.mark.parametrize(
    ("options", "config"),
    [(EngineOptions, EngineConfig), (SamplingOptions, SamplingConfig), (GenerationOptions, GenerationConfig)],
)
def test_names_and_types_are_those_of_the_dataclass(options, config):
    declared = typing.get_type_hints(config)
    assert typing.get_type_hints(options) == {
        field.name: WIDER.get(field.name, declared[field.name]) for field in fields(config)
    }
    assert not options.__required_keys__


def test_a_request_is_what_the_maker_takes():
    made = inspect.signature(Prompts.rendered).parameters
    own = {name for name, one in made.items() if one.kind is inspect.Parameter.KEYWORD_ONLY}
    configs = {field.name for config in (SamplingConfig, GenerationConfig) for field in fields(config)}
    assert set(typing.get_type_hints(RequestOptions)) == own | configs
    assert not own & configs


@pytest.mark.parametrize("name", ["stream", "generate", "astream", "agenerate", "begin", "render"])
def test_both_engines_have_one_signature(name):
    signatures = {inspect.signature(getattr(engine, name)) for engine in (BaseEngine, Engine, IsolatedEngine)}
    parameters = {tuple(signature.parameters.items()) for signature in signatures}
    assert len(parameters) == 1


# -- a type checker ---------------------------------------------------------------------------

SNIPPET = """
from collections.abc import Mapping
import selar_local as sl

engine = sl.load("model.gguf", ctx_size=2048, threads=None)
isolated = sl.load("model.gguf", isolated=True, flash_attn="on")
reveal_type(engine)
reveal_type(isolated)
schema: Mapping[str, object] = {}
for event in engine.stream("Why?", method=sl.Selar(tau=0.4), max_tokens=10, stop=["a"], json_schema=schema):
    reveal_type(event)
    reveal_type(event.logprobs)
result = isolated.generate(messages=[{"role": "user", "content": "x"}], seed=1, logprobs=2, thinking=True)
reveal_type(result)
reveal_type(result.logprobs)

async def main() -> None:
    async with engine.astream("Why?", temperature=0.7) as stream:
        async for event in stream:
            reveal_type(event)
    reveal_type(stream.result)
    reveal_type(await isolated.agenerate("Why?", top_k=5))
"""
REVEALED = [
    "selar_local.engine.engine.Engine", "selar_local.engine.isolated.IsolatedEngine",
    "selar_local.engine.events.TokenEvent", "selar_local.engine.events.Logprobs", "selar_local.engine.events.Result",
    "tuple[", "selar_local.engine.events.TokenEvent", "selar_local.engine.events.Result",
    "selar_local.engine.events.Result",
]  # fmt: skip
MISTAKES = {
    'engine.stream("x", temprature=1.0)': "temprature",
    'engine.generate("x", max_tokens="ten")': "max_tokens",
    'isolated.stream("x", bogus=1)': "bogus",
    'isolated.generate("x", seed="one")': "seed",
    'engine.astream("x", tau=0.5)': "tau",
    'sl.load("model.gguf", ctx=1)': "load",
    'sl.load("model.gguf", isolated=True, threads="all")': "load",
    'engine.stream("x", method=3)': "method",
}


def test_a_type_checker_knows_the_options_and_finds_mistakes(tmp_path):
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    lines = SNIPPET.splitlines()
    program.write_text("\n".join([*lines, *MISTAKES]) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--no-error-summary", str(program)],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT,
    )  # fmt: skip
    found = re.findall(r"program\.py:(\d+): (\w+): (.*)", done.stdout)  # mypy's cache may tell an older folder
    assert found, done.stdout + done.stderr
    revealed = [text for _, kind, text in found if kind == "note" and text.startswith("Revealed")]
    assert [expected in text for expected, text in zip(REVEALED, revealed, strict=True)] == [True] * len(REVEALED)
    errors = {int(number): text for number, kind, text in found if kind == "error"}
    for number, (line, word) in enumerate(MISTAKES.items(), len(lines) + 1):
        assert word in errors.pop(number, "nothing"), line
    assert errors == {}


# -- options in the wrong place ---------------------------------------------------------------

OPTIONS = {(cls, field.name) for cls in methods.METHODS.values() for field in fields(cls)}
SHARED = {field.name for config in (SamplingConfig, GenerationConfig) for field in fields(config)}


@pytest.mark.parametrize(("cls", "name"), sorted(OPTIONS, key=str), ids=lambda part: getattr(part, "__name__", part))
def test_an_option_of_a_method_is_shown_its_place(engine, cls, name):
    if name in SHARED:
        pytest.skip("a request has an option of this name, too")
    given_by_default = cls is sl.Selar or not hasattr(sl.Selar, name)
    for given in [{"method": cls.name}, {"method": cls()}, *([{}] if given_by_default else [])]:
        with pytest.raises(OptionError, match=f"unknown option '{name}'") as caught:
            engine.generate("x", **{**given, name: 7})
        assert f"method=sl.{cls.__name__}({name}=7)" in str(caught.value)
        assert hasattr(sl, cls.__name__)
        if given:
            assert str(caught.value).count("method=") == 1


@pytest.mark.parametrize("name", [field.name for field in fields(EngineConfig)])
def test_an_option_of_load_is_shown_its_place(engine, name):
    with pytest.raises(OptionError, match=rf"unknown option '{name}': it is an option of sl\.load"):
        engine.generate("x", **{name: 1})


def test_what_belongs_nowhere_lists_what_there_is(engine):
    with pytest.raises(
        OptionError,
        match=r"unknown option 'temprature'; did you mean 'temperature'\? \(known: method, dry_.* xtc_.*\)",
    ):
        engine.generate("x", temprature=1)


def test_a_mapping_is_accepted_as_a_schema(engine):
    schema: Mapping[str, object] = {"type": "boolean"}
    assert engine.generate("x", json_schema=schema, seed=1, max_tokens=30).text.strip() in ("true", "false")


def test_a_method_s_class_is_no_method():
    with pytest.raises(OptionError, match=r"method must be an instance: write Selar\(\) for Selar"):
        as_method(sl.Selar)  # type: ignore[arg-type]
