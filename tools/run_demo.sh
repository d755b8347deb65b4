#!/usr/bin/env bash
# The demo of `make run`: installs what is missing, builds, and hands over to tools/demo.py.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p posthorn-run
tools/deps.sh run
printf 'building into build/\n'
if ! tools/build.sh build >posthorn-run/build.log 2>&1; then
    tail -n 30 posthorn-run/build.log >&2
    printf 'the build failed; all of its log is in posthorn-run/build.log\n' >&2
    exit 1
fi
exec /usr/bin/python3 tools/demo.py "$@"
