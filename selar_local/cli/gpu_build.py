"""How this machine gets a llama.cpp for its GPU: the command that builds it, and the wheels that are built already."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from selar_local.install_hint import pip_install

_DOCUMENTATION = "https://llama-cpp-python.readthedocs.io (Installation)"


class GpuBuild(NamedTuple):
    """backend: as llama.cpp's build calls it. why: what was seen of the GPU."""

    backend: str
    why: str

    def command(self, version: str) -> str:
        """What one pastes to rebuild llama.cpp for it."""
        rebuild = pip_install(
            "--force-reinstall", "--no-cache-dir", "--no-deps", "--no-binary", "llama-cpp-python",
            f"llama-cpp-python=={version}",
        )  # fmt: skip
        flags = f"-DGGML_{self.backend}=on -DGGML_RPC=on"
        before = f'set "CMAKE_ARGS={flags}", then ' if sys.platform == "win32" else f'CMAKE_ARGS="{flags}" '
        return f"{before}{rebuild}"


def gpu_build() -> GpuBuild:
    """The backend for the GPU of this machine, as far as its driver shows; else Vulkan, which all vendors have."""
    if sys.platform == "darwin":
        return GpuBuild("METAL", "Apple")
    if shutil.which("nvidia-smi"):
        return GpuBuild("CUDA", "NVIDIA's driver is here; its CUDA toolkit is needed")
    if Path("/dev/kfd").exists():
        return GpuBuild("HIP", "AMD's driver is here; ROCm is needed")
    faster = "faster with its own SDK: -DGGML_CUDA=on for NVIDIA, -DGGML_HIP=on for AMD"
    return GpuBuild("VULKAN", f"any vendor's, with the Vulkan SDK; {faster}")


def prebuilt_wheels() -> str:
    """Whether llama-cpp-python publishes wheels for a system like this one, and where it says how to install them."""
    machine = platform.machine().lower()
    kinds = {
        ("linux", "x86_64"): "CUDA",
        ("win32", "amd64"): "CUDA",
        ("darwin", "arm64"): "Metal",
    }
    kind = kinds.get((sys.platform, machine))
    if kind is None:
        return f"llama-cpp-python publishes no GPU wheels for {sys.platform} on {machine}."
    return (
        f"llama-cpp-python publishes wheels with {kind} for some versions of itself, Python and the driver: see "
        f"{_DOCUMENTATION}"
    )
