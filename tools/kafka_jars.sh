#!/usr/bin/env bash
# Prints the folder with the jars of an Apache Kafka broker and its tools; fetches them from Maven first
# when they are not in the cache. Runs nothing: test/integration/kafka_server.py does.
#
#   tools/kafka_jars.sh [VERSION]     (4.3.1)
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=tools/cache.sh
. ./cache.sh

dependency() { # GROUP ARTIFACT VERSION
    printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' "$@"
}

pom() {
    printf '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
    printf '<groupId>posthorn</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>\n'
    printf '<dependencies>\n'
    dependency org.apache.kafka kafka_2.13 "$VERSION"
    dependency org.apache.kafka kafka-tools "$VERSION"
    case $VERSION in
    3.*) dependency org.slf4j slf4j-reload4j 1.7.36 ;;
    *) dependency org.apache.logging.log4j log4j-slf4j-impl 2.24.3 ;;
    esac
    printf '</dependencies></project>\n'
}

fetch() { # FOLDER
    pom >"$1/pom.xml"
    maven "$1" -f "$1/pom.xml" $DEPENDENCY:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$1"
    rm "$1/pom.xml"
}

VERSION=${1:-4.3.1}
cached "kafka-$VERSION" fetch
