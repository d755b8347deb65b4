#!/usr/bin/env bash
# Formats all C files as .clang-format says; with --check it only says which differ.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(-i)
[ "${1:-}" != --check ] || mode=(--dry-run -Werror)
command -v clang-format >/dev/null || tools/deps.sh test
folders=()
for folder in src include test bench; do
    [ ! -d "$folder" ] || folders+=("$folder")
done
find "${folders[@]}" -name '*.[ch]' -print0 | xargs -0 -r clang-format "${mode[@]}"
