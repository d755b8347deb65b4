#!/usr/bin/env bash
# clang-tidy over src/, two files at a time; .clang-tidy says what it looks for.
#
#   tools/tidy.sh BUILD [FILE...]     BUILD: a folder built with clang, whose flags are used
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1
shift
[ $# -gt 0 ] || mapfile -t found < <(find src -name '*.c' | sort)
[ $# -gt 0 ] || set -- "${found[@]}"
printf '%s\0' "$@" | xargs -0 -P 2 -n 8 clang-tidy -p "$build" --quiet \
    2> >(grep -vE '^[0-9]+ warnings? (generated|treated as errors)|^Suppressed|^Use -header' >&2)
