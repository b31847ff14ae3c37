"""The patch against llama-cpp-python applies to the pinned version and gives the same logits.

Run as a script by its own test, in a process that imports the patched package:
`test_patch.py MODEL` prints what it found as one JSON object.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Step = tuple[str, Any]  # ("tokens", ids) or ("rows", float32 array)

ROOT = Path(__file__).resolve().parent.parent
N_CTX = 128
TEXT = b"so the answer is the number of the user"


# The part that runs in the patched process


def _token_rows(model_path: str) -> FloatArray:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    (table,) = (t for t in GGUFReader(model_path).tensors if t.name == "token_embd.weight")
    return dequantize(table.data, table.tensor_type)


def _steps(tokens: list[int], rows: FloatArray) -> dict[str, list[Step]]:
    """The same text fed in three ways, in batches of the same sizes: those decide the last bits."""
    head, body, last = tokens[:2], tokens[2:-1], tokens[-1:]
    mixed = np.float32(0.6) * rows[body[:1]] + np.float32(0.4) * rows[head[:1]]
    return {
        "tokens": [("tokens", head), ("tokens", body), ("tokens", last)],
        "rows": [("tokens", head), ("rows", rows[body]), ("tokens", last)],
        "mixed": [("tokens", head), ("rows", np.vstack([mixed, rows[body[1:]]])), ("tokens", last)],
    }


def _patched_logits(model: Any, steps: list[Step]) -> FloatArray:
    model.reset()
    for kind, values in steps:
        if kind == "tokens":
            model.eval(values)
        else:
            model.eval_embeddings(values)
    return model.scores[: model.n_tokens].copy()


def _own_logits(model: Any, steps: list[Step]) -> FloatArray:
    """Logits of the same steps through selar-local's own batch, in a context of its own."""
    import llama_cpp

    from selar_local.llama.input_batch import InputBatch

    context = llama_cpp.llama_init_from_model(model.model, model.context_params)
    mrope = llama_cpp.llama_model_rope_type(model.model) in (8, 40)
    n_past, n_vocab = 0, model.n_vocab()
    inputs = InputBatch(max(len(values) for _, values in steps), model.n_embd_inp(), n_vocab, mrope=mrope)
    logits: list[FloatArray] = []
    for kind, values in steps:
        n = len(values)
        where: Any = (range(n_past, n_past + n), [0] * n, [True] * n)
        if kind == "tokens":
            batch = inputs.of_tokens([int(token) for token in values], *where)
        else:
            inputs.rows(n)[:] = values
            batch = inputs.of_rows(n, *where)
        assert llama_cpp.llama_decode(context, batch) == 0
        found = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), shape=(n, n_vocab))
        logits.append(found.copy())
        n_past += n
    llama_cpp.llama_free(context)
    return np.concatenate(logits)


def _refusals(model: Any) -> list[str]:
    """Messages of the errors that bad rows raise."""
    width = model.n_embd_inp()
    infinite = np.zeros((2, width), np.float32)
    infinite[1, 0] = np.inf
    bad: list[Any] = [np.zeros((1, width + 1), np.float32), np.zeros((1, width)), infinite]
    messages = []
    for rows in bad:
        try:
            model.eval_embeddings(rows)
        except ValueError as error:
            messages.append(str(error))
    return messages


def _report(model_path: str) -> dict[str, Any]:
    import llama_cpp

    options = {"n_ctx": N_CTX, "n_batch": 64, "n_threads": 2, "n_threads_batch": 2}
    model = llama_cpp.Llama(model_path, logits_all=True, verbose=False, **options)
    tokens = model.tokenize(TEXT, add_bos=False)
    steps = _steps(tokens, _token_rows(model_path))
    patched = {name: _patched_logits(model, each) for name, each in steps.items()}
    input_ids = model.input_ids[: model.n_tokens].tolist()
    own = {name: _own_logits(model, each) for name, each in steps.items()}
    before = model.n_tokens
    return {
        "package": str(Path(llama_cpp.__file__).resolve().parent),
        "tokens": tokens,
        "input_ids": input_ids,
        "prefix": model.longest_token_prefix(input_ids, tokens),
        "finite": all(bool(np.isfinite(found).all()) for found in patched.values()),
        "rows_equal_tokens": np.array_equal(patched["rows"], patched["tokens"]),
        "equal_to_own": {name: np.array_equal(patched[name], own[name]) for name in steps},
        "moved_by_mixing": float(np.abs(patched["mixed"] - patched["tokens"]).max()),
        "refusals": _refusals(model),
        "refusals_change_nothing": model.n_tokens == before,
    }


# The part that pytest runs


def _patch_file() -> Path:
    (found,) = (ROOT / "patches").glob("llama-cpp-python-*-embedding-input.patch")
    return found


def _patched_version() -> str:
    match = re.fullmatch(r"llama-cpp-python-(\d+\.\d+\.\d+)-embedding-input\.patch", _patch_file().name)
    assert match is not None, "the patch's name tells the version it is for"
    return match[1]


def _package_part() -> bytes:
    """The part of the patch that touches what a wheel ships, with Unix line ends."""
    text = _patch_file().read_bytes().replace(b"\r\n", b"\n")
    parts = re.split(rb"^(?=diff --git )", text, flags=re.MULTILINE)
    return b"".join(part for part in parts if part.startswith(b"diff --git a/llama_cpp/"))


def _installed_package() -> Path:
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None and spec.origin is not None, "llama-cpp-python is not installed"
    return Path(spec.origin).parent


def _available_tools() -> list[str]:
    return [tool for tool in ("git", "patch") if shutil.which(tool)]


def _patched_copy(directory: Path, tool: str) -> Path:
    """Copy the installed package's Python files to `directory` and patch them there."""
    without = shutil.ignore_patterns("lib", "__pycache__")
    shutil.copytree(_installed_package(), directory / "llama_cpp", ignore=without)
    commands = {
        "git": ["git", "-c", "core.autocrlf=false", "apply", "--verbose", "-"],
        "patch": ["patch", "-p1", "--fuzz=0", "--batch", "--forward"],
    }
    # A repository around the directory would make git skip the files without a word.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(directory.parent), "LC_ALL": "C"}
    done = subprocess.run(
        commands[tool],
        cwd=directory,
        input=_package_part(),
        capture_output=True,
        env=environment,
        check=False,
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    assert "offset" not in said and "fuzz" not in said, said
    assert not [*directory.rglob("*.rej"), *directory.rglob("*.orig")], said
    assert "def eval_embeddings(" in (directory / "llama_cpp" / "llama.py").read_text("utf-8"), said
    assert "def add_embeddings(" in (directory / "llama_cpp" / "_internals.py").read_text("utf-8"), said
    return directory


if __name__ == "__main__":
    print(json.dumps(_report(sys.argv[1])))
else:
    import pytest
    from support.tiny_gguf import write_tiny_gguf

    @pytest.fixture(scope="module")
    def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
        tools = _available_tools()
        if not tools:
            pytest.fail("neither git nor patch is installed: one of them is needed to apply the patch")
        return _patched_copy(tmp_path_factory.mktemp("patched"), tools[0])

    def test_patch_is_for_the_pinned_version() -> None:
        major, minor, micro = _patched_version().split(".")
        pin = f'"llama-cpp-python>={major}.{minor}.{micro},<{major}.{minor}.{int(micro) + 1}"'
        assert pin in (ROOT / "pyproject.toml").read_text("utf-8")
        assert version("llama-cpp-python").split("+")[0] == _patched_version()

    def test_patch_names_package_and_test_files() -> None:
        files = re.findall(r"^diff --git a/(\S+) b/\1$", _patch_file().read_text("utf-8"), flags=re.MULTILINE)
        assert {"llama_cpp/_internals.py", "llama_cpp/llama.py", "tests/test_llama.py"} <= set(files)

    @pytest.mark.parametrize("tool", ["git", "patch"])
    def test_patch_applies_without_fuzz(tool: str, tmp_path: Path) -> None:
        if tool not in _available_tools():
            pytest.skip(f"{tool} is not installed")
        _patched_copy(tmp_path / "source", tool)

    @pytest.mark.parametrize("architecture", ["llama", "qwen2vl"])
    def test_patched_package_gives_the_same_logits(architecture: str, patched: Path, tmp_path: Path) -> None:
        model = write_tiny_gguf(tmp_path / "tiny.gguf", architecture=architecture)
        library = os.environ.get("LLAMA_CPP_LIB_PATH", str(_installed_package() / "lib"))
        added = {"PYTHONPATH": str(patched), "LLAMA_CPP_LIB_PATH": library, "GGML_NO_BACKTRACE": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), str(model)]
        done = subprocess.run(command, env=os.environ | added, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout.splitlines()[-1])

        assert report["package"] == str((patched / "llama_cpp").resolve())
        tokens, fed_as_rows = report["tokens"], len(report["tokens"]) - 3
        assert fed_as_rows >= 4, "more rows than llama.cpp's small-batch kernels take"
        assert report["finite"]
        assert report["rows_equal_tokens"]
        assert report["equal_to_own"] == {"tokens": True, "rows": True, "mixed": True}
        assert report["moved_by_mixing"] > 0.01
        assert report["input_ids"] == tokens[:2] + [-1] * fed_as_rows + tokens[-1:]
        assert report["prefix"] == 2
        assert len(report["refusals"]) == 3
        assert report["refusals_change_nothing"]
