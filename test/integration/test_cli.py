"""The command's words: help, exit statuses, init, status, and how run starts and stops."""

import json
import os
import re
import signal
import subprocess
import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from command import answer, posthorn, start, tool
from schema_db import SQL, VERSION, install, one
from servers import until

COMMANDS = ["init", "publish", "run", "status", "verify", "cleanup", "forget", "erase", "help"]
NOWHERE = "postgresql://127.0.0.1:1/nothing"


@pytest.fixture
def empty(pg15):
    with pg15.fresh_database("cli") as database:
        yield database


@pytest.fixture
def db(empty):
    return install(empty)


# Words and statuses, without a server.

def test_help_goes_to_stdout():
    front = posthorn("help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in front
        page = posthorn("help", name).stdout
        assert page == posthorn(name, "--help").stdout
        assert "Usage:\n  posthorn " + name in page
    assert front == posthorn("--help").stdout
    assert "source.poll_max" in posthorn("help", "run").stdout
    assert "route.rules.N.FIELD" in posthorn("help", "run").stdout


def test_version_names_the_client_libraries():
    said = posthorn("--version").stdout
    assert re.search(r"^posthorn \d+\.\d+", said)
    assert re.search(r"^libpq \d+\.\d+$", said, re.M)
    assert said == posthorn("run", "--version").stdout


@pytest.mark.parametrize("words, says", [
    ([], "no command was given"),
    (["intt"], 'unknown command "intt" (did you mean init?)'),
    (["--bogus"], "unknown option --bogus"),
    (["init"], "DB-URI is missing"),
    (["init", "a", "b"], '"b" has no place here'),
    (["init", "--dryrun", "a"], "unknown option --dryrun (did you mean --dry-run?)"),
    (["run"], "--from is missing"),
    (["run", "--from", "postgresql:///"], "--to is missing"),
    (["run", "--from"], "option --from needs a value"),
    (["run", "--once=1"], "option --once takes no value"),
    (["run", "--from", "a", "--from", "b"], "option --from was given twice"),
    (["verify", "--to", "stdout:"], "--from is missing"),
    (["status"], "DB-URI is missing"),
    (["status", "x", "--log-level", "loud"], "--log-level loud"),
    (["--log-format", "xml", "status", "x"], "--log-format xml"),
    (["help", "nothing"], 'unknown command "nothing"'),
    (["publish", "x"], "--aggregate-type is missing"),
    (["publish", "x", "--ndjson", "-", "--payload", "1"], "--payload does not go with --ndjson"),
])
def test_wrong_use(words, says):
    done = posthorn(*words, status=64)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("posthorn: ") and says in done.stderr and "see posthorn help" in done.stderr


def test_all_wrong_settings_are_told_at_once():
    sets = ["sorce.poll_max=1s", "source.poll_max=soon", "window=0", "start=tomorrow", "nothing", "route.topic={nix}"]
    words = [w for s in sets for w in ("--set", s)]
    done = posthorn("run", "--from", "postgresql:///x", "--to", "file:/tmp/x", "--name", "a b", *words, status=78)
    lines = done.stderr.splitlines()
    assert len(lines) == len(sets) + 1
    for says in ["did you mean source.poll_max?", '"soon"', "window", '"tomorrow"', "KEY=VALUE", "nix", '"a b"']:
        assert any(says in line for line in lines), says


def test_unknown_uris():
    lines = posthorn("run", "--from", "mysql://x", "--to", "ftp://user:geheim@x", status=78).stderr
    assert '--from: unknown kind of URI "mysql"' in lines and '--to: unknown kind of URI "ftp"' in lines
    assert "geheim" not in lines


def test_a_database_that_is_not_there():
    for words in (["init", NOWHERE], ["status", NOWHERE], ["publish", NOWHERE, "--ndjson", "/dev/null"]):
        assert "cannot connect" in posthorn(*words, status=69).stderr


def test_a_wrong_connection_string():
    assert "geheim" not in posthorn("init", "postgresql://u:geheim@h:notaport/x", status=78).stderr


# init

@pytest.mark.parametrize("command", ["init", "status", "cleanup", "forget", "erase", "publish"])
def test_commands_name_the_databases_there_are(command):
    more = {"forget": ["p"], "erase": ["--aggregate-type", "a", "--aggregate-id", "b", "--yes"],
            "publish": ["--ndjson", "/dev/null"]}
    said = posthorn(command, "mysql://user:geheim@host/x", *more.get(command, []), status=78).stderr
    assert 'unknown kind of URI "mysql"; expected one of: postgresql' in said and "geheim" not in said


def test_init_twice(empty):
    assert posthorn("init", empty.dsn()).stdout == f"installed schema posthorn version {VERSION}\n"
    with empty.connect() as c:
        before = one(c, "SELECT oid FROM pg_class WHERE oid = 'posthorn.outbox'::regclass")
        assert posthorn("init", empty.dsn()).stdout == f"already at version {VERSION}\n"
        assert one(c, "SELECT oid FROM pg_class WHERE oid = 'posthorn.outbox'::regclass") == before


def test_init_dry_run_changes_nothing_and_is_what_would_run(empty):
    sql = posthorn("init", empty.dsn(), "--dry-run", "--roles").stdout
    with empty.connect() as c:
        assert one(c, "SELECT count(*) FROM pg_namespace WHERE nspname = 'posthorn'") == 0
        c.execute(sql)
        assert one(c, "SELECT schema_version FROM posthorn.meta") == VERSION
    assert posthorn("init", empty.dsn()).stdout == f"already at version {VERSION}\n"
    again = posthorn("init", empty.dsn(), "--dry-run").stdout
    assert f"-- already at version {VERSION}" in again and "CREATE" not in again


def test_two_inits_at_once(empty):
    both = [start("init", empty.dsn()) for _ in range(4)]
    said = sorted(p.communicate(timeout=60)[0] for p in both)
    assert [p.returncode for p in both] == [0] * 4
    assert said == [f"already at version {VERSION}\n"] * 3 + [f"installed schema posthorn version {VERSION}\n"]


def test_init_roles(empty):
    for _ in range(2):
        assert "posthorn_writer" in posthorn("init", empty.dsn(), "--roles").stdout
    with empty.connect() as c:
        assert one(c, "SELECT has_function_privilege('posthorn_relay', 'posthorn.make_tick(bigint)', 'EXECUTE')")


def test_init_keeps_nothing_when_it_fails(empty):
    with empty.connect() as c:
        c.execute("CREATE TABLE public.witness ()")
        c.execute("CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS "
                  "$$BEGIN IF tg_tag = 'CREATE VIEW' THEN RAISE 'no views here'; END IF; END$$")
        c.execute("CREATE EVENT TRIGGER refuse ON ddl_command_start EXECUTE FUNCTION public.refuse()")
        said = posthorn("init", empty.dsn(), status=69).stderr
        assert "cannot install version 1" in said and "no views here" in said
        assert one(c, "SELECT count(*) FROM pg_namespace WHERE nspname = 'posthorn'") == 0


def test_init_refuses_another_encoding(pg15):
    name = "latin_" + os.urandom(4).hex()
    with psycopg.connect(pg15.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        try:
            assert "has the encoding LATIN1, Posthorn needs UTF8" in posthorn("init", pg15.dsn(name), status=78).stderr
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_init_refuses_a_standby(pg15, empty):
    standby = pg15.make_standby()
    try:
        until(lambda: standby.sql("SELECT count(*) FROM pg_database WHERE datname = %s", empty.name)[0][0] == 1)
        assert "standby" in posthorn("init", standby.dsn(empty.name), status=78).stderr
    finally:
        standby.stop()


def test_init_refuses_a_newer_schema(db):
    with db.connect() as c:
        c.execute("UPDATE posthorn.meta SET schema_version = 9")
    assert "at version 9" in posthorn("init", db.dsn(), status=78).stderr


def test_init_refuses_a_schema_of_somebody_else(empty):
    with empty.connect() as c:
        c.execute("CREATE SCHEMA posthorn")
    posthorn("init", empty.dsn(), status=78)
    with empty.connect() as c:
        c.execute("CREATE TABLE posthorn.meta (schema_version int)")
    assert "not Posthorn's" in posthorn("init", empty.dsn(), status=78).stderr


def test_commands_name_init_where_the_schema_is_missing(empty):
    for words in (["status", empty.dsn()], ["publish", empty.dsn(), "--ndjson", "/dev/null"],
                  ["verify", "--from", empty.dsn(), "--to", "file:/tmp/x"]):
        assert "posthorn init" in posthorn(*words, status=78).stderr


# status

def make_checkpoint(c, pipeline, position=0, base=None):
    tick, snapshot = one(c, "SELECT tick, snapshot FROM posthorn.make_tick(0) AS t (tick, snapshot)")
    c.execute("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot, base_snapshot, start_snapshot) "
              "VALUES (%s, %s, %s, 1, %s, %s, '3:3:')", (pipeline, tick, position, snapshot, base or snapshot))


def insert(c, count):
    c.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) "
              "SELECT 'order', (i %% 100)::text, 'placed', '{}' FROM generate_series(1, %s) i", (count,))


def test_status_without_pipelines(db):
    assert posthorn("status", db.dsn()).stdout == "no pipelines yet\n"
    assert answer("status", db.dsn()) == {"pipelines": []}


def test_status_shows_lag_owner_and_error(db):
    with db.connect() as c:
        insert(c, 10)
        make_checkpoint(c, "all")
        make_checkpoint(c, "part", position=4, base="3:3:")
        insert(c, 3)
        c.execute("UPDATE posthorn.outbox SET created_at = now() - interval '100 s' WHERE position = 12")
        c.execute("INSERT INTO posthorn.lease (pipeline, owner, epoch, expires_at, last_error, last_error_at) VALUES "
                  "('all', 'host-1', 7, now() + interval '1 min', 'broker \"x\" is away', '2026-01-02 03:04:05+00'), "
                  "('new', 'host-2', 1, '-infinity', NULL, NULL)")
    pipelines = {p["name"]: p for p in answer("status", db.dsn())["pipelines"]}
    assert list(pipelines) == ["all", "new", "part"]
    every = pipelines["all"]
    assert set(every) == {"name", "shard", "position", "lagEvents", "lagEstimated", "lagSeconds", "owner", "epoch",
                          "expiresAt", "lastError", "lastErrorAt", "updatedAt", "stalledSeconds",
                          "parked", "dead", "scheduled", "pausedAt", "pausedBy", "pausedReason"}
    assert (every["shard"], every["position"], every["lagEvents"], every["lagEstimated"]) == (0, "1-0", 3, False)
    assert 100 <= every["lagSeconds"] < 200
    assert (every["owner"], every["epoch"], every["lastError"]) == ("host-1", 7, 'broker "x" is away')
    assert every["lastErrorAt"] == "2026-01-02T03:04:05.000000Z"
    assert pipelines["part"]["lagEvents"] == 9  # 5 to 10 of the tick under way, and the three behind it
    new = pipelines["new"]
    assert (new["position"], new["lagEvents"], new["lagSeconds"], new["owner"], new["expiresAt"]) == (None,) * 5

    text = posthorn("status", db.dsn()).stdout
    assert "all\n  position    1-0\n  lag         3 events, 10" in text
    assert "host-1, epoch 7, lease until" in text and 'broker "x" is away (2026-01-02T03:04:05.000000Z)' in text
    assert "new\n  position    not begun\n  owner       none, epoch 1" in text


def test_status_counts_what_was_open_at_the_tick(db):
    with db.connect() as c, db.connect() as late:
        late.execute("BEGIN")
        insert(late, 2)
        insert(c, 5)
        make_checkpoint(c, "p")
        assert answer("status", db.dsn())["pipelines"][0]["lagEvents"] == 0
        late.execute("COMMIT")
        assert answer("status", db.dsn())["pipelines"][0]["lagEvents"] == 2


def test_status_estimates_beyond_100000(db):
    with db.connect() as c:
        make_checkpoint(c, "p")
        insert(c, 100000)
        status = answer("status", db.dsn())["pipelines"][0]
        assert (status["lagEvents"], status["lagEstimated"]) == (100000, False)
        insert(c, 150000)
        status = answer("status", db.dsn())["pipelines"][0]
        assert status["lagEstimated"] and status["lagEvents"] == 250000
        assert "~250000 events" in posthorn("status", db.dsn()).stdout


def nodes(plan):
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


@pytest.mark.parametrize("analyzed", [False, True])
def test_status_does_not_read_settled_events(db, analyzed):
    with db.connect() as c, db.connect() as late:
        late.execute("BEGIN")
        insert(late, 1)
        for _ in range(20):
            insert(c, 5000)
        make_checkpoint(c, "p")
        late.execute("COMMIT")
        insert(c, 10)
        if analyzed:
            c.execute("ANALYZE posthorn.outbox")
        query = (SQL / "q_status.sql").read_text()
        plan = one(c, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + query.replace("$1", "NULL"))[0]["Plan"]
        assert answer("status", db.dsn())["pipelines"][0]["lagEvents"] == 11
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 400
    assert sum(node.get("Rows Removed by Filter", 0) for node in nodes(plan)) < 100


# run

def test_run_stops_at_sigterm(db, tmp_path):
    for sent in (signal.SIGTERM, signal.SIGINT):
        relay = tool().start_relay(db.dsn(), f"file:{tmp_path}/out", "--log-format", "json")
        relay.wait_log("delivering from")
        line = json.loads(relay.log.splitlines()[0])
        assert line["pipeline"] == "default" and line["level"] == "info"
        assert line["msg"].startswith("starting: posthorn") and "libpq" in line["msg"]
        relay.signal(sent)
        assert relay.wait(20) == 0
        assert "stopped: 0 events sent" in relay.log


def test_run_once_drains_and_ends(db, tmp_path):
    with db.connect() as c:
        insert(c, 1000)
    said = posthorn("run", "--from", db.dsn(), "--to", f"file:{tmp_path}/out", "--name", "once", "--once").stderr
    assert "drained: 1000 events sent" in said
    assert len((tmp_path / "out").read_text().splitlines()) == 1000
    status = answer("status", db.dsn())["pipelines"][0]
    assert (status["name"], status["lagEvents"], status["owner"]) == ("once", 0, None)


def test_a_second_signal_ends_run_at_once(db):
    with db.connect() as c:
        insert(c, 10)
    for sent, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        relay = tool().start_relay(db.dsn(), "kafka://127.0.0.1:1", name=f"s{status}", settings={"drain_timeout": "60s"})
        relay.wait_log("the sink is down")
        relay.signal(sent)
        relay.wait_log("stopping once what is in flight has arrived")
        relay.signal(sent)
        assert relay.wait(5) == status


def test_passwords_are_nowhere_to_be_seen(db, tmp_path):
    relay = tool().start_relay(make_conninfo(db.dsn(), password="geheim"), f"file:{tmp_path}/out")
    relay.wait_log("delivering from")
    with open(f"/proc/{relay.pid}/cmdline") as f:
        assert "geheim" not in f.read()
    assert relay.stop() == 0
    assert "geheim" not in relay.log and relay.log.count("a secret on the command line") == 1


def test_log_level_and_format(db, tmp_path):
    done = posthorn("--log-level", "error", "run", "--from", db.dsn(), "--to", f"file:{tmp_path}/out", "--once")
    assert done.stderr == ""


def test_a_full_stdout_is_an_error(db):
    with open("/dev/full", "w") as full:
        done = subprocess.run([str(tool().binary), "status", db.dsn()], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    assert done.returncode == 74 and "cannot write to stdout" in done.stderr


def test_init_waits_for_another_and_gives_up(empty):
    with empty.connect() as c:
        c.execute("SELECT pg_advisory_lock(8101821129752310384)")
        began = time.monotonic()
        timer = threading.Timer(2, c.execute, ("SELECT pg_advisory_unlock_all()",))
        timer.start()
        assert "installed" in posthorn("init", empty.dsn()).stdout
        assert time.monotonic() - began > 1.5
        timer.join()
