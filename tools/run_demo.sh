#!/usr/bin/env bash
# The demo of `make run`: a throw-away PostgreSQL, a shop that places orders for ten seconds, the relay that
# delivers their events to a file meanwhile, and posthorn verify, which compares the file with the log.
#
# Installs and builds what is missing. The server lies in a temporary folder, listens on a unix socket there
# and nowhere else, and is gone at the end; the files stay in posthorn-run/. POSTHORN_DEMO_SECONDS: how long.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=/usr/bin/python3
POSTHORN=build/src/cli/posthorn
OUT=posthorn-run
SECONDS_OF_ORDERS=${POSTHORN_DEMO_SECONDS:-10}
SINK=file:$OUT/orders.ndjson
postgres_pid= relay_pid= orders_pid= temp=

die() {
    printf 'tools/run_demo.sh: %s\n' "$1" >&2
    [ -z "${2:-}" ] || tail -n 20 "$2" >&2
    exit 69
}

# until_true SECONDS COMMAND...: waits for a command that succeeds; fails after the time limit.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

ended() {
    ! kill -0 "$1" 2>/dev/null
}

stop() { # PID SIGNAL
    [ -n "$1" ] && kill "-$2" "$1" 2>/dev/null || return 0
    until_true 20 ended "$1" || kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    trap '' INT TERM
    stop "$orders_pid" TERM
    stop "$relay_pid" TERM
    stop "$postgres_pid" INT
    [ -z "$temp" ] || rm -rf "$temp"
}

# --pdeathsig ends a process with this script, even when that is killed.
as_server=(setpriv --pdeathsig INT)
[ "$(id -u)" -ne 0 ] || as_server+=(--reuid postgres --regid postgres --init-groups)

newest_postgres() {
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || die "no PostgreSQL server in /usr/lib/postgresql"
    printf '%s\n' "${initdb%/initdb}"
}

answers() {
    ended "$postgres_pid" && die "PostgreSQL ended; its last words:" "$OUT/postgres.log"
    "$bin/pg_isready" -q -t 1 -h "$temp" -U postgres
}

start_postgres() {
    bin=$(newest_postgres)
    temp=$(mktemp -d -t posthorn-demo-XXXXXX)
    [ "$(id -u)" -ne 0 ] || chown postgres: "$temp"
    (cd "$temp" && "${as_server[@]}" "$bin/initdb" -D "$temp/data" -U postgres -A trust -E UTF8 \
        --locale=C.UTF-8 --no-sync) >"$OUT/postgres.log" 2>&1 || die "initdb failed:" "$OUT/postgres.log"
    "${as_server[@]}" "$bin/postgres" -D "$temp/data" -c listen_addresses= \
        -c "unix_socket_directories=$temp" >>"$OUT/postgres.log" 2>&1 </dev/null &
    postgres_pid=$!
    until_true 60 answers || die "PostgreSQL does not answer:" "$OUT/postgres.log"
    "$bin/createdb" -h "$temp" -U postgres shop
    SOURCE="postgresql:///shop?host=$temp&user=postgres"
}

start_relay() {
    setpriv --pdeathsig TERM "$POSTHORN" run --from "$SOURCE" --to "$SINK" 2>"$OUT/relay.log" </dev/null &
    relay_pid=$!
}

place_orders() { # in the background, as a shell that waits for a program puts off its traps
    setpriv --pdeathsig TERM "$PYTHON" tools/demo_orders.py "$SOURCE" --seconds "$SECONDS_OF_ORDERS" \
        --result "$OUT/orders.json" </dev/null &
    orders_pid=$!
    wait "$orders_pid" || die "the orders could not be placed; the server's last words:" "$OUT/postgres.log"
    orders_pid=
}

caught_up() {
    ended "$relay_pid" && die "the relay ended; its last words:" "$OUT/relay.log"
    "$POSTHORN" status "$SOURCE" --json </dev/null | "$PYTHON" -c '
import json, sys
rows = json.load(sys.stdin)["pipelines"]
sys.exit(not rows or any(row["lagEvents"] for row in rows))'
}

stop_relay() {
    local status=0
    kill -TERM "$relay_pid"
    wait "$relay_pid" || status=$?
    relay_pid=
    [ "$status" -eq 0 ] || die "the relay ended with status $status; its last words:" "$OUT/relay.log"
}

# The figures of orders.json and verify.json; fails when verify found something, or saw other orders.
summary() {
    "$PYTHON" - "$OUT" <<'PY'
import json, sys
from pathlib import Path
out = Path(sys.argv[1])
orders, seen = (json.loads((out / name).read_text()) for name in ("orders.json", "verify.json"))
strangers = seen["phantom"] + seen["skipped"] + seen["pending"]
print(f"""
  orders committed    {orders["committed"]:7}
  orders rolled back  {orders["rolledBack"]:7}   (on purpose: no event of theirs may be delivered)
  events delivered    {seen["records"]:7}   of {seen["events"]} in the log

  missing {seen["missing"]}, duplicated {seen["duplicated"]}, out of order {seen["outOfOrder"]}""")
good = seen["ok"] and not strangers and seen["events"] == seen["records"] == orders["committed"]
if not good:
    print("  This is not right. What verify says:", json.dumps(seen))
sys.exit(0 if good else 1)
PY
}

farewell() {
    cat <<END

The files:
  $OUT/orders.ndjson   what was delivered, one event a line
  $OUT/relay.log       what the relay said         $OUT/verify.json   what verify found

With your own database, to Kafka:
  $POSTHORN init postgresql://USER@HOST/DB
  $POSTHORN run --from postgresql://USER@HOST/DB --to kafka://HOST:9092
and in your application, in the transaction that changes the order:
  SELECT posthorn.publish('order', '42', 'OrderPlaced', '{"amountCents": 1999}');
END
}

tools/deps.sh run
rm -rf "$OUT"
mkdir "$OUT"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
printf 'building (%s/build.log)\n' "$OUT"
tools/build.sh >"$OUT/build.log" 2>&1 </dev/null || die "the build failed:" "$OUT/build.log"
start_postgres
printf 'a throw-away PostgreSQL %s is up; installing the outbox, starting the relay\n' \
    "$(basename "${bin%/bin}")"
"$POSTHORN" init "$SOURCE" >"$OUT/init.log" 2>&1 </dev/null || die "posthorn init failed:" "$OUT/init.log"
start_relay
printf 'placing orders for %s s, each with its event in one transaction\n' "$SECONDS_OF_ORDERS"
place_orders
until_true 60 caught_up || die "the relay has not caught up in 60 s; its last words:" "$OUT/relay.log"
stop_relay
status=0
"$POSTHORN" verify --from "$SOURCE" --to "$SINK" --strict --json >"$OUT/verify.json" </dev/null || status=$?
[ -s "$OUT/verify.json" ] || die "posthorn verify ended with status $status and said nothing"
summary || status=1
farewell
exit "$status"
