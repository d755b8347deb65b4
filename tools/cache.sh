# Sourced by the scripts that fetch servers: a cache outside the tree, filled once, by one at a time.
# The cache is $POSTHORN_CACHE, else /var/cache/posthorn for root (whose home other users cannot enter,
# and servers run as other users), else ~/.cache/posthorn.
shopt -s inherit_errexit

DEPENDENCY=org.apache.maven.plugins:maven-dependency-plugin:3.6.1

cache_die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-69}"
}

cache_folder() {
    if [ -n "${POSTHORN_CACHE:-}" ]; then
        printf '%s\n' "$POSTHORN_CACHE"
    elif [ "$(id -u)" -eq 0 ]; then
        printf '/var/cache/posthorn\n'
    else
        printf '%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}/posthorn"
    fi
}

# maven FOLDER ARGUMENTS: quiet, and says where it comes from when it fails.
maven() {
    local log=$1/mvn.log
    shift
    command -v mvn >/dev/null || cache_die "mvn is missing: run tools/deps.sh test"
    if ! timeout 900 mvn -B -q -Dstyle.color=never "$@" >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        cache_die "Maven could not fetch this; is Maven Central (or your mirror in ~/.m2/settings.xml) reachable?"
    fi
    rm -f "$log"
}

# cached NAME FETCH: prints the folder NAME of the cache, after FETCH has filled it (once).
cached() {
    local cache folder
    cache=$(cache_folder)
    folder=$cache/$1
    if [ ! -d "$folder" ]; then
        mkdir -p "$cache"
        chmod a+rx "$cache"
        exec 9>"$cache/.lock"
        flock -w 1800 9 || cache_die "another fetch holds $cache/.lock"
        if [ ! -d "$folder" ]; then
            rm -rf "$folder.part"
            mkdir "$folder.part"
            "$2" "$folder.part"
            chmod -R a+rX "$folder.part"
            mv "$folder.part" "$folder"
        fi
        exec 9>&-
    fi
    printf '%s\n' "$folder"
}

# jars FOLDER GROUP:ARTIFACT:VERSION...: these and all that they need to run, into the folder.
jars() {
    local folder=$1 each group artifact version
    shift
    {
        printf '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>\n'
        printf '<groupId>posthorn</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>\n'
        printf '<dependencies>\n'
        for each; do
            IFS=: read -r group artifact version <<<"$each"
            printf '<dependency><groupId>%s</groupId><artifactId>%s</artifactId><version>%s</version></dependency>\n' \
                "$group" "$artifact" "$version"
        done
        printf '</dependencies></project>\n'
    } >"$folder/pom.xml"
    maven "$folder" -f "$folder/pom.xml" $DEPENDENCY:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$folder"
    rm "$folder/pom.xml"
}
