#!/usr/bin/env bash
# Prints the folder with the jars of an Apache Kafka broker and its tools; fetches them from Maven first
# when they are not in the cache. Runs nothing: test/integration/kafka_server.py does.
#
#   tools/kafka_jars.sh [VERSION]     (4.3.1)
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

fetch() { # FOLDER
    local logging=org.apache.logging.log4j:log4j-slf4j-impl:2.24.3
    [[ $VERSION != 3.* ]] || logging=org.slf4j:slf4j-reload4j:1.7.36
    jars "$1" "org.apache.kafka:kafka_2.13:$VERSION" "org.apache.kafka:kafka-tools:$VERSION" "$logging"
}

VERSION=${1:-4.3.1}
cached "kafka-$VERSION" fetch
