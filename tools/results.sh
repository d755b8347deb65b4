# Sourced by tools/test.sh and .ci/run: runs steps, all of them whatever fails, and counts the tests in
# JUnit files below $RESULTS, which it empties first.

PYTHON=/usr/bin/python3

results_open() { # FOLDER
    RESULTS=$1
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
}

# recorded NAME STATUS SECONDS [JUNIT]: says and keeps how a step ended, and ends as it did.
recorded() {
    local ended=ok
    [ "$2" -eq 0 ] || ended="FAILED with status $2"
    printf '== %s: %s, %d s\n' "$1" "$ended" "$3"
    "$PYTHON" tools/summary.py record "$RESULTS" "$@"
    return "$2"
}

# step NAME COMMAND...: counts as one test, passed when the command succeeds.
step() {
    local name=$1 status=0
    shift
    printf '\n== %s\n' "$name"
    SECONDS=0
    "$@" </dev/null || status=$?
    recorded "$name" "$status" "$SECONDS"
}

# tests NAME JUNIT COMMAND...: counts as the tests in the JUnit file that the command writes, and as one
# failed test more when it fails without one there.
tests() {
    local name=$1 junit=$2 status=0
    shift 2
    printf '\n== %s\n' "$name"
    SECONDS=0
    rm -f "$junit"
    "$@" </dev/null || status=$?
    recorded "$name" "$status" "$SECONDS" "$junit"
}

# nested NAME FOLDER COMMAND...: counts as the tests in the JUnit files that the command keeps in FOLDER,
# which lies below $RESULTS.
nested() {
    local name=$1 folder=$2 status=0
    shift 2
    printf '\n== %s\n' "$name"
    SECONDS=0
    "$@" </dev/null || status=$?
    recorded "$name" "$status" "$SECONDS" "$folder"
}

# pytests NAME ARGUMENT...: tests by pytest.
pytests() {
    local name=$1
    shift
    tests "$name" "$RESULTS/pytest.part" "$PYTHON" -m pytest --junitxml="$RESULTS/pytest.part" \
        -o junit_suite_name="$name" "$@"
}

# unit_tests NAME BUILD MESON-TEST-ARGUMENT...: Meson's tests of a build folder.
unit_tests() {
    local name=$1 build=$2
    shift 2
    tests "$name" "$build/meson-logs/testlog.junit.xml" ${SETARCH:+setarch "$(uname -m)" -R} \
        meson test -C "$build" --no-rebuild --print-errorlogs --timeout-multiplier 10 "$@"
}

# Says what failed and ends with `N passed, N failed, N skipped`; fails when anything did.
results_close() {
    "$PYTHON" tools/summary.py sum "$RESULTS"
}
