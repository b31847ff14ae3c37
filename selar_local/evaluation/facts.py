"""What a log records besides the answers: the model file, the software, the machine, the settings of the study."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selar_local._version import __version__
from selar_local.cache import sha256_of
from selar_local.engine.file_facts import header
from selar_local.errors import ModelFileError, OptionError
from selar_local.evaluation.config import MethodSpec
from selar_local.install_hint import version_of

if TYPE_CHECKING:
    from selar_local.evaluation.problems import Problem

#: What must be the same in all logs of a study. Threads, layers on a GPU, versions and the machine are only recorded.
SETTINGS = (
    "task", "data", "data_sha256", "problems", "problems_sha256", "model_sha256", "template_hash", "samples", "seed",
    "max_tokens", "stop", "sampling_given", "thinking", "ctx_size", "parallel", "batch_size", "cache_type_k",
    "cache_type_v", "flash_attn",
)  # fmt: skip
_TEMPLATE_ROOM = 512  # tokens for what a chat template adds
_ROUND = 256


def context_for(path: Path, prompts: Sequence[str], max_tokens: int) -> int:
    """Tokens of context for the longest of the prompts and its answer, at most what the model was trained for.

    The prompt's length is estimated from above, at two bytes a token, so that the model need not be open.
    """
    gguf = header(path)
    trained = gguf.metadata.get(f"{gguf.architecture}.context_length")
    longest = max((len(prompt.encode()) for prompt in prompts), default=0)
    needed = longest // 2 + _TEMPLATE_ROOM + max_tokens
    rounded = -(-needed // _ROUND) * _ROUND
    return min(rounded, trained) if isinstance(trained, int) and trained > 0 else rounded


def data_facts(data: str | None) -> dict[str, Any]:
    """The name of the file with the problems, and its SHA-256. Raises OptionError where it cannot be read."""
    if data is None:
        return {"data": None, "data_sha256": None}
    path = Path(data)
    try:
        return {"data": path.name, "data_sha256": sha256_of(path)}
    except (ModelFileError, OSError) as error:
        raise OptionError(f"data {data} cannot be read: {error}") from None


def problems_sha256(problems: Sequence[Problem]) -> str:
    """Of the problems as they are asked: which they are, and in which words."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update(repr(sorted(asdict(problem).items())).encode())
    return digest.hexdigest()


def method_facts(spec: MethodSpec, sampling: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one method's log from another's: label, method, all its options, the sampling in force."""
    in_force = spec.method.sampling(sampling).as_dict()
    in_force.pop("seed")
    return {"label": spec.label, "method": spec.method.name, "options": asdict(spec.method), "sampling": in_force}


def plain(value: Mapping[str, Any]) -> dict[str, Any]:
    """As a log gives it back: lists for tuples."""
    found: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return found


def environment() -> dict[str, Any]:
    """Versions, backend and machine. Loads llama.cpp."""
    from selar_local.llama import library
    from selar_local.llama.devices import backend_devices

    library.start()
    devices = [f"{one.name}: {one.description}" for one in backend_devices()]
    return {
        "llama_cpp_python": library.binding_version,
        "llama_cpp": _llama_build(),
        **programs(),
        "backend": "gpu" if library.can_offload() else "cpu",
        "devices": devices,
        "system_info": library.system_info(),
    }


def programs() -> dict[str, Any]:
    """Versions of what asks and grades, and the machine that it runs on."""
    return {
        "selar_local": __version__,
        "inspect_ai": version_of("inspect_ai"),
        "math_verify": version_of("math-verify"),
        "reasoning_gym": version_of("reasoning-gym"),
        "machine": f"{platform.platform()}, {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }


def _llama_build() -> str | None:
    """The SHA-256 of the llama.cpp library in use: its version is llama-cpp-python's, its build is not."""
    spec = importlib.util.find_spec("llama_cpp")
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        for pattern in ("libllama.so*", "libllama.dylib", "llama.dll"):
            for path in sorted((Path(folder) / "lib").glob(pattern)):
                return f"{path.name} sha256 {sha256_of(path)}"
    return None
