#!/usr/bin/env bash
# What a new user does in the first five minutes, in an environment of its own: a model folder saved by Transformers is served and answers
# curl, openai's client, the SDK, and the client that is installed alone. Usage: tools/first_token.sh [VENV]
# Nothing of the caller's environment or home reaches the server: env -i and a new HOME. VENV is one that tools/install.sh made (.venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$(cd "${1:-.venv}" && pwd)
home=$(mktemp -d)
server=
ended() {
  if [ -n "$server" ]; then kill "$server" 2>/dev/null && wait "$server" || true; fi
  rm -rf "$home"
}
trap ended EXIT
clean() { env -i PATH="$venv/bin:/usr/local/bin:/usr/bin:/bin" HOME="$home" LANG=C.UTF-8 OMP_NUM_THREADS=2 "$@"; }
say() { echo "first token: $* (${SECONDS} s)"; }
fail() { echo "first token: $*" >&2; tail -40 "$home/log" >&2 || true; exit 1; }

say "a model folder, saved by Transformers"
clean python -P tools/first_token.py model "$home/my-model"

say "skipjoin serve my-model"
(cd "$home" && exec env -i PATH="$venv/bin:/usr/local/bin:/usr/bin:/bin" HOME="$home" LANG=C.UTF-8 \
  skipjoin serve ./my-model --listen 127.0.0.1:0 --http-listen 127.0.0.1:0 >"$home/line" 2>"$home/log") &
server=$!
for _ in $(seq 600); do
  grep -q '^skipjoin serves' "$home/line" && break
  kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready"
  sleep 0.2
done
line=$(grep '^skipjoin serves' "$home/line") || fail "the server was not ready in two minutes"
echo "   $line"
http=$(sed -E 's/.*HTTP ([^ ]+).*/\1/' <<<"$line")
grpc=$(sed -E 's/.*gRPC ([^ ]+).*/\1/' <<<"$line")

say "curl"
asked() { clean curl -sS --fail-with-body --max-time 60 "http://$http$1" -H 'Content-Type: application/json' -d "$2"; }
answer=$(asked /v1/completions '{"model": "my-model", "prompt": "Once upon a time", "max_tokens": 8}')
grep -q '"completion_tokens"' <<<"$answer" || fail "no completion: $answer"
answer=$(asked /v1/chat/completions '{"model": "my-model", "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 8}')
grep -q '"assistant"' <<<"$answer" || fail "no chat: $answer"
answer=$(asked /v1/chat/completions '{"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 8, "stream": true}')
grep -q '^data: \[DONE\]' <<<"$answer" || fail "no stream: $answer"

say "openai's client and the SDK"
clean python -P tools/first_token.py ask "$http" "$grpc"
clean skipjoin generate --target "$grpc" --max-new-tokens 8 "Once upon a time" >/dev/null

say "the client alone, in an environment without torch"
wheel=$("$venv/bin/python" -P tools/build_client.py "$home/dist" | tail -1)
"$venv/bin/python" -m venv "$home/client"
"$home/client/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
clean "$home/client/bin/python" -c 'import torch' 2>/dev/null && fail "the client's environment has torch"
clean "$home/client/bin/skipjoin-client" generate --target "$grpc" --max-new-tokens 8 "Once upon a time" >/dev/null

kill -TERM "$server"
wait "$server" || fail "the server did not end as it should: exit code $?"
server=
say "all of it worked"
