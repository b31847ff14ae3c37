#!/usr/bin/env bash
# Makes .venv-offload, for tests/offload: llama-cpp-python with the Vulkan and the RPC backend. Debian or Ubuntu.
# No GPU is needed: Mesa's lavapipe is a Vulkan device on the CPU. Some 15 minutes on 2 cores; run it again to continue.
# usage: bash scripts/build_offload_test.sh
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$PWD/.venv-offload
python=$venv/bin/python
packages="cmake ninja-build g++ libvulkan-dev mesa-vulkan-drivers glslc spirv-headers"

missing=$(for package in $packages; do dpkg -s "$package" >/dev/null 2>&1 || echo "$package"; done)
if [ -n "$missing" ]; then
  sudo=$([ "$(id -u)" = 0 ] || echo sudo)
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

[ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
pip() { "$python" -m pip --disable-pip-version-check --quiet "$@"; }
pip install --editable ".[server]" "pytest>=8,<10" "httpx>=0.27,<1" # llama.cpp for the CPU comes with it

version=$("$python" -c 'import importlib.metadata as m; print(m.version("llama-cpp-python"))')
source=$venv/llama_cpp_python-$version
vulkan=$source/vendor/llama.cpp/ggml/src/ggml-vulkan
if [ ! -e "$source/patched" ]; then
  rm -rf "$source"
  pip download --no-deps --no-binary llama-cpp-python --dest "$venv" "llama-cpp-python==$version"
  tar xzf "$source.tar.gz" -C "$venv"
  # optimising the shaders takes most of the time, and lavapipe's compiler does it again
  sed -i '/cmd.push_back("-O");/d' "$vulkan/vulkan-shaders/vulkan-shaders-gen.cpp"
  if ! grep -qs LayerSettingEXT /usr/include/vulkan/vulkan_structs.hpp; then
    # Debian 12's headers are too old for the settings of the validation layer
    sed -i -e '/std::vector<vk::LayerSettingEXT> settings/,/vk::LayerSettingsCreateInfoEXT layer_setting_info/d' \
      -e 's/, extensions, &layer_setting_info)/, extensions)/' "$vulkan/ggml-vulkan.cpp"
  fi
  touch "$source/patched"
fi

# The backends are libraries beside the others; libggml.so knows which there are. llama.cpp itself stays as it is.
libraries=$(echo "$venv"/lib/python*/site-packages)/llama_cpp/lib
if [ ! -e "$libraries/libggml-vulkan.so" ]; then
  cmake -S "$source" -B "$venv/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DGGML_VULKAN=on -DGGML_RPC=on -DLLAVA_BUILD=off >"$venv/cmake.log"
  cmake --build "$venv/build" --target ggml ggml-vulkan ggml-rpc
  cp -P "$venv"/build/bin/libggml*.so* "$libraries/"
fi
echo "run: .venv-offload/bin/python -m pytest tests/offload"
