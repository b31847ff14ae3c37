"""Models on a device that is not the CPU: a GPU, or Mesa's lavapipe, which is a Vulkan device on the CPU.

``bash scripts/build_offload_test.sh`` makes an environment with such a build; its pytest runs this folder. It works on
a real GPU's build as well. Elsewhere all of it is skipped.
"""

from __future__ import annotations

import os

# llama.cpp leaves devices out that are CPUs, unless they are named. Before it looks for devices.
os.environ.setdefault("GGML_VK_VISIBLE_DEVICES", "0")

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from selar_local.config import EngineConfig
from selar_local.llama import library
from selar_local.llama.devices import backend_devices
from selar_local.llama.gguf_file import open_gguf
from selar_local.llama.layer_sizes import layer_sizes
from selar_local.llama.runtime import LlamaRuntime

FILES = {"SmolLM2": "smollm2-135m", "Gemma 3": "gemma-3-270m", "Qwen2.5": "qwen2.5-coder-0.5b"}
CASES = [(name, share) for name in FILES for share in ("all", "half")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    if not here:
        return
    library.start()
    there = any(device.takes_layers for device in backend_devices())
    for item in here:
        item.add_marker(pytest.mark.offload)
        if not there:
            item.add_marker(pytest.mark.skip(reason="no device: run bash scripts/build_offload_test.sh"))


class Pair(NamedTuple):
    """The same model with layers on the device, and on the CPU alone."""

    device: LlamaRuntime
    cpu: LlamaRuntime

    @property
    def prompt(self) -> list[int]:
        return self.cpu.model.prompt_tokens("The capital of France is Paris. The capital of Italy is")


def model_file(folder: Path, name: str) -> Path:
    found = sorted(path for path in folder.glob("*.gguf") if path.name.lower().startswith(FILES[name]))
    if not found:
        pytest.skip(f"{folder} has no {FILES[name]}*.gguf")
    return found[0]


def layers_of(path: Path, share: str) -> int:
    offered = layer_sizes(open_gguf(path)).offered
    return offered if share == "all" else offered // 2


@pytest.fixture(scope="session", params=CASES, ids=lambda case: f"{case[0]}, {case[1]}")
def pair(request: pytest.FixtureRequest, models_dir: Path) -> Iterator[Pair]:
    name, share = request.param
    path = model_file(models_dir, name)
    same = {"ctx_size": 256, "parallel": 2, "cache_type_k": "f32", "cache_type_v": "f32"}
    device = LlamaRuntime(
        path, EngineConfig(gpu_layers=layers_of(path, share), **same), check_again=True, watch_layers=True
    )
    cpu = LlamaRuntime(path, EngineConfig(device="none", **same), watch_layers=True)
    yield Pair(device, cpu)
    device.close()
    cpu.close()


@pytest.fixture(scope="session")
def small(models_dir: Path) -> Path:
    """SmolLM2, for what takes many tokens."""
    return model_file(models_dir, "SmolLM2")
