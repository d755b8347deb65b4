#!/usr/bin/env bash
# Builds into build/, or into another folder with Meson options of its own:
#
#   tools/build.sh [FOLDER [OPTION...]]        e.g. tools/build.sh build-asan -Db_sanitize=address,undefined
#   tools/build.sh FOLDER --only TARGET        that program alone
#
# The options count when the folder is made; `meson configure FOLDER` changes them later.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build}
[ $# -eq 0 ] || shift
targets=()
if [ "${1:-}" = --only ]; then
    targets=("$2")
    shift 2
fi
tools/deps.sh build
if [ ! -f "$folder/build.ninja" ]; then
    meson setup "$folder" "$@"
fi
ninja -C "$folder" "${targets[@]}"
