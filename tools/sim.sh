#!/usr/bin/env bash
# Lives seeds of the simulation (test/sim), two processes at a time: tools/sim.sh [SEEDS] [FIRST]
# A seed that breaks a promise is named, with the command that lives it again and says all that happens.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${POSTHORN_BUILD:-build}
tools/build.sh "$build" --only test/sim/posthorn_sim
"$build/test/sim/posthorn_sim" --count "${1:-10000}" --first "${2:-1}" --jobs "${JOBS:-2}"
