#!/usr/bin/env bash
# Prints the folder with the jars of a Kafka Connect worker and of Debezium's PostgreSQL connector; fetches
# them from Maven first when they are not in the cache. Runs nothing: bench/debezium.py does.
#
#   tools/debezium_jars.sh [VERSION [CONNECT-VERSION]]     (3.7.0.Final 4.3.1, which it is built against)
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

fetch() { # FOLDER
    jars "$1" "org.apache.kafka:connect-runtime:$CONNECT" "io.debezium:debezium-connector-postgres:$VERSION" \
        org.apache.logging.log4j:log4j-slf4j-impl:2.24.3
}

VERSION=${1:-3.7.0.Final} CONNECT=${2:-4.3.1}
cached "debezium-$VERSION-connect-$CONNECT" fetch
