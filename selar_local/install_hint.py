"""What is installed, and commands that a person can paste to install what is missing, for the Python that runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_DISTRIBUTION = "selar-local"
_PLAIN_WORD = re.compile(r"[\w@+:.,/\\=-]+", re.ASCII)  # cmd.exe and PowerShell take these without quotes


def install_hint(extra: str) -> str:
    """How to install an extra, as the end of a message: ``install it with: python -m pip install "..."``.

    The package is on no index. So the command names the folder that the package was installed from, or, where that
    is gone, the requirements of the extra.
    """
    if getattr(sys, "frozen", False):
        return f"this program was built without the extra {extra}"
    from importlib.metadata import PackageNotFoundError, distribution  # takes long to import

    try:
        arguments = _arguments(distribution(_DISTRIBUTION), extra)
    except PackageNotFoundError:
        return f"install it in a clone of {_DISTRIBUTION} with: {pip_install(f'.[{extra}]')}"
    return f"install it with: {pip_install(*arguments)}"


def version_of(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def pip_install(*arguments: str) -> str:
    """The command that installs into this Python, quoted for the user's shell. arguments: requirements and options."""
    if importlib.util.find_spec("pip") is None:  # environments that uv makes have no pip
        words = ["uv", "pip", "install", "--python", sys.executable]
    else:
        words = [_python(), "-m", "pip", "install"]
    return " ".join(map(quoted, [*words, *arguments]))


def _arguments(installed: Distribution, extra: str) -> list[str]:
    """What pip is to install for the extra."""
    origin = _origin(installed)
    if origin is not None:
        folder, editable = origin
        return [*(["-e"] if editable else []), f"{folder}[{extra}]"]
    return _requirements(installed.requires or (), extra) or [f"{_DISTRIBUTION}[{extra}]"]


def _origin(installed: Distribution) -> tuple[Path, bool] | None:
    """The local folder that the package was installed from, and whether as an editable one; None if there is none."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        recorded = json.loads(installed.read_text("direct_url.json") or "{}")
        url, editable = urlsplit(recorded["url"]), bool(recorded["dir_info"].get("editable"))
        folder = Path(url2pathname(url.path))
        return (folder, editable) if url.scheme == "file" and (folder / "pyproject.toml").is_file() else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # not recorded, or not as the standard says
        return None


def _requirements(lines: Sequence[str], extra: str) -> list[str]:
    """The requirements of the extra. lines: the metadata's, such as ``uvicorn<1,>=0.30; extra == "server"``."""
    own = re.compile(rf"""\s*(?:\band\s+)?\bextra\s*==\s*['"]{re.escape(extra)}['"]\s*$""")
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        if own.search(marker):
            condition = own.sub("", marker).strip()
            found.append(f"{requirement.strip()}; {condition}" if condition else requirement.strip())
    return found


def _python() -> str:
    """``python`` where that starts this interpreter, else its path."""
    found = shutil.which("python")
    return "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else sys.executable


def quoted(word: str) -> str:
    """A word as the user's shell takes it."""
    if sys.platform != "win32":
        return shlex.quote(word)
    return word if _PLAIN_WORD.fullmatch(word) else f'"{word}"'
