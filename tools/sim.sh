#!/usr/bin/env bash
# Lives seeds of the simulation (test/sim), two processes at a time: tools/sim.sh [SEEDS] [FIRST]
# Then, in a small world for each 250 of them, every call of a driver is a crash once, and every request
# for memory fails once. A seed that breaks a promise is named, with the command that lives it again and
# says all that happens.
set -euo pipefail
cd "$(dirname "$0")/.."

build=${POSTHORN_BUILD:-build}
seeds=${1:-10000} first=${2:-1} jobs=${JOBS:-2}
sim=$build/test/sim/posthorn_sim
tools/build.sh "$build" --only test/sim/posthorn_sim
"$sim" --count "$seeds" --first "$first" --jobs "$jobs"
for each in crash oom; do
    printf '\neach %s:\n' "$each"
    "$sim" "--$each" --count $((seeds / 250 + 1)) --first "$first" --jobs "$jobs"
done
