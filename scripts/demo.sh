#!/usr/bin/env bash
# From a fresh machine (Python 3.10 to 3.13, gcc, cmake) to a streamed SeLaR answer of the bundled model.
# usage: bash scripts/demo.sh [PROMPT]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
install_package "."
.venv/bin/selar-local pull smollm2-135m >/dev/null
.venv/bin/selar-local run -p "${1:-Why is the sky blue? Answer in three sentences.}" --max-tokens 200
