"""Fixtures of all tests: tiny random models, the real ones where there are any, and a cache of our own."""

from __future__ import annotations

import logging
import os
import signal

# Before NumPy is loaded: threads of its matrix products and those of llama.cpp would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.family_gguf import write_family_gguf
from support.tiny_gguf import write_tiny_gguf

from selar_local.catalog import bundled_models

TinyModel = Callable[..., Path]

_SMOLLM2 = "smollm2-135m"


def pytest_configure() -> None:
    """Ctrl-C works in the programs the tests start: a shell's background job ignores it, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a real model come last; the others keep their order."""
    items.sort(key=lambda item: item.get_closest_marker("gguf") is not None)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The user's cache, defaults and config file are neither read nor written.

    Of the session: engines may be opened by session fixtures.
    """
    with pytest.MonkeyPatch.context() as patch:
        bundled = bundled_models()[_SMOLLM2]
        for name in [name for name in os.environ if name.startswith("SELAR_LOCAL_")]:
            patch.delenv(name)
        patch.setenv("SELAR_LOCAL_CONFIG", os.devnull)
        if bundled:  # also where `selar-local pull` has put it into the user's cache
            patch.setenv("SELAR_LOCAL_MODELS", str(bundled.parent))
        patch.setenv("SELAR_LOCAL_CACHE", str(tmp_path_factory.mktemp("selar-local-cache")))
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """`tiny(**arguments of write_tiny_gguf)` is the path of that model, written once a session. Do not change it."""
    folder = tmp_path_factory.mktemp("tiny")
    written: dict[str, Path] = {}

    def model(**options: Any) -> Path:
        key = repr(sorted(options.items()))
        if key not in written:
            written[key] = write_tiny_gguf(folder / f"tiny-{len(written)}.gguf", **options)
        return written[key]

    return model


@pytest.fixture(scope="session")
def family_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """`family_model(family, **arguments of write_family_gguf)`: as `tiny`, for the architectures of its table."""
    folder = tmp_path_factory.mktemp("families")
    written: dict[str, Path] = {}

    def model(family: str, **options: Any) -> Path:
        key = repr((family, sorted(options.items())))
        if key not in written:
            written[key] = write_family_gguf(folder / f"{family}-{len(written)}.gguf", family, **options)
        return written[key]

    return model


def _models_folder() -> Path:
    return Path(os.environ.get("SELAR_MODELS") or Path.home() / ".cache" / "selar-models").expanduser()


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder of real models: $SELAR_MODELS, or where they are kept by default. Skips where there is none."""
    folder = _models_folder()
    if not folder.is_dir():
        pytest.skip(f"no real models: {folder} is no folder (name another with SELAR_MODELS)")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct: the bundled file, or one of SELAR_MODELS. Skips where neither is there."""
    bundled = bundled_models()[_SMOLLM2]
    if bundled is not None:
        return bundled
    folder = _models_folder()
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    for path in found:
        if path.name.lower().startswith(_SMOLLM2):
            return path
    pytest.skip(f"no {_SMOLLM2}: run selar-local pull {_SMOLLM2}, or put its GGUF file into {folder} (SELAR_MODELS)")


@pytest.fixture(autouse=True)
def _log_level_kept() -> Iterator[None]:
    """Inspect sets the level of the root logger; other tests look at what is logged."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
