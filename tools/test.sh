#!/usr/bin/env bash
# Runs the tests, and ends with the line `N passed, N failed, N skipped`:
#
#   tools/test.sh [unit] [integration] [fault] [style]      these four without a word
#   tools/test.sh package                                   what is installed, in a clean root (needs root)
#
# It installs what the tests need, builds, starts the servers itself and stops them. POSTHORN_BUILD names
# another build folder than build/, POSTHORN_RESULTS where the JUnit files go (FOLDER/results),
# POSTHORN_TEST_WORKERS how many processes share the tests on servers (2; 0: one after the other in one).
set -uo pipefail
cd "$(dirname "$0")/.."
. tools/results.sh

build=${POSTHORN_BUILD:-build}
[ $# -gt 0 ] || set -- unit integration fault style
tools/deps.sh test || exit
# Tests on servers wait most of the time: in two processes, each with servers of its own, they end far sooner.
beside=(-n "${POSTHORN_TEST_WORKERS:-2}" --dist loadfile)
results_open "${POSTHORN_RESULTS:-$build/results}"
export POSTHORN_BUILD=$build

run_suite() {
    case $1 in
    unit) unit_tests unit "$build" ;;
    integration) pytests integration test/integration "${beside[@]}" ;;
    fault) step "build with failpoints" tools/failpoints.sh && pytests fault-smoke test/fault -m smoke "${beside[@]}" ;;
    style) pytests style test/style ;;
    package) tools/deps.sh ci && pytests package test/package ;;
    *) step "tests named $1" false ;;
    esac
}

if step build tools/build.sh "$build"; then
    for suite in "$@"; do
        run_suite "$suite"
    done
fi
results_close
