"""The house's walls (who may import whom), read from the source."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import selar_local as sl

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "selar_local"
FILES = sorted(PACKAGE.rglob("*.py"))

#: Rooms by floor: a room may import its own floor and what lies below. The package itself is the public API.
FLOORS = (
    ("errors", "_version"),
    ("options", "logit_bias", "device_lists", "presets"),
    ("config",),
    ("methods", "formats", "cache", "install_hint"),
    ("llama", "templates", "catalog", "calibration"),
    ("engine", "trace", "advice", "plotting"),
    ("", "server", "evaluation", "analysis"),
    ("cli", "__main__"),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
#: Rooms with a narrower door.
ONLY = {
    "methods": {"methods", "formats", "config", "options", "errors"},
    "formats": {"formats"},
    "llama": {"llama", "methods", "config", "errors", "cache"},
    "calibration": {"calibration", "cache", "config", "errors"},
}


def room_of(module: str) -> str:
    """The room of a module of the package: `selar_local.llama.model` is in "llama"."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def is_module(name: str) -> bool:
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module that is imported anywhere in a file, those for type checking included, with the line."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if is_module(full) else str(node.module)), node.lineno


def own_room(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return (
        room_of(".".join(("selar_local", *relative.with_suffix("").parts)))
        if relative.name != "__init__.py"
        else (relative.parts[0] if len(relative.parts) > 1 else "")
    )


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_arrows_point_down():
    for path in FILES:
        room = own_room(path)
        assert room in FLOOR, f"{room} stands on no floor: say in FLOORS where it belongs"
        for module, line in imports(path):
            if module.split(".")[0] != "selar_local":
                continue
            other = room_of(module)
            where = f"{name_of(path)}:{line} imports {module}"
            assert FLOOR[other] <= FLOOR[room], where
            assert other in ONLY.get(room, {other}), where
            assert room in ("", "cli", "__main__") or other != "cli", where


def test_only_the_llama_room_knows_llama_cpp():
    for path in FILES:
        outside = {module.split(".")[0] for module, _ in imports(path)}
        if own_room(path) != "llama":
            assert not outside & {"llama_cpp", "ctypes"}, path
        if own_room(path) in ("methods", "formats"):
            pure = {"selar_local", "numpy"} if own_room(path) == "methods" else {"selar_local"}
            assert outside - pure <= sys.stdlib_module_names, path


#: Where llama_cpp is imported.
LLAMA_CPP = {"llama/native.py": {"llama_cpp"}}


def test_one_file_imports_the_bindings():
    """The others take them from there, so that the environment is set before the library is loaded."""
    for path in FILES:
        found = {module for module, _ in imports(path) if module.split(".")[0] == "llama_cpp"}
        assert found <= LLAMA_CPP.get(path.relative_to(PACKAGE).as_posix(), set()), path


def test_errors_import_nothing():
    assert {module for module, _ in imports(PACKAGE / "errors.py")} == {"__future__"}


def test_the_walls_see_what_they_should(tmp_path):
    source = tmp_path / "x.py"
    source.write_text(
        "import llama_cpp.llama_cpp as C\nfrom selar_local import errors, load\n"
        "def f():\n    from selar_local.llama.model import LlamaModel\n",
        encoding="utf-8",
    )
    assert [module for module, _ in imports(source)] == [
        "llama_cpp.llama_cpp", "selar_local.errors", "selar_local", "selar_local.llama.model",
    ]  # fmt: skip
    assert [own_room(PACKAGE / name) for name in ("__init__.py", "config.py", "llama/__init__.py", "cli/run.py")] == [
        "", "config", "llama", "cli",
    ]  # fmt: skip
    assert len(FILES) > 30


def test_only_the_command_line_writes_to_the_terminal():
    for path in FILES:
        if own_room(path) == "cli":
            continue
        for node in nodes(path):
            prints = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input")
            )
            stream = isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "stdin")
            assert not (prints or stream), f"{name_of(path)}:{node.lineno}"


@pytest.mark.parametrize("folder", ["selar_local", "scripts"])
def test_files_are_short(folder):
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob("*.py")
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length >= 350} == {}


def test_the_package_itself_imports_no_numpy():
    code = "import sys, selar_local; print('numpy' in sys.modules, selar_local.Selar().k, 'numpy' in sys.modules)"
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["False", "3", "True"]


def test_every_public_name_is_found():
    for name in sl.__all__:
        assert getattr(sl, name) is not None and name in dir(sl)


@pytest.mark.parametrize("module", ["selar_local", "selar_local.methods", "selar_local.config", "selar_local.trace"])
def test_importing_it_is_light(module):
    heavy = {"llama_cpp", "jinja2", "huggingface_hub", "gguf", "tqdm", "click", "torch", "requests"}
    code = f"import sys, {module}; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
