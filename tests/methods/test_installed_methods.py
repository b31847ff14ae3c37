"""Methods that installed packages bring: they are found by their entry points, and a broken one disturbs nobody."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULE = '''
from dataclasses import dataclass, field
from selar_local.config import opt
from selar_local.methods import CoT, Method

@dataclass(frozen=True, kw_only=True)
class Good(CoT):
    """Ordinary sampling under another name."""
    name, summary, source = "good", "one of another package", "elsewhere"
    every: int = opt(4, "a number of its own", "--every", low=1, high=9)

@dataclass(frozen=True, kw_only=True)
class Selar(CoT):
    """Has the name of a built-in method."""
    name, summary, source = "selar", "not the built-in one", "elsewhere"

@dataclass(frozen=True, kw_only=True)
class Clash(CoT):
    """Has an option with the name of another."""
    name, summary, source = "clash", "x", "x"
    seed: int = opt(1, "x", "--seed")

@dataclass(frozen=True, kw_only=True)
class Undeclared(CoT):
    """Has a field that says nothing about itself."""
    name, summary, source = "undeclared", "x", "x"
    every: int = field(default=1)

class Renamed(CoT):
    """Has another name than its entry point."""
    name, summary, source = "other-name", "x", "x"

class Abstract(Method):
    """Cannot be started."""
    name, summary, source = "abstract", "x", "x"
'''
ENTRIES = {
    "good": "brought:Good", "selar": "brought:Selar", "clash": "brought:Clash", "undeclared": "brought:Undeclared",
    "renamed": "brought:Renamed", "abstract": "brought:Abstract", "absent": "brought:NoSuch", "no-class": "brought:opt",
    "raises": "broken", "leaves": "leaving",
}  # fmt: skip
PROBLEMS = {
    "selar": "another method has this name",
    "clash": "its option seed is called --seed, seed, as an option of all methods is",
    "undeclared": "the field every is not made by opt(...)",
    "renamed": "Renamed has the name 'other-name'",
    "abstract": "brought:Abstract is not a class that implements Method",
    "absent": "AttributeError: module 'brought' has no attribute 'NoSuch'",
    "no-class": "brought:opt is not a class that implements Method",
    "raises": "ZeroDivisionError: division by zero",
    "leaves": "SystemExit: 3",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, as pip leaves it, with one package in it."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "brought.py").write_text(MODULE, encoding="utf-8")
    (folder / "broken.py").write_text("1 / 0", encoding="utf-8")
    (folder / "leaving.py").write_text("raise SystemExit(3)", encoding="utf-8")
    info = folder / "brought_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-methods\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{name} = {value}\n" for name, value in ENTRIES.items())
    (info / "entry_points.txt").write_text(f"[selar_local.methods]\n{lines}", encoding="utf-8")
    return folder


def python(folder: Path | None, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(ROOT), *([str(folder)] if folder else [])])
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return python(folder, "from selar_local.cli.main import main; main()", *words)


def test_it_is_listed_and_has_flags_and_each_broken_one_gets_a_line(folder: Path) -> None:
    done = command(folder, "methods", "--json")
    assert done.returncode == 0
    methods = {method["name"]: method for method in json.loads(done.stdout)["methods"]}
    assert next(iter(methods)) == "selar" and [*methods][-1] == "good" and not {*PROBLEMS} - {"selar"} & {*methods}
    assert methods["selar"]["source"] == "arXiv 2604.08299"  # the built-in one
    (every,) = methods["good"]["options"]
    assert (every["flags"], every["default"], every["minimum"], every["maximum"]) == (["--every"], 4, 1, 9)
    lines = done.stderr.splitlines()
    assert len(lines) == len(PROBLEMS)
    for name, reason in PROBLEMS.items():
        said = f"the method {name!r} of the package brought-methods cannot be used: {reason}"
        assert [line for line in lines if line.endswith(said)], name


def test_the_help_of_run_has_it_and_says_nothing_of_the_broken_ones(folder: Path) -> None:
    done = command(folder, "run", "--help")
    page = " ".join(done.stdout.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert "good one of another package" in page
    assert "Options of good: --every INTEGER a number of its own [between 1 and 9] [default: 4]" in page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "good", "--every", "10"), "--every must be between 1 and 9, not 10"),
        (("--method", "cot", "--every", "3"), "--every is an option of good, not of cot"),
        (("--method", "raises"), "cannot be used: ZeroDivisionError: division by zero"),
        (("--method", "magic"), "'magic' is not one of"),
    ],
)
def test_a_wrong_use_is_one_line(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = command(folder, "run", "no.gguf", "x", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ") and said in done.stderr


def test_python_knows_it_by_name(folder: Path) -> None:
    code = """
import selar_local as sl
from selar_local.methods import METHODS, method_class
assert method_class("good")(every=3).every == 3 and METHODS["selar"] is sl.Selar
for name in ("clash", "nothing"):
    try:
        method_class(name)
    except sl.errors.OptionError as error:
        print(error)
"""
    clash, nothing = python(folder, code).stdout.splitlines()
    assert "'clash' of the package brought-methods" in clash
    assert nothing.startswith("unknown method 'nothing' (known: selar, ") and nothing.endswith(", good)")


def test_nothing_is_looked_up_for_a_built_in_method() -> None:
    code = """
import sys
from selar_local.methods import DEFAULT_METHOD, METHODS, method_class
method_class("swir"), METHODS["cot"], DEFAULT_METHOD in METHODS
print("_installed" in vars(METHODS), [name for name in sys.modules if name.startswith("broken")])
print(len(METHODS) == len(METHODS.built_in), "_installed" in vars(METHODS))
"""
    assert python(None, code).stdout == "False []\nTrue True\n"
