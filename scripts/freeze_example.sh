#!/usr/bin/env bash
# Builds the example chat window as one folder that runs without Python, in build/frozen/dist/chat_window.
# usage: bash scripts/freeze_example.sh [PyInstaller options]        e.g. --windowed, on Windows and macOS
# VENV names another virtual environment than .venv; MODEL names a GGUF file to check the result with.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${VENV:-}" ]; then
  python="$VENV/bin/python"
else
  . scripts/venv.sh
  install_package "." "PySide6-Essentials>=6.8,<6.12" "pyinstaller>=6.10,<7"
  python=.venv/bin/python
fi
out=build/frozen
# llama_cpp opens its libraries by path, and the methods are found by listing their package: PyInstaller sees neither.
"$python" -m PyInstaller --noconfirm --clean --log-level WARN --onedir --name chat_window --paths . \
  --distpath "$out/dist" --workpath "$out/work" --specpath "$out" \
  --collect-binaries llama_cpp --collect-submodules selar_local.methods --collect-submodules gguf \
  --hidden-import selar_local.engine.child --exclude-module tkinter "$@" examples/chat_window/chat_window.py
du -sh "$out/dist/chat_window"
if [ -n "${MODEL:-}" ]; then
  "$out/dist/chat_window/chat_window" --self-check "$MODEL" "What is the capital of France?"
fi
