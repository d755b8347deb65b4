#!/usr/bin/env bash
# The demo of `make run`: installs and builds what is missing, then `posthorn demo`, which needs no server.
# Its files stay in posthorn-run/. POSTHORN_DEMO_SECONDS: how long the shop is open.
set -euo pipefail
cd "$(dirname "$0")/.."

log=build-run.log
tools/deps.sh run
printf 'building (%s)\n' "$log"
if ! tools/build.sh build --only src/cli/posthorn >"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    printf 'tools/run.sh: the build failed; all it said is in %s\n' "$log" >&2
    exit 70
fi
build/src/cli/posthorn demo --dir posthorn-run --seconds "${POSTHORN_DEMO_SECONDS:-10}"
printf '(posthorn is build/src/cli/posthorn here; make install puts it into the path)\n'
