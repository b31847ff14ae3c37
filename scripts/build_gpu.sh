#!/usr/bin/env bash
# Rebuilds llama-cpp-python in .venv with a GPU backend. usage: bash scripts/build_gpu.sh cuda|metal|vulkan|hip
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
case "${1:-}" in
  cuda) flag=GGML_CUDA ;;
  metal) flag=GGML_METAL ;;
  vulkan) flag=GGML_VULKAN ;;
  hip) flag=GGML_HIP ;;
  *) echo "usage: $0 cuda|metal|vulkan|hip" >&2; exit 2 ;;
esac
install_package "."
version=$(.venv/bin/python -c 'import importlib.metadata as m; print(m.version("llama-cpp-python"))')
CMAKE_ARGS="-D$flag=on ${CMAKE_ARGS:-}" .venv/bin/python -m pip install --force-reinstall --no-cache-dir --no-deps \
  --no-binary llama-cpp-python "llama-cpp-python==$version"
.venv/bin/selar-local doctor
