#!/usr/bin/env bash
# Unmodified, latest clients of OpenAI's API against `selar-local serve`: Python's and, where npm is there, JavaScript's.
# usage: bash scripts/try_clients.sh [MODEL [FOLDER]]      MODEL: a GGUF file (default: the bundled model);
#        FOLDER: where the clients are installed (default: a temporary one)
set -euo pipefail
cd "$(dirname "$0")/.."
model="${1:-}" folder="${2:-$(mktemp -d)}"
serve="${SELAR_LOCAL:-.venv/bin/python -m selar_local} serve"

[ -x "$folder/venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --upgrade --disable-pip-version-check \
  openai litellm langchain-openai pydantic-ai instructor llm "lm-eval[api]" transformers gguf canitoolcall

log="$folder/serve.log"
$serve $model --port 0 -c 2048 --method cot --log-requests 2>"$log" &
server=$!
trap 'kill $server; wait $server 2>/dev/null || true' EXIT
for _ in $(seq 120); do
  grep -q "^listening on" "$log" && break
  kill -0 $server 2>/dev/null || { cat "$log" >&2; exit 1; }
  sleep 0.5
done
url="$(sed -n 's/^listening on //p' "$log" | head -1)"
failed=0
checks=(openai litellm langchain-openai pydantic-ai instructor llm canitoolcall)
if [ -f "$model" ]; then
  "$folder/venv/bin/python" scripts/clients/tokenizer.py "$model" "$folder/tokenizer" && checks+=(lm-eval)
fi
TOKENIZER="$folder/tokenizer" HF_HUB_OFFLINE=1 LITELLM_LOCAL_MODEL_COST_MAP=True \
  "$folder/venv/bin/python" scripts/clients/try_clients.py "$url" "${checks[@]}" || failed=1

if command -v npm >/dev/null; then
  mkdir -p "$folder/npm"
  cp scripts/clients/try_clients.mjs "$folder/npm/"
  (cd "$folder/npm" && npm install --silent --no-save openai@latest ai@latest @ai-sdk/openai-compatible@latest)
  node "$folder/npm/try_clients.mjs" "$url" || failed=1
fi
exit $failed
