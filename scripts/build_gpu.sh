#!/usr/bin/env bash
# Rebuilds llama-cpp-python in .venv with a GPU backend, and with RPC for models on several machines.
# usage: bash scripts/build_gpu.sh cuda|vulkan|hip|metal|rpc      (rpc: the CPU alone, for a worker without a GPU)
# CMAKE_ARGS adds to the options, such as -DCMAKE_CUDA_ARCHITECTURES=89.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh

need() { # need COMMAND WHAT
  command -v "$1" >/dev/null || { echo "error: $1 is missing: install $2" >&2; exit 1; }
}

case "${1:-}" in
  cuda) flags=-DGGML_CUDA=on; need nvcc "NVIDIA's CUDA toolkit, and put its bin folder on the PATH" ;;
  vulkan) flags=-DGGML_VULKAN=on; need glslc "the Vulkan SDK (Debian, Ubuntu: libvulkan-dev glslc spirv-headers)" ;;
  hip) flags=-DGGML_HIP=on; need hipcc "AMD's ROCm" ;;
  metal) flags=-DGGML_METAL=on; need xcrun "Xcode's command line tools" ;;
  rpc) flags= ;;
  *) echo "usage: $0 cuda|vulkan|hip|metal|rpc" >&2; exit 2 ;;
esac
need cmake cmake
install_package "."
version=$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("llama-cpp-python"))')
CMAKE_ARGS="$flags -DGGML_RPC=on ${CMAKE_ARGS:-}" .venv/bin/python -m pip install --force-reinstall --no-cache-dir \
  --no-deps --no-binary llama-cpp-python "llama-cpp-python==$version"
.venv/bin/selar-local doctor
