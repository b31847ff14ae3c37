#!/usr/bin/env bash
# From a fresh machine (Python 3.10 to 3.13, gcc, cmake) to two streamed answers of the bundled model: ordinary and SeLaR.
# usage: bash scripts/demo.sh [PROMPT]
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/venv.sh
install_package "."
.venv/bin/selar-local pull smollm2-135m >/dev/null
question="${1:-Why is the sky blue? Answer in three sentences.}"

say() { printf '\n%s\n' "$1" >&2; }

say "Question: $question"
say "1. Ordinary sampling (--method cot): the next input is always the token that the model has printed."
.venv/bin/selar-local run -p "$question" --method cot --seed 7 --max-tokens 200
# With the defaults this model explores at about half of the steps, and its text breaks (docs/methods/selar.md).
say "2. SeLaR: where the model is torn between tokens, the next input is a mix of them.
   Half of what is fed is the printed token (--anchor 0.5), without the paper's push (--contrast 0),
   and at most 15 % of the steps do this (--max-share 0.15): so the text of such a small model breaks less often."
.venv/bin/selar-local run -p "$question" --contrast 0 --anchor 0.5 --max-share 0.15 --seed 7 --max-tokens 200
say "This model has 135 million parameters: it writes well and knows little. Your own: selar-local run model.gguf"
