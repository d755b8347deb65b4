#!/usr/bin/env bash
# Prints the folder with what an example is built from, as its lock file pins it; fetches that into the cache first
# when it is not there. Runs nothing of it but better-sqlite3's own build: test/integration/test_examples.py does.
#
#   tools/example_deps.sh node|go|rust|java-jdbc|java-spring
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

# quiet FOLDER COMMAND...: says what it said only when it fails.
quiet() {
    local log=$1/fetch.log
    shift
    if ! timeout 900 "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        cache_die "could not fetch what examples/$EXAMPLE needs; is the registry reachable?"
    fi
    rm -f "$log"
}

fetch() { # FOLDER
    case $EXAMPLE in
    node)
        cp "$FROM/package.json" "$FROM/package-lock.json" "$1"
        quiet "$1" npm ci --prefix "$1" --no-audit --no-fund
        ;;
    go) quiet "$1" env GOMODCACHE="$1/mod" GOFLAGS=-modcacherw sh -c 'cd "$1" && go mod download' sh "$FROM" ;;
    rust) quiet "$1" env CARGO_HOME="$1" cargo fetch --locked --manifest-path "$FROM/Cargo.toml" ;;
    java-*)
        maven "$1" -f "$FROM/pom.xml" $DEPENDENCY:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1/jars"
        ;;
    esac
}

EXAMPLE=${1:-}
case $EXAMPLE in
node) pins=package-lock.json tool=node ;;
go) pins=go.sum tool=go ;;
rust) pins=Cargo.lock tool=cargo ;;
java-jdbc | java-spring) pins=pom.xml tool=javac ;;
*) cache_die "usage: tools/example_deps.sh node|go|rust|java-jdbc|java-spring" 64 ;;
esac
command -v "$tool" >/dev/null || cache_die "no $tool here: run tools/deps.sh ci"
FROM=$PWD/../examples/$EXAMPLE
key=$(cat "$FROM/$pins" - <<<"$([ "$EXAMPLE" != node ] || node --version)" | sha256sum)
folder=$(cached "example-$EXAMPLE-${key:0:12}" fetch)
printf '%s\n' "$folder"
