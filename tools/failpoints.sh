#!/usr/bin/env bash
# Builds the program with failpoints (src/base/failpoint.h) into build-faults/, for fault tests alone.
set -euo pipefail
cd "$(dirname "$0")/.."
exec tools/build.sh build-faults --only src/cli/posthorn -Dfailpoints=true -Dtests=disabled
