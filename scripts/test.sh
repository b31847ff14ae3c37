#!/usr/bin/env bash
# Installs the package with what its tests need into .venv and runs all tests (fast layer and real models).
# usage: bash scripts/test.sh [pytest options]      e.g. -m "not gguf" for the fast layer alone, -n 0 in one process
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
install_package ".[hub,test]" --editable
.venv/bin/selar-local pull smollm2-135m >/dev/null
exec .venv/bin/python -m pytest -n auto --dist loadfile "$@"
