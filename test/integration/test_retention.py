"""What leaves the log and who says so: the migration to version 2, cleanup, forget, erase, and a pipeline that stands still."""

import json
import os
import pty
import re
import subprocess
import threading
import time

import pytest
from psycopg import errors

from command import answer, posthorn, start, tool
from ledger import OK, Writers, read_ndjson
from schema_db import EARLIEST, SQL, VERSION, install, make_tick, one, waits_for_lock
from servers import until

ERASED = {"erased": True}
ORDER_1 = ["--aggregate-type", "order", "--aggregate-id", "1"]
WHO = re.compile(r"^[^@\s]+@\S+$")


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        yield conn


def publish(conn, key="1", kind="order", count=1, days_ago=0):
    """Events with payload and header; those of another day lie in that day's bucket."""
    conn.execute(
        "INSERT INTO posthorn.outbox (bucket, created_at, aggregate_type, aggregate_id, event_type, payload, headers)"
        " SELECT (extract(epoch FROM t)::bigint / 86400 %% 10)::smallint, t, %s, %s, 'Placed',"
        "        jsonb_build_object('name', 'Ada', 'i', i), '{\"mail\": \"ada@example.org\"}'"
        "   FROM generate_series(1, %s) i, LATERAL (SELECT clock_timestamp() - %s * interval '1 day') AS l (t)",
        [kind, key, count, days_ago])


def checkpoint(conn, pipeline="p", known=0, base=None):
    tick, snapshot = make_tick(conn, known)
    conn.execute("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot, base_snapshot, start_snapshot)"
                 " VALUES (%s, %s, 0, 1, %s, %s, '3:3:')", [pipeline, tick, snapshot, base or snapshot])


def lease(conn, pipeline="p", expires="'-infinity'", retention=None):
    conn.execute("INSERT INTO posthorn.lease (pipeline, owner, epoch, expires_at, retention)"
                 f" VALUES (%s, 'host:42', 7, {expires}, %s)", [pipeline, retention])


def park(conn, state, pipeline="p"):
    """A copy of the newest event, as the relay keeps one that left the flow."""
    conn.execute("INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, state, xid, created_at, event_id,"
                 " aggregate_type, aggregate_id, event_type, headers, payload) SELECT %s, 1, position, 1, position, %s, xid, created_at,"
                 " event_id, aggregate_type, aggregate_id, event_type, headers, payload FROM posthorn.outbox ORDER BY position DESC LIMIT 1",
                 [pipeline, state])


def deliver(db, path, *words):
    posthorn("run", "--from", db.dsn(), "--to", f"file:{path}", "--once", *words)
    return read_ndjson(path)


def held(db, path):
    got = answer("verify", "--from", db.dsn(), "--to", f"file:{path}", "--strict")
    assert got["ok"] and got["beyondLog"] == 0, got
    return got


def everything(conn):
    """All rows of all tables of the schema, their files, sequences and settings."""
    tables = [r[0] for r in conn.execute("SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'posthorn'::regnamespace"
                                         " AND relkind IN ('r', 'S') ORDER BY 1").fetchall()]
    rows = {t: sorted(map(repr, conn.execute(f"SELECT * FROM {t}").fetchall())) for t in tables}
    files = conn.execute("SELECT oid::regclass::text, relfilenode FROM pg_class"
                         " WHERE relnamespace = 'posthorn'::regnamespace ORDER BY 1").fetchall()
    defaults = conn.execute("SELECT adrelid::regclass::text, pg_get_expr(adbin, adrelid) FROM pg_attrdef ORDER BY 1, 2").fetchall()
    return rows, files, defaults


# -- the migration from version 1 -----------------------------------------------------------------


@pytest.fixture
def old(each_database):
    """A database at version 1 with its roles, as version 1 made them."""
    install(each_database, 1)
    roles = (SQL / "roles.sql").read_text().split("GRANT SELECT, INSERT, UPDATE ON posthorn.checkpoint")[0]
    with each_database.connect() as conn:
        conn.execute(roles)
        conn.execute("GRANT EXECUTE ON FUNCTION posthorn.maintain(interval), posthorn.set_retention(interval),"
                     " posthorn.make_tick(bigint), posthorn.identity(), posthorn.timeline() TO posthorn_relay")
    return each_database


def test_migrates_a_log_with_events_and_checkpoints(old, tmp_path):
    with old.connect() as c:
        publish(c, count=50)
        publish(c, count=50, days_ago=3)
        checkpoint(c, "default", base=EARLIEST)
        c.execute("INSERT INTO posthorn.lease (pipeline, owner, epoch, expires_at) VALUES ('default', 'host:42', 7, '-infinity')")
        c.execute("SELECT posthorn.set_ring_width(324000)")  # a retention of 30 days
        before = {t: c.execute(f"SELECT * FROM posthorn.{t} ORDER BY 1, 2").fetchall() for t in ("outbox", "tick", "checkpoint")}
        assert f"needs version {VERSION}: migrate it with posthorn init" in posthorn("status", old.dsn(), status=78).stderr
        assert "migrate it with posthorn init" in posthorn("run", "--from", old.dsn(), "--to", f"file:{tmp_path}/x", status=78).stderr
        assert posthorn("init", old.dsn()).stdout == (
            f"migrated schema posthorn from version 1 to {VERSION}\n"
            "granted to roles posthorn_owner, posthorn_relay, posthorn_writer\n")
        for table, rows in before.items():  # what a version adds stands behind
            after = c.execute(f"SELECT * FROM posthorn.{table} ORDER BY 1, 2").fetchall()
            assert [row[:len(rows[0])] for row in after] == rows
            assert all(value is None for row in after for value in row[len(rows[0]):])
        assert one(c, "SELECT retention = '30 days', ring_width_seconds FROM posthorn.meta") == (True, 324000)
        assert one(c, "SELECT bool_and(proowner = 'posthorn_owner'::regrole) FROM pg_proc"
                      " WHERE pronamespace = 'posthorn'::regnamespace")
        assert one(c, "SELECT bool_and(relowner = 'posthorn_owner'::regrole) FROM pg_class"
                      " WHERE relnamespace = 'posthorn'::regnamespace AND relkind IN ('r', 'p', 'v')")
        for function in ("fit_retention()", "maintain(interval)", "maintain_plan(interval)", "make_tick(bigint)"):
            assert one(c, "SELECT has_function_privilege('posthorn_relay', 'posthorn.' || %s, 'EXECUTE')", function)
    assert posthorn("init", old.dsn()).stdout == f"already at version {VERSION}\n"
    assert len(deliver(old, tmp_path / "out")) == 100


def test_a_dry_run_says_the_migration(old):
    with old.connect() as c:
        sql = posthorn("init", old.dsn(), "--dry-run").stdout
        assert one(c, "SELECT schema_version FROM posthorn.meta") == 1
        assert "CREATE TABLE posthorn.audit" in sql and "CREATE TABLE posthorn.outbox " not in sql and "-- roles" in sql
        c.execute(sql)
        assert one(c, "SELECT schema_version FROM posthorn.meta") == VERSION


def test_migrates_while_writers_write(old, tmp_path):
    with Writers(old.dsn(), count=4) as writers:
        writers.wait_ok(200)
        assert "migrated" in posthorn("init", old.dsn()).stdout
        writers.wait_ok(writers.ledger.counts[OK] + 200)
    assert not writers.failures
    assert {e["id"] for e in deliver(old, tmp_path / "out")} == set(writers.ledger.ids())


# -- retention ------------------------------------------------------------------------------------


def test_a_relay_leaves_its_wish_and_the_longest_is_in_force(db, c, posthorn, tmp_path):
    relays = [posthorn.start_relay(db.dsn(), f"file:{tmp_path}/{name}", name=name,
                                   settings={"source.retention": wish, "maintain_interval": "100ms", "lease": "1s"})
              for name, wish in (("short", "2d"), ("long", "90d"), ("middle", "10d"))]
    until(lambda: one(c, "SELECT count(*) FROM posthorn.lease WHERE retention IS NOT NULL") == 3)
    widths = "SELECT retention = '90 days', ring_width_seconds FROM posthorn.meta"
    until(lambda: one(c, widths) == (True, 972000))
    row = one(c, "SELECT xmin::text FROM posthorn.meta")
    end = time.monotonic() + 3  # about ten rounds of each
    while time.monotonic() < end:
        assert one(c, "SELECT xmin::text FROM posthorn.meta") == row, "nobody turns it back"
    for relay in relays:
        assert relay.stop() == 0


# -- cleanup --------------------------------------------------------------------------------------


def aged(conn):
    conn.execute("UPDATE posthorn.tick SET made_at = made_at - interval '20 days'")


def rings(parts):
    return {p["name"]: (p["action"], p["reason"], p["events"]) for p in parts}


def test_cleanup_says_what_goes_what_stays_and_why(db, c):
    today = one(c, "SELECT current_bucket FROM posthorn.outbox_status")
    five, three = (today - 5) % 10, (today - 3) % 10
    publish(c, count=7, days_ago=5)
    checkpoint(c, "behind")
    publish(c, count=9, days_ago=3)
    publish(c, count=2)
    checkpoint(c, "ahead", known=1)
    aged(c)
    before = everything(c)
    plan = answer("cleanup", db.dsn(), "--dry-run")
    assert plan["dryRun"] and len(plan["parts"]) == 20
    told = rings(plan["parts"])
    assert told[f"outbox bucket {five}"] == ("clear", "settled", 7)
    assert told[f"outbox bucket {three}"] == ("kept", "pipeline behind, shard 0", 9)
    assert told[f"outbox bucket {today}"] == ("kept", "the current bucket", 2)
    assert told[f"outbox bucket {(today + 1) % 10}"] == ("empty", "empty", 0)
    text = posthorn("cleanup", db.dsn(), "--dry-run").stdout
    assert re.search(rf"^outbox bucket {three} +9  kept      pipeline behind, shard 0$", text, re.M)
    assert text.endswith("would clear 1 of 20 parts, 16 were empty\n")
    assert everything(c) == before

    told = rings(answer("cleanup", db.dsn())["parts"])
    assert told[f"outbox bucket {five}"] == ("cleared", "settled", 7)
    assert told[f"outbox bucket {three}"] == ("kept", "pipeline behind, shard 0", 9)
    assert one(c, "SELECT count(*) FROM posthorn.outbox") == 11


def test_cleanup_takes_a_retention_for_once(db, c):
    publish(c, days_ago=5)
    checkpoint(c)
    c.execute("UPDATE posthorn.tick SET made_at = made_at - interval '4 days'")
    assert "the retention" in posthorn("cleanup", db.dsn()).stdout  # 7 days
    assert "cleared 1 of" in posthorn("cleanup", db.dsn(), "--retention", "3d").stdout
    assert one(c, "SELECT retention = '7 days' FROM posthorn.meta")
    assert "--retention 3: write it as" in posthorn("cleanup", db.dsn(), "--retention", "3", status=64).stderr


def test_the_plan_takes_no_lock_and_needs_no_right_to_write(c, db):
    publish(c, days_ago=5)
    checkpoint(c)
    aged(c)
    with db.connect() as other:
        other.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY")
        assert len(other.execute("SELECT * FROM posthorn.maintain_plan()").fetchall()) == 20
        modes = {r[0] for r in c.execute("SELECT mode FROM pg_locks WHERE pid = %s AND locktype IN ('relation', 'advisory')",
                                         [other.info.backend_pid]).fetchall()}
        assert modes == {"AccessShareLock"}


def test_cleanup_beside_another_does_nothing_and_says_so(db, c):
    c.execute("SELECT pg_advisory_lock(8101821129752310383)")
    assert "another posthorn clears this log" in posthorn("cleanup", db.dsn(), status=69).stderr


def test_cleanup_names_what_is_busy(db, c):
    publish(c, days_ago=5)
    checkpoint(c)
    aged(c)
    with db.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM posthorn.outbox")
        assert {"busy"} == {p["action"] for p in answer("cleanup", db.dsn())["parts"] if p["action"] not in ("empty", "kept")}
        reader.execute("ROLLBACK")
    assert "cleared 1 of" in posthorn("cleanup", db.dsn()).stdout


def test_cleanup_while_writers_write_loses_nothing(db, c, posthorn, tmp_path):
    """A ring of ten seconds, a retention of one: buckets go all the while, the relay misses no event."""
    c.execute("SELECT posthorn.set_ring_width(1)")
    path, cleared = tmp_path / "out", 0
    relay = posthorn.start_relay(db.dsn(), f"file:{path}", settings={"maintain_interval": "0"})
    with Writers(db.dsn(), count=4, rate=400) as writers:
        writers.wait_ok(1)
        while cleared < 3:
            parts = answer("cleanup", db.dsn(), "--retention", "1s")["parts"]
            cleared += sum(p["action"] == "cleared" and p["name"].startswith("outbox") for p in parts)
    posthorn.wait_drained(db.dsn())
    assert relay.stop() == 0
    ids = [e["id"] for e in read_ndjson(path)]
    assert len(ids) == len(set(ids)) and set(ids) == set(writers.ledger.ids())
    assert one(c, "SELECT count(*) FROM posthorn.outbox") < len(ids)


# -- forget ---------------------------------------------------------------------------------------


def test_forget_refuses_while_owned(db, c, posthorn, tmp_path):
    publish(c)
    relay = posthorn.start_relay(db.dsn(), f"file:{tmp_path}/out", name="p", settings={"source.retention": "90d"})
    posthorn.wait_drained(db.dsn(), "p")
    before = everything(c)[0]["posthorn.checkpoint"]
    said = tool().run("forget", db.dsn(), "p")
    assert said.returncode == 78 and "pipeline p is owned by " in said.stderr and "stop that posthorn" in said.stderr
    assert everything(c)[0]["posthorn.checkpoint"] == before and relay.running()
    assert relay.stop() == 0
    c.execute("SELECT posthorn.fit_retention()")
    assert one(c, "SELECT retention = '90 days' FROM posthorn.meta")
    lease(c, "other", retention="1 day")
    done = posthorn.run("forget", db.dsn(), "p", "--reason", "moved to Kafka", check=True)
    assert done.stdout == "forgot pipeline p\n"
    assert [p["name"] for p in answer("status", db.dsn())["pipelines"]] == ["other"]
    assert one(c, "SELECT retention = '1 day' FROM posthorn.meta")  # its wish no longer counts
    who, act, reason, detail = one(c, "SELECT who, act, reason, detail FROM posthorn.audit")
    assert WHO.match(who) and (act, reason, detail["pipeline"]) == ("forget", "moved to Kafka", "p")
    assert detail["login"] == "postgres" and detail["epoch"] == 1


def test_a_forgotten_pipeline_holds_nothing_back(db, c):
    checkpoint(c, "gone")
    publish(c, days_ago=5)
    make_tick(c, 1)
    aged(c)
    assert "pipeline gone, shard 0" in posthorn("cleanup", db.dsn()).stdout
    posthorn("forget", db.dsn(), "gone")
    assert "cleared 1 of" in posthorn("cleanup", db.dsn()).stdout


def test_forget_names_an_unknown_pipeline(db):
    assert 'knows no pipeline "nobody"' in posthorn("forget", db.dsn(), "nobody", status=78).stderr
    assert "PIPELINE is missing" in posthorn("forget", db.dsn(), status=64).stderr


@pytest.mark.parametrize("state, lost", [("parked", True), ("dead", True), ("scheduled", True), ("skipped", False), ("discarded", False)])
def test_forget_keeps_parked_events_unless_told(c, db, state, lost):
    publish(c)
    checkpoint(c)
    park(c, state)
    if lost:
        said = posthorn("forget", db.dsn(), "p", status=78).stderr
        assert "has 1 parked, dead or scheduled events" in said and "--discard-parked" in said
        assert one(c, "SELECT count(*) FROM posthorn.parked") == one(c, "SELECT count(*) FROM posthorn.checkpoint") == 1
    posthorn("forget", db.dsn(), "p", *(["--discard-parked"] if lost else []))
    assert one(c, "SELECT count(*) FROM posthorn.parked") == one(c, "SELECT count(*) FROM posthorn.checkpoint") == 0
    assert one(c, "SELECT (detail->>'parked')::int, detail->>'parkedRowsRemoved' FROM posthorn.audit") == (int(lost), "1")


def test_the_epoch_grows_beyond_a_forgotten_pipeline(db, c, tmp_path):
    for epoch in (1, 2, 3):
        publish(c)
        assert len(deliver(db, tmp_path / f"out{epoch}", "--name", "p")) == epoch  # from the start, each time
        assert one(c, "SELECT epoch FROM posthorn.lease") == epoch
        posthorn("forget", db.dsn(), "p")


def test_an_instance_that_comes_while_it_is_forgotten_begins_anew(db, c):
    """Leases are locked before they are judged: a claim came first, and forget refuses, or it waits and finds it gone."""
    lease(c)
    claim = re.sub(r"\$\d", "%s", (SQL / "q_lease_claim.sql").read_text())
    epochs = []
    with db.connect() as forgetter, db.connect() as other:
        forgetter.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert one(forgetter, "SELECT posthorn.forget('p', 'me')") is True
        going = threading.Thread(target=lambda: epochs.append(one(other, claim, "p", 0, 1, "new", "here", 10000, 86400000)[0]))
        going.start()
        waits_for_lock(c, other)
        forgetter.execute("COMMIT")
        going.join(20)
    assert epochs == [8]
    with pytest.raises(errors.ObjectInUse):
        c.execute("SELECT posthorn.forget('p', 'me')")


# -- erase ----------------------------------------------------------------------------------------


def test_erase_replaces_content_and_keeps_rows_ids_and_order(db, c):
    publish(c, count=3)
    publish(c, key="2", count=2)
    publish(c, kind="cart")
    c.execute("SELECT posthorn.publish('order', '1', 'x', NULL, payload_bytes => 'secret', content_type => 'text/plain')")
    c.execute("SELECT posthorn.publish('order', '1', 'gone', NULL, headers => '{\"mail\": \"ada\"}')")
    park(c, "dead")
    kept = "SELECT position, xid, event_id, created_at, bucket, aggregate_type, aggregate_id, event_type FROM posthorn.outbox ORDER BY 1"
    others = "SELECT * FROM posthorn.outbox WHERE (aggregate_type, aggregate_id) <> ('order', '1') ORDER BY position"
    before, untouched = c.execute(kept).fetchall(), c.execute(others).fetchall()
    done = posthorn("erase", db.dsn(), *ORDER_1, "--reason", "ticket 7", "--yes")
    assert done.stdout == "erased 6 rows\n"  # 5 events and the parked copy
    assert c.execute(kept).fetchall() == before and c.execute(others).fetchall() == untouched
    rows = c.execute("SELECT payload, payload_bytes, content_type, headers FROM posthorn.outbox"
                     " WHERE (aggregate_type, aggregate_id) = ('order', '1') ORDER BY position").fetchall()
    assert rows[:3] == [(ERASED, None, None, {})] * 3
    assert rows[3][0] is None and json.loads(rows[3][1]) == ERASED and rows[3][2:] == ("application/json", {})
    assert rows[4] == (None, None, None, {})  # a tombstone stays one
    assert one(c, "SELECT payload, headers FROM posthorn.parked") == (None, {})
    who, act, reason, detail = one(c, "SELECT who, act, reason, detail FROM posthorn.audit")
    assert WHO.match(who) and (act, reason) == ("erase", "ticket 7")
    assert detail == {"aggregateType": "order", "aggregateId": "1", "events": 5, "parkedCopies": 1, "login": "postgres"}
    assert posthorn("erase", db.dsn(), *ORDER_1, "--yes").stdout == "erased 0 rows\n"


def test_an_unsettled_event_is_delivered_erased_exactly_once(db, c, tmp_path):
    path = tmp_path / "out"
    publish(c, count=2)
    deliver(db, path)
    publish(c, count=3)
    make_tick(c, 1)  # begun before, read behind the erasure
    posthorn("erase", db.dsn(), *ORDER_1, "--yes")
    publish(c, key="2")
    events = deliver(db, path)
    assert [e["payload"] for e in events[2:5]] == [ERASED] * 3 and events[5]["payload"]["name"] == "Ada"
    assert len({e["id"] for e in events}) == 6
    assert [e["payload"]["name"] for e in events[:2]] == ["Ada"] * 2  # what is in a sink stays there
    assert held(db, path)["events"] == 6


def test_erase_while_a_relay_delivers_and_writers_write(db, c, posthorn, tmp_path):
    path = tmp_path / "out"
    relay = posthorn.start_relay(db.dsn(), f"file:{path}", settings={"batch_events": 20, "window": 2})
    rounds = erased = 0
    with Writers(db.dsn(), count=6, keys=20, name="k") as writers:
        writers.wait_ok(100)
        while rounds < 12:
            done = posthorn.run("erase", db.dsn(), "--aggregate-type", "ledger", "--aggregate-id", f"k-{rounds % 4}", "--yes",
                                check=True)
            erased += int(done.stdout.split()[1])
            rounds += 1
        writers.wait_ok(writers.ledger.counts[OK] + 300)
    assert not writers.failures, "no writer failed"
    posthorn.wait_drained(db.dsn())
    assert relay.stop() == 0
    ids = [e["id"] for e in read_ndjson(path)]
    assert len(ids) == len(set(ids)) and set(ids) == set(writers.ledger.ids())
    assert held(db, path)["events"] == len(ids)
    assert erased >= one(c, "SELECT count(*) FROM posthorn.outbox WHERE payload = '{\"erased\": true}'") > 0
    assert one(c, "SELECT count(*) FROM posthorn.audit") == 12


def test_erase_waits_for_a_truncate_and_for_no_writer(db, c):
    publish(c, days_ago=5)
    checkpoint(c)
    publish(c)
    aged(c)
    with db.connect() as cleaner, db.connect() as writer:
        writer.execute("BEGIN")
        publish(writer, count=2)
        cleaner.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        rows = cleaner.execute("SELECT action FROM posthorn.maintain('1 second')").fetchall()
        assert ("cleared",) in rows
        eraser = start("erase", db.dsn(), *ORDER_1, "--yes")
        until(lambda: one(c, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'posthorn erase'"
                             " AND wait_event_type = 'Lock'") == 1, what="the eraser to wait for the bucket")
        cleaner.execute("COMMIT")
        said, problems = eraser.communicate(timeout=30)
        assert (eraser.returncode, said, problems) == (0, "erased 1 row\n", "")
        writer.execute("COMMIT")
    assert one(c, "SELECT count(*) FROM posthorn.outbox WHERE payload <> '{\"erased\": true}'") == 2  # came behind it


def test_erase_reaches_a_copy_that_is_made_meanwhile(db, c):
    """A relay parks the event: before the erasure's lock it is found, behind it the erased row is copied."""
    publish(c, count=2)
    checkpoint(c)
    park_one = """SELECT posthorn.park('p', 0, 1, jsonb_build_array(jsonb_build_object('act', 'put', 'state', 'dead', 'tick', 1,
                  'position', %s::bigint, 'attempts', 1, 'passed', false)))"""
    with db.connect() as early, db.connect() as eraser, db.connect() as late:
        early.execute("BEGIN")
        early.execute(park_one, [1])
        eraser.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        done = []
        erasing = threading.Thread(target=lambda: done.append(one(eraser, "SELECT * FROM posthorn.erase('order', '1', 'me')")))
        erasing.start()
        waits_for_lock(c, eraser)
        early.execute("COMMIT")
        erasing.join(20)
        assert done == [(2, 1)]
        parking = threading.Thread(target=lambda: late.execute(park_one, [2]))
        parking.start()
        waits_for_lock(c, late)
        eraser.execute("COMMIT")
        parking.join(20)
    assert c.execute("SELECT payload, headers FROM posthorn.parked").fetchall() == [(ERASED, {})] * 2


def test_erase_wants_a_yes(db, c):
    publish(c)
    said = posthorn("erase", db.dsn(), *ORDER_1, status=64).stderr
    assert "stdin is no terminal to ask on: add --yes" in said
    assert "--aggregate-id is missing" in posthorn("erase", db.dsn(), "--aggregate-type", "order", "--yes", status=64).stderr
    assert "must not be empty" in posthorn("erase", db.dsn(), *ORDER_1[:3], "", "--yes", status=64).stderr
    assert one(c, "SELECT payload->>'name' FROM posthorn.outbox") == "Ada"
    for reply, status, name in (("n", 64, "Ada"), ("y", 0, None)):
        ours, theirs = pty.openpty()
        child = subprocess.Popen([str(tool().binary), "erase", db.dsn(), *ORDER_1], stdin=theirs, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True, env=tool().env)
        os.close(theirs)
        os.write(ours, f"{reply}\n".encode())
        said, _ = child.communicate(timeout=30)
        os.close(ours)
        assert child.returncode == status and "all events of order 1 will be gone for good" in said, said
        assert one(c, "SELECT payload->>'name' FROM posthorn.outbox") == name


def test_who_may_erase_and_forget(db, c):
    name = "eraser_" + os.urandom(4).hex()
    publish(c)
    checkpoint(c)
    posthorn("init", db.dsn(), "--roles")
    c.execute(f"CREATE ROLE {name} LOGIN")
    try:
        dsn = db.dsn(user=name)
        assert "permission denied" in posthorn("erase", dsn, *ORDER_1, "--yes", status=78).stderr
        c.execute(f"GRANT USAGE ON SCHEMA posthorn TO {name}")
        for words in (["erase", dsn, *ORDER_1, "--yes"], ["forget", dsn, "p"], ["cleanup", dsn]):
            assert "permission denied" in posthorn(*words, status=78).stderr
        c.execute(f"GRANT EXECUTE ON FUNCTION posthorn.erase(text, text, text, text) TO {name}")
        assert posthorn("erase", dsn, *ORDER_1, "--yes").stdout == "erased 1 row\n"
        assert one(c, "SELECT detail->>'login' FROM posthorn.audit") == name
        assert "permission denied" in posthorn("forget", dsn, "p", status=78).stderr
        c.execute(f"GRANT posthorn_owner TO {name}")
        assert posthorn("forget", dsn, "p").stdout == "forgot pipeline p\n"
        assert "20 parts" in posthorn("cleanup", dsn).stdout
    finally:
        c.execute(f"DROP OWNED BY {name}")
        c.execute(f"DROP ROLE {name}")


def test_the_audit_only_grows(c):
    c.execute("INSERT INTO posthorn.audit (who, act) VALUES ('me', 'test')")
    for sql in ("UPDATE posthorn.audit SET who = 'him'", "DELETE FROM posthorn.audit", "TRUNCATE posthorn.audit"):
        with pytest.raises(errors.InsufficientPrivilege, match="only added"):
            c.execute(sql)


# -- a pipeline that stands still -----------------------------------------------------------------


def test_status_names_what_stands_still(db, c):
    checkpoint(c, "idle")
    checkpoint(c, "still")
    c.execute("UPDATE posthorn.checkpoint SET updated_at = updated_at - interval '3 days'")
    assert all(p["stalledSeconds"] is None for p in answer("status", db.dsn())["pipelines"])  # nothing to deliver
    publish(c)
    assert all(p["stalledSeconds"] is None for p in answer("status", db.dsn())["pipelines"])  # not for long
    assert "STALLED" not in posthorn("status", db.dsn()).stdout
    c.execute("UPDATE posthorn.outbox SET created_at = created_at - interval '2 hours'")
    c.execute("UPDATE posthorn.checkpoint SET updated_at = clock_timestamp() - interval '30 minutes' WHERE pipeline = 'idle'")
    told = {p["name"]: p["stalledSeconds"] for p in answer("status", db.dsn())["pipelines"]}
    assert told["idle"] is None and 7200 <= told["still"] < 7300
    assert re.search(r"^still\n.*\n.*\n  STALLED     for 72\d\d\.\d+ s: it has events", posthorn("status", db.dsn()).stdout, re.M)
    told = {p["name"]: p["stalledSeconds"] for p in answer("status", db.dsn(), "--stalled-after", "10m")["pipelines"]}
    assert 1800 <= told["idle"] < 1900 and 7200 <= told["still"] < 7300
    assert "--stalled-after 5: write it as" in posthorn("status", db.dsn(), "--stalled-after", "5", status=64).stderr
