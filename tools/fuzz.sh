#!/usr/bin/env bash
# Runs each fuzzer for some seconds, all whatever fails: tools/fuzz.sh SECONDS [NAME...]
# New inputs stay in build-fuzz/corpus; what crashes lies in build-fuzz/crash-NAME-*.
set -uo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[ $# -eq 0 ] || shift
tools/deps.sh ci || exit
CC=clang tools/build.sh build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args=-fsanitize=fuzzer-no-link || exit

fuzz() { # NAME
    local new=build-fuzz/corpus/$1
    mkdir -p "$new"
    printf '\n== fuzz %s, %s s\n' "$1" "$seconds"
    UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "build-fuzz/test/fuzz/fuzz_$1" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -verbosity=0 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/crash-$1-" "$new" "test/fuzz/corpus/$1" </dev/null
}

[ "$seconds" -gt 0 ] || exit 0
[ $# -gt 0 ] || for program in build-fuzz/test/fuzz/fuzz_*; do
    [ ! -f "$program" ] || [ ! -x "$program" ] || set -- "$@" "${program##*/fuzz_}"
done
failed=
for name in "$@"; do
    fuzz "$name" || failed="$failed $name"
done
[ -z "$failed" ] || { printf 'tools/fuzz.sh: found something in:%s\n' "$failed" >&2; exit 1; }
