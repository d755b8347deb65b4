# Sourced by tools/test.sh and .ci/run: runs steps, all of them whatever fails, and counts the tests in
# JUnit files below $RESULTS, which it empties first.

PYTHON=/usr/bin/python3

results_open() { # FOLDER
    RESULTS=$1
    rm -rf "$RESULTS"
    mkdir -p "$RESULTS"
}

# step NAME COMMAND...: counts as one test, passed when the command succeeds.
step() {
    local name=$1 status=0
    shift
    printf '\n== %s\n' "$name"
    SECONDS=0
    "$@" </dev/null || status=$?
    "$PYTHON" tools/summary.py record "$RESULTS" "$name" "$status" "$SECONDS"
    return "$status"
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
    "$PYTHON" tools/summary.py record "$RESULTS" "$name" "$status" "$SECONDS" "$junit"
    return "$status"
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
    tests "$name" "$build/meson-logs/testlog.junit.xml" meson test -C "$build" --no-rebuild --print-errorlogs "$@"
}

# Says what failed and ends with `N passed, N failed, N skipped`; fails when anything did.
results_close() {
    "$PYTHON" tools/summary.py sum "$RESULTS"
}
