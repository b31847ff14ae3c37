"""The container files: what they copy is there and is sent, what they run is ours, and hadolint has nothing to say."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from selar_local.cli.lazy_group import load_command
from selar_local.server.config import KEY_VARIABLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
FILE = ROOT / "scripts" / "container" / "Dockerfile"
IGNORE = FILE.with_name("Dockerfile.dockerignore")  # BuildKit takes it for this file


def instructions(text: str) -> list[tuple[str, str]]:
    """Keyword and arguments of each instruction, continued lines joined."""
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in lines if line.strip()]


def stages(text: str) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for keyword, rest in instructions(text):
        if keyword == "FROM":
            current = found.setdefault(rest.rpartition(" AS ")[2], [])
        elif found:
            current.append((keyword, rest))
    return found


def is_sent(path: str) -> bool:
    """Whether the build gets this path: the last pattern that fits decides."""
    sent = True
    for line in IGNORE.read_text("utf-8").splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch(path, pattern):
            sent = line.startswith("!")
    return sent


STAGES = stages(FILE.read_text("utf-8"))
VARIANTS = ("cpu", "cuda")


def test_each_variant_has_a_compiler_and_a_base():
    chosen = [rest.split()[0] for word, rest in instructions(FILE.read_text("utf-8")) if word == "FROM"]
    stages_named = {name.format(variant) for name in ("compiler-{}", "base-{}") for variant in VARIANTS}
    assert {"compiler-${VARIANT}", "base-${VARIANT}"} <= set(chosen) and stages_named <= set(STAGES)
    assert ("ARG", f"VARIANT={VARIANTS[0]}") in instructions(FILE.read_text("utf-8"))


def test_what_is_copied_is_there_and_is_sent():
    copied = [rest.split() for word, rest in STAGES["build"] if word == "COPY"]
    paths = {path for *sources, _ in copied for path in sources}
    assert paths == {"pyproject.toml", "README.md", "LICENSE", "selar_local"}  # as much as the build needs
    assert all((ROOT / path).exists() and is_sent(path) for path in paths)
    assert not any(is_sent(path) for path in ("tests", ".git", ".venv", "docs"))


def test_the_server_takes_what_was_built():
    (source,) = [rest for word, rest in STAGES["server"] if word == "COPY"]
    assert source == "--from=build /opt/selar-local /opt/selar-local"


def test_the_extras_that_are_installed_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    (extras,) = re.findall(r'pip install --no-cache-dir "\.\[(.+)\]"', str(STAGES["build"]))
    assert extras.split(",") == ["server", "hub"] and set(extras.split(",")) <= set(project["optional-dependencies"])
    assert 'pip install ".[server]"' in (ROOT / "README.md").read_text("utf-8")


def test_the_server_that_runs():
    found = dict(STAGES["server"])
    program, command, *words = json.loads(found["ENTRYPOINT"]) + json.loads(found["CMD"])
    assert (program, command) == ("selar-local", "serve")
    given = load_command("serve").make_context("serve", words).params
    assert (given["host"], given["port"], given["model"]) == ("0.0.0.0", int(found["EXPOSE"]), "/models/model.gguf")
    assert found["USER"].isdigit() and int(found["USER"]) > 0
    assert f"http://127.0.0.1:{found['EXPOSE']}/health" in found["HEALTHCHECK"]
    compile(json.loads(found["HEALTHCHECK"].partition(" CMD ")[2])[-1], "the health check", "exec")


def test_it_asks_for_a_key(monkeypatch, capfd):
    from selar_local.cli.main import main

    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    found = dict(STAGES["server"])
    with pytest.raises(SystemExit) as leaving:
        main([*json.loads(found["ENTRYPOINT"])[1:], *json.loads(found["CMD"])])
    assert leaving.value.code == 2 and "--api-key" in capfd.readouterr().err
    assert KEY_VARIABLE in FILE.read_text("utf-8")


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("no hadolint: it comes with the extra dev")
    return subprocess.run([program, str(path)], capture_output=True, text=True, timeout=60, check=False)


def test_the_linter_finds_nothing():
    done = hadolint(FILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_linter_looks(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text(FILE.read_text("utf-8").replace("python:3.12-slim-bookworm", "python"), "utf-8")
    done = hadolint(bad)
    assert done.returncode == 1 and "DL3006" in done.stdout
