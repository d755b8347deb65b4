#!/usr/bin/env bash
# Installs what is missing from the distribution's packages, and says what.
#
#   tools/deps.sh build   to compile            tools/deps.sh test   to run all tests
#   tools/deps.sh deb     and to build the packages
#   tools/deps.sh run     and to run the demo   tools/deps.sh ci     and to run .ci/run
#
# An entry is PACKAGE, or COMMAND=PACKAGE where another package may bring the same command. It asks
# dpkg alone when nothing is missing, so that every make target can call it.
set -euo pipefail

BUILD=(meson ninja=ninja-build pkg-config=pkgconf cc=gcc libc6-dev libpq-dev libsqlite3-dev librdkafka-dev
       libyaml-dev libcmocka-dev python3-minimal)
DEB=("${BUILD[@]}" dpkg-buildpackage=dpkg-dev debhelper scdoc)
RUN=("${BUILD[@]}")
TEST=("${RUN[@]}" postgresql python3-psycopg sqlite3 pgbouncer python3-pytest python3-pytest-timeout python3-pytest-xdist
      python3-confluent-kafka python3-jsonschema python3-yaml scdoc pmccabe clang-format
      java=default-jre-headless mvn=maven openssl faketime)
CI=("${TEST[@]}" gcc clang clang-tidy libclang-rt-14-dev llvm git setarch=util-linux
    dpkg-buildpackage=dpkg-dev debhelper groff=groff-base lintian debootstrap systemd-analyze=systemd bash zsh fish)
# The examples' languages, and C++ for the headers. Debian 12's own cargo cannot read the registry as it is served now.
CI+=(g++=g++ node=nodejs npm=npm go=golang-go cargo=cargo-web javac=default-jdk-headless)

die() {
    printf 'tools/deps.sh: %s\n' "$1" >&2
    exit "${2:-69}"
}

# The packages of "$@" that are not installed, one a line.
missing() {
    local entry wanted=()
    for entry in "$@"; do
        if [[ $entry == *=* ]]; then
            command -v "${entry%%=*}" >/dev/null || printf '%s\n' "${entry#*=}"
        else
            wanted+=("$entry")
        fi
    done
    # dpkg-query fails when it does not know a package; such a one is missing too
    { dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true; } |
        awk -v wanted="${wanted[*]}" '$1 == "installed" { have[$2] = 1 }
            END { n = split(wanted, w, " "); for (i = 1; i <= n; i++) if (!(w[i] in have)) print w[i] }'
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "not root and no sudo here; install these packages yourself: $packages"
    fi
}

# Debian's postgresql package makes and starts a cluster of its own unless told not to. The tests start
# their own servers in temporary folders.
no_cluster_of_its_own() {
    local conf=/etc/postgresql-common/createcluster.conf
    [[ " $packages " == *" postgresql "* ]] || return 0
    grep -qsE '^[[:space:]]*create_main_cluster[[:space:]]*=[[:space:]]*false' "$conf" && return 0
    printf '  (and create_main_cluster = false in %s, so that no server is started)\n' "$conf"
    as_root mkdir -p "${conf%/*}"
    as_root sh -c "printf 'create_main_cluster = false\n' >>$conf"
}

# The pgbouncer package starts a service, which nobody asked for; the tests start their own.
no_service_of_its_own() {
    [[ " $packages " == *" pgbouncer "* && -d /run/systemd/system ]] || return 0
    as_root systemctl disable --quiet --now pgbouncer || true
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" </dev/null
}

install() {
    local log
    log=$(mktemp)
    printf 'installing with apt-get: %s\n' "$packages"
    no_cluster_of_its_own
    # shellcheck disable=SC2086  # the package names are meant to be split
    if ! { apt update && apt install -y --no-install-recommends \
           -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold $packages; } >"$log" 2>&1; then
        tail -n 25 "$log" >&2
        die "apt-get could not install: $packages (all it said is in $log)"
    fi
    rm -f "$log"
    no_service_of_its_own
}

case ${1:-} in
build) entries=("${BUILD[@]}") ;;
deb) entries=("${DEB[@]}") ;;
run) entries=("${RUN[@]}") ;;
test) entries=("${TEST[@]}") ;;
ci) entries=("${CI[@]}") ;;
*) die "usage: tools/deps.sh build|deb|run|test|ci" 64 ;;
esac
command -v dpkg-query >/dev/null ||
    die "this is no Debian or Ubuntu; install the equivalents of: ${entries[*]}"
packages=$(missing "${entries[@]}" | sort -u | tr '\n' ' ')
packages=${packages% }
[ -z "$packages" ] || install
