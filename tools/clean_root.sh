#!/usr/bin/env bash
# Prints the path of a tar file: a minimal Debian 12 as debootstrap makes it, with the packages that
# posthorn needs downloaded and not installed, so that installing there needs no network. Made once, by
# root, into the cache.
#
#   tools/clean_root.sh        $DEBIAN_MIRROR names another mirror than deb.debian.org
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

SUITE=bookworm
WANTED=(libpq5 librdkafka1 libsqlite3-0 libyaml-0-2 libpq-dev libsqlite3-dev)

fetch() { # FOLDER
    local root=$1/root log=$1/debootstrap.log
    command -v debootstrap >/dev/null || cache_die "debootstrap is missing: run tools/deps.sh ci"
    [ "$(id -u)" -eq 0 ] || cache_die "only root can make a clean root"
    if ! { debootstrap --variant=minbase "$SUITE" "$root" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" &&
           chroot "$root" apt-get install -y -q --no-install-recommends --download-only "${WANTED[@]}"; } \
           >"$log" 2>&1 </dev/null; then
        tail -n 10 "$log" >&2
        cache_die "debootstrap could not make a Debian $SUITE here (all it said is in $log)"
    fi
    tar -C "$root" --numeric-owner -cf "$1/root.tar" .
    rm -rf "$root"
}

folder=$(cached "debian-$SUITE-1" fetch)
printf '%s/root.tar\n' "$folder"
