#!/usr/bin/env bash
# The second study (docs/results/PLAN.md): runs the pieces that are missing, one arm with one seed each.
# usage: bash scripts/study.sh 1                       stage 1
#        bash scripts/study.sh 2 "selar:contrast=0"    stage 2, with the chosen arm
# DATA: the folder of the .jsonl files. MODELS: the folder of the GGUF files. LOGS: where logs with texts stay.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${DATA:?the folder of gsm8k_dev.jsonl and math500_dev.jsonl}" "${MODELS:?the folder of the GGUF files}"
logs=${LOGS:-selar-eval/second-study} results=docs/results/second-study
mkdir -p "$logs" "$results"
awk 'NR % 2 == 1' "$DATA/gsm8k_dev.jsonl" >"$logs/gsm8k_a.jsonl"
awk 'NR % 2 == 0' "$DATA/gsm8k_dev.jsonl" >"$logs/gsm8k_b.jsonl"
arms="cot selar moi selar:contrast=0;anchor=0.5 multiplex moi:tau=0.5 selar:show=heaviest selar:max_share=0.03"

piece() { # piece MODEL PARALLEL TASK DATA SEED ARM [eval options]
  local name="$3-$(basename "$4" .jsonl)-qwen2.5-coder-$1-seed$5-${6//[:;=]/_}"
  [ -e "$results/$name.json" ] && return
  selar-local eval "$MODELS/qwen2.5-coder-$1-instruct-q4_k_m.gguf" --task "$3" --data "$4" --seed "$5" --samples 1 \
    --parallel "$2" -n 512 --methods "$6" --out "$logs/$name" "${@:7}" >"$logs/$name.txt"
  selar-local report "$logs/$name" -o "$results/$name.json"
}

case ${1:-} in
  1)
    for arm in $arms; do piece 1.5b 48 gsm8k "$logs/gsm8k_a.jsonl" 11 "$arm"; done
    for arm in $arms; do piece 0.5b 32 gsm8k "$logs/gsm8k_a.jsonl" 11 "$arm"; done
    ;;
  2)
    for seed in 21 22 23 24; do
      for arm in cot "${2:?the chosen arm}"; do piece 1.5b 48 gsm8k "$logs/gsm8k_b.jsonl" "$seed" "$arm"; done
    done
    for seed in 21 22; do
      for arm in cot "$2"; do piece 1.5b 48 math500 "$DATA/math500_dev.jsonl" "$seed" "$arm" --level 1-3; done
    done
    ;;
  *)
    echo "usage: bash scripts/study.sh 1 | 2 ARM" >&2
    exit 2
    ;;
esac
