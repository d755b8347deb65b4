#!/usr/bin/env bash
# Prints the bin folder of a PostgreSQL server of another version than the distribution's; fetches it
# first when it is not in the cache.
#
#   tools/pg_binaries.sh 18.1.0      (14.20.0, 16.9.0, 17.6.0 and 18.1.0 are used by the tests)
#
# The servers are Maven artifacts: initdb, pg_ctl and postgres, without psql and pg_basebackup.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

case $(uname -m) in
x86_64) ARCH=amd64 ;;
aarch64) ARCH=arm64v8 ;;
*) cache_die "no PostgreSQL binaries are published for $(uname -m)" ;;
esac

unpack() { # JAR FOLDER: the jar holds one .txz
    /usr/bin/python3 - "$1" "$2" <<'PY'
import io, sys, tarfile, zipfile
jar = zipfile.ZipFile(sys.argv[1])
name = next(n for n in jar.namelist() if n.endswith(".txz"))
with tarfile.open(fileobj=io.BytesIO(jar.read(name)), mode="r:xz") as archive:
    archive.extractall(sys.argv[2])
PY
}

fetch() { # FOLDER
    local artifact=io.zonky.test.postgres:embedded-postgres-binaries-linux-$ARCH:$VERSION
    maven "$1" $DEPENDENCY:copy -Dartifact="$artifact" -DoutputDirectory="$1/jar" -Dmdep.useBaseVersion=true
    unpack "$1"/jar/*.jar "$1"
    rm -r "$1/jar"
    "$1/bin/postgres" --version >/dev/null || cache_die "the fetched PostgreSQL $VERSION does not run here"
}

[ $# -eq 1 ] || cache_die "usage: tools/pg_binaries.sh VERSION" 64
VERSION=$1
folder=$(cached "postgresql-$VERSION" fetch)
printf '%s/bin\n' "$folder"
