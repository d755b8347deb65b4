"""maintain(): what it truncates, what holds it back, and that no row is lost by it, also under load.

The small tests put rows into a bucket of their choice as a superuser. The two tests with "without" in
their names break maintain() on purpose, and show that these tests would see the loss.
"""

import collections
import os
import subprocess
import threading
import time
import uuid

import psycopg
import pytest
from psycopg import errors

from postgres_server import bin_folder, newest_debian
from schema_db import EARLIEST, SQL, between, install, make_tick, one, waits_for_lock
from servers import until

PUT = ("INSERT INTO posthorn.outbox (bucket, aggregate_type, aggregate_id, event_type)"
       " VALUES (%s, 'order', %s, 'x')")


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        yield conn


def buckets_but_now(conn):
    """Bucket numbers in ring order, beginning behind the current one; a day wide, so it stays so."""
    now = one(conn, "SELECT current_bucket FROM posthorn.outbox_status")
    return [(now + n) % 10 for n in range(1, 10)]


def checkpoint(conn, tick, position=0, base=None, name="p"):
    snapshot = one(conn, "SELECT snapshot::text FROM posthorn.tick WHERE tick = %s", tick) or EARLIEST
    conn.execute(
        "INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot, base_snapshot,"
        " start_snapshot) VALUES (%s, %s, %s, 1, %s, %s, '3:3:') ON CONFLICT (pipeline, shard) DO UPDATE"
        " SET tick = excluded.tick, position = excluded.position, snapshot = excluded.snapshot,"
        " base_snapshot = excluded.base_snapshot", [name, tick, position, snapshot, base or snapshot])


def maintain(conn, retention="0"):
    """{(ring, bucket): (action, reason)}, in a transaction as the relay makes it."""
    conn.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    rows = conn.execute("SELECT ring, bucket, action, reason FROM posthorn.maintain(%s::interval)",
                        [retention]).fetchall()
    conn.execute("COMMIT")
    return {(ring, bucket): (action, reason) for ring, bucket, action, reason in rows}


def rows(conn):
    return {r[0] for r in conn.execute("SELECT aggregate_id FROM posthorn.outbox").fetchall()}


def tick(conn):
    return make_tick(conn, one(conn, "SELECT coalesce(max(tick), 0) FROM posthorn.tick"))


# -- what holds a bucket --------------------------------------------------------------------------


def test_clears_what_every_pipeline_has_settled(c):
    first, second, *_ = buckets_but_now(c)
    c.execute(PUT, [first, "old"])
    tick1, _ = tick(c)
    c.execute(PUT, [second, "young"])
    tick2, _ = tick(c)
    checkpoint(c, tick2, name="ahead")
    checkpoint(c, tick1, name="behind")
    done = maintain(c)
    assert done["outbox", first] == ("cleared", "settled")
    assert done["outbox", second] == ("kept", "pipeline behind, shard 0")
    assert len(done) == 20 and done["outbox", (second + 5) % 10] == ("empty", "empty")
    assert rows(c) == {"young"}
    checkpoint(c, tick2, name="behind")
    assert maintain(c)["outbox", second] == ("cleared", "settled")
    assert one(c, "SELECT nextval('posthorn.outbox_position_seq')") == 3  # positions go on


def test_a_tick_begun_is_not_a_tick_settled(c):
    """tick and snapshot are ahead, base_snapshot is not: the rest of the tick must stay."""
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "a"])
    c.execute(PUT, [bucket, "b"])
    tick1, _ = tick(c)
    checkpoint(c, tick1, position=1, base=EARLIEST)
    assert maintain(c)["outbox", bucket] == ("kept", "pipeline p, shard 0")
    assert rows(c) == {"a", "b"}


def test_keeps_the_retention_also_without_a_pipeline(c):
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "x"])
    assert maintain(c)["outbox", bucket] == ("kept", "the retention")  # no tick at all
    tick(c)
    assert maintain(c, "1 hour")["outbox", bucket] == ("kept", "the retention")
    c.execute("UPDATE posthorn.tick SET made_at = made_at - interval '61 minutes'")
    assert maintain(c, "1 hour")["outbox", bucket] == ("cleared", "settled")


def test_keeps_the_current_bucket(c):
    now = one(c, "SELECT current_bucket FROM posthorn.outbox_status")
    c.execute("SELECT posthorn.publish('order', 'x', 'x', '{}')")
    checkpoint(c, tick(c)[0])
    done = maintain(c)
    assert done["outbox", now] == done["tick", now] == ("kept", "the current bucket")


def test_an_open_transaction_holds_all_that_came_after_it(db, c):
    before, after, *_ = buckets_but_now(c)
    with db.connect() as slow:
        c.execute(PUT, [before, "before"])
        slow.execute("BEGIN")
        xid = one(slow, "SELECT pg_current_xact_id()::text")
        c.execute(PUT, [after, "after"])
        checkpoint(c, tick(c)[0])
        done = maintain(c)
        assert done["outbox", before][0] == "cleared"
        assert done["outbox", after] == ("kept", f"transaction {xid}, open at the last tick before the retention")
        slow.execute("ROLLBACK")
    assert maintain(c)["outbox", after][0] == "kept"  # no tick has seen the end of it yet
    checkpoint(c, tick(c)[0])
    assert maintain(c)["outbox", after][0] == "cleared"


def test_a_prepared_transaction_holds_its_bucket(db, c):
    bucket = buckets_but_now(c)[0]
    gid = "maintain_" + uuid.uuid4().hex
    c.execute(PUT, [bucket, "committed"])
    c.execute("BEGIN")
    c.execute(PUT, [bucket, "prepared"])
    c.execute(f"PREPARE TRANSACTION '{gid}'")
    try:
        checkpoint(c, tick(c)[0])
        assert maintain(c)["outbox", bucket][0] == "busy"
        assert one(c, "SELECT prepared_transactions FROM posthorn.outbox_status") >= 1
    finally:
        c.execute(f"COMMIT PREPARED '{gid}'")
    assert maintain(c)["outbox", bucket][0] == "kept"
    assert rows(c) == {"committed", "prepared"}


def test_a_checkpoint_from_the_future_holds_everything(c):
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "x"])
    tick(c)
    checkpoint(c, 999, base="900000000000:900000000000:")
    assert maintain(c)["outbox", bucket] == ("kept", "pipeline p, shard 0")


def test_clears_ticks_but_never_one_that_may_be_needed(c):
    first, second, third, *_ = buckets_but_now(c)
    made = [tick(c)[0] for _ in range(3)]
    for number, bucket in zip(made, (first, second, third)):
        c.execute("UPDATE posthorn.tick SET bucket = %s WHERE tick = %s", [bucket, number])
    checkpoint(c, made[1])
    done = maintain(c)
    assert done["tick", first] == ("cleared", "settled")
    assert done["tick", second] == ("kept", "pipeline p, shard 0")  # the checkpoint's own
    assert done["tick", third] == ("kept", "the retention")  # the newest of all
    checkpoint(c, made[2])
    maintain(c)
    assert c.execute("SELECT tick FROM posthorn.tick").fetchall() == [(made[2],)]
    assert tick(c)[0] > made[2]  # numbers go on


# -- when it refuses, and when it waits -----------------------------------------------------------


def test_refuses_another_isolation_level(db, c):
    role = "strict_" + uuid.uuid4().hex[:8]
    c.execute((SQL / "roles.sql").read_text())
    c.execute(f"CREATE ROLE {role} LOGIN SUPERUSER IN ROLE posthorn_relay")
    c.execute(f"ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'")
    try:
        with psycopg.connect(db.dsn(role), autocommit=True) as relay:
            with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED"):
                relay.execute("SELECT * FROM posthorn.maintain('0')")
            with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED"):
                make_tick(relay)
            assert len(maintain(relay)) == 20  # which says READ COMMITTED, as the relay does
        for level in ("REPEATABLE READ", "SERIALIZABLE"):
            c.execute(f"BEGIN ISOLATION LEVEL {level}")
            with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED"):
                c.execute("SELECT * FROM posthorn.maintain('0')")
            c.execute("ROLLBACK")
    finally:
        c.execute(f"DROP ROLE {role}")


def test_refuses_a_log_of_another_database(c):
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "x"])
    checkpoint(c, tick(c)[0])
    for change, back in (
            ("UPDATE posthorn.meta SET system_identifier = system_identifier + 1",
             "UPDATE posthorn.meta SET system_identifier = system_identifier - 1"),
            ("UPDATE posthorn.outbox SET xid = '900000000000'", "SELECT 1")):
        c.execute(change)
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="another database"):
            c.execute("SELECT * FROM posthorn.maintain('0')")
        c.execute(back)
    assert rows(c) == {"x"}
    with pytest.raises(errors.InvalidParameterValue, match="negative"):
        c.execute("SELECT * FROM posthorn.maintain('-1 day')")


def test_only_one_runs(db, c):
    with db.connect() as other:
        other.execute("BEGIN")
        other.execute("SELECT posthorn.maintain()")
        assert maintain(c) == {(None, None): ("busy", "another maintain() is running")}
        other.execute("ROLLBACK")
    assert len(maintain(c)) == 20


def test_passes_by_a_bucket_that_is_in_use(db, c):
    """It waits for the first lock 50 ms at most, and for none while it holds one."""
    first, second, third, *_ = sorted(buckets_but_now(c))
    for bucket in (first, second, third):
        c.execute(PUT, [bucket, str(bucket)])
    checkpoint(c, tick(c)[0])
    with db.connect() as reader:
        reader.execute("BEGIN")
        reader.execute(f"SELECT FROM posthorn.outbox_{first}")
        reader.execute(f"SELECT FROM posthorn.outbox_{third}")
        done = maintain(c)
        assert done["outbox", first] == ("busy", "canceling statement due to lock timeout")
        assert done["outbox", second] == ("cleared", "settled")
        assert done["outbox", third][0] == "busy" and "could not obtain lock" in done["outbox", third][1]
        reader.execute("COMMIT")
    assert {maintain(c)["outbox", b][0] for b in (first, third)} >= {"cleared"}
    assert rows(c) == set()


def test_locks_only_what_it_clears(c):
    """While maintain()'s transaction is open, writers and readers of all other buckets go on."""
    first, second, *_ = buckets_but_now(c)
    c.execute(PUT, [first, "settled"])
    checkpoint(c, tick(c)[0])
    c.execute(PUT, [second, "not"])
    c.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
    c.execute("SELECT * FROM posthorn.maintain('0')")
    strong = c.execute("SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid()"
                       " AND mode = 'AccessExclusiveLock' AND relation::regclass::text LIKE 'posthorn.%'"
                       " AND relation::regclass::text NOT LIKE '%idx'").fetchall()
    c.execute("COMMIT")
    assert strong == [(f"posthorn.outbox_{first}",)]


# -- the second look under the lock ---------------------------------------------------------------


def broken(conn, *replacements):
    """maintain() and bucket_held_by() with pieces of their text replaced; each must be there."""
    for old, new in replacements:
        hits = 0
        for function in ("maintain", "bucket_held_by"):
            body = one(conn, "SELECT pg_get_functiondef(p.oid) FROM pg_proc p"
                             " WHERE proname = %s AND pronamespace = 'posthorn'::regnamespace", function)
            hits += body.count(old)
            if old in body:
                conn.execute(body.replace(old, new))
        assert hits == 1, f"{old!r} is there {hits} times"


PATIENT = ("SET lock_timeout TO '50ms'", "SET lock_timeout TO '20s'")
NO_SECOND_LOOK = ("                reason := posthorn.bucket_held_by(ring, bucket, cutoff);\n", "")
ANY_ISOLATION = ("current_setting('transaction_isolation') <> 'read committed'", "false")


def truncate_meets_writer(db, c, level="READ COMMITTED"):
    """A writer has a row in a settled bucket when maintain() comes to lock it, and then commits."""
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "settled"])
    checkpoint(c, tick(c)[0])
    done = []
    with db.connect() as writer, db.connect() as relay:
        writer.execute("BEGIN")
        writer.execute(PUT, [bucket, "new"])
        relay.execute(f"BEGIN ISOLATION LEVEL {level}")
        going = threading.Thread(target=lambda: done.extend(relay.execute(
            "SELECT action, reason FROM posthorn.maintain('0') WHERE ring = 'outbox' AND bucket = %s",
            [bucket]).fetchall()))
        going.start()
        waits_for_lock(c, relay)
        writer.execute("COMMIT")
        going.join(30)
        relay.execute("COMMIT")
    return done[0], rows(c)


def test_a_row_that_comes_while_it_waits_is_kept(db, c):
    broken(c, PATIENT)
    done, left = truncate_meets_writer(db, c)
    assert done == ("busy", "held meanwhile by the retention")
    assert left == {"settled", "new"}


def test_without_the_second_look_a_row_is_lost(db, c):
    broken(c, PATIENT, NO_SECOND_LOOK)
    done, left = truncate_meets_writer(db, c)
    assert done[0] == "cleared" and left == set()  # "new" was committed, and nobody had read it


def test_without_the_isolation_check_a_row_is_lost(db, c):
    """Under REPEATABLE READ the second look sees the old snapshot."""
    broken(c, PATIENT, ANY_ISOLATION)
    done, left = truncate_meets_writer(db, c, "REPEATABLE READ")
    assert done[0] == "cleared" and left == set()


# -- the ring's width -----------------------------------------------------------------------------


def wish(conn, retention, pipeline="p"):
    conn.execute("INSERT INTO posthorn.lease (pipeline, owner, epoch, expires_at, retention) VALUES (%s, 'me', 1, '-infinity', %s)"
                 " ON CONFLICT (pipeline, shard) DO UPDATE SET retention = excluded.retention", [pipeline, retention])
    return one(conn, "SELECT posthorn.fit_retention()")


def in_force(conn):
    """The retention in days and the ring's width in seconds."""
    return one(conn, "SELECT date_part('epoch', retention) / 86400, ring_width_seconds FROM posthorn.meta")


def test_retention_sets_the_width(db, c):
    for retention, answer, width in (("7 days", "unchanged", 86400), ("80 days", "changed", 864000),
                                     ("80 days", "unchanged", 864000), ("1 hour", "changed", 86400)):
        assert wish(c, retention) == answer
        assert one(c, "SELECT ring_width_seconds FROM posthorn.outbox_status") == width
    wish(c, "800 days")
    c.execute("SELECT posthorn.publish('order', 'x', 'x', '{}')")
    tick(c)
    for table in ("outbox", "tick"):
        assert one(c, f"SELECT bucket = (SELECT current_bucket FROM posthorn.outbox_status) FROM posthorn.{table}")
    with db.connect() as writer:
        writer.execute("BEGIN")
        writer.execute("SELECT posthorn.publish('order', 'y', 'x', '{}')")
        assert wish(c, "80 days") == "busy"  # the next round will do
        assert in_force(c) == (80, 8640000)  # the retention holds already
        writer.execute("COMMIT")
    assert one(c, "SELECT posthorn.fit_retention()") == "changed"
    assert in_force(c) == (80, 864000)


def test_the_longest_wish_is_in_force_whoever_comes_last(c):
    assert wish(c, "30 days", "long") == "changed"
    assert wish(c, "1 day", "short") == "unchanged"
    assert wish(c, None, "none") == "unchanged"
    assert in_force(c) == (30, 324000)
    c.execute("DELETE FROM posthorn.lease WHERE pipeline = 'long'")
    assert one(c, "SELECT posthorn.fit_retention()") == "changed"
    assert in_force(c) == (1, 86400)
    c.execute("DELETE FROM posthorn.lease")
    assert one(c, "SELECT posthorn.fit_retention()") == "unchanged"  # without a pipeline the last one stays
    assert in_force(c) == (1, 86400)


def test_maintain_keeps_the_retention_in_force(c):
    bucket = buckets_but_now(c)[0]
    c.execute(PUT, [bucket, "x"])
    tick(c)
    c.execute("UPDATE posthorn.tick SET made_at = made_at - interval '2 days'")
    assert maintain(c, None)["outbox", bucket] == ("kept", "the retention")
    wish(c, "1 day")
    assert maintain(c, None)["outbox", bucket] == ("cleared", "settled")


def test_names_a_pipeline_that_stands_still(c):
    bucket = buckets_but_now(c)[0]
    tick1, _ = tick(c)
    c.execute(PUT, [bucket, "x"])
    tick(c)
    checkpoint(c, tick1)
    assert maintain(c)["outbox", bucket] == ("kept", "pipeline p, shard 0")
    c.execute("UPDATE posthorn.checkpoint SET updated_at = '2026-01-02 03:04:05+00'")
    assert maintain(c)["outbox", bucket] == ("kept", "pipeline p, shard 0, which has stood still since 2026-01-02 03:04:05 UTC")


# -- under load -----------------------------------------------------------------------------------

# The ledger commits with the event, so it says exactly what was committed. The xid is drawn before the
# position, so positions and xids differ in order; every tenth transaction rolls back.
WRITER = """
\\set k random(1, 500)
\\set roll random(1, 10)
BEGIN;
SELECT pg_current_xact_id();
WITH e AS (INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload)
           VALUES ('order', :k, 'created', '{"n": 1}') RETURNING event_id)
INSERT INTO ledger SELECT event_id FROM e;
\\if :roll = 1
ROLLBACK;
\\else
COMMIT;
\\endif
"""

# What is being truncated, seen by a trigger under the lock and judged row by row in another way than
# maintain() does: is a row there that some checkpoint's base does not see?
AUDIT = """
CREATE TABLE ledger (event_id uuid);
CREATE TABLE audit (bucket text, rows bigint, last_xid bigint, unsettled bigint,
                    at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO public.audit
        SELECT %L, count(*), max(xid::text::bigint), count(*) FILTER (WHERE EXISTS (
        SELECT FROM posthorn.checkpoint c
         WHERE NOT pg_visible_in_snapshot(xid, c.base_snapshot::pg_snapshot)))
        FROM ONLY posthorn.%I', TG_TABLE_NAME, TG_TABLE_NAME);
    RETURN NULL;
END $$;
DO $$ BEGIN FOR n IN 0..9 LOOP
    EXECUTE format('CREATE TRIGGER audit BEFORE TRUNCATE ON posthorn.outbox_%s EXECUTE FUNCTION audit()', n);
END LOOP; END $$;
"""
SECONDS = 26
RATE = 1200


class Reader(threading.Thread):
    """The simulated relay: between two ticks, a page at a time, its checkpoint behind each page."""

    def __init__(self, db, name, pause):
        super().__init__(daemon=True)
        self.db, self.name, self.pause = db, name, pause
        self.read, self.error, self.stop = [], None, False
        self.start()

    def run(self):
        try:
            with self.db.connect() as c:
                self.follow(c)
        except Exception as e:  # noqa: BLE001: shown by finish()
            self.error = e

    def follow(self, c):
        known, prev, last_round = 0, EARLIEST, False
        checkpoint(c, 0, base=EARLIEST, name=self.name)
        while not last_round:
            last_round, last = self.stop, 0
            c.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            known, cur = make_tick(c, known)
            c.execute("COMMIT")
            while page := between(c, prev, cur, last)[:200]:
                self.read += [e[0] for e in page]
                last = page[-1][1]
                checkpoint(c, known, last, base=prev, name=self.name)
            checkpoint(c, known, last, base=cur, name=self.name)
            prev = cur
            time.sleep(0 if last_round else self.pause())

    def finish(self):
        self.stop = True
        self.join(60)
        assert self.error is None and not self.is_alive(), self.error
        return self.read


def start_writers(db, tmp_path, isolation):
    script = tmp_path / "writer.sql"
    script.write_text(WRITER)
    env = dict(os.environ, PGOPTIONS=f"-c lock_timeout=1s -c default_transaction_isolation={isolation}"
                                     " -c synchronous_commit=off")
    return subprocess.Popen(
        [bin_folder(newest_debian()) / "pgbench", "-n", "-c", "8", "-j", "1", "-T", str(SECONDS), "-R", str(RATE), "-l", "--log-prefix",
         str(tmp_path / "pgbench"), "-f", str(script), db.dsn()],
        env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def latencies(tmp_path):
    """[(end in seconds, service time in ms)], without the time that pgbench was late itself."""
    found = []
    for log in tmp_path.glob("pgbench.*"):
        for line in log.read_text().splitlines():
            _, _, us, _, epoch, frac, lag = line.split()
            found.append((int(epoch) + int(frac) / 1e6, (int(us) - int(lag)) / 1000))
    return sorted(found)


def report(name, found):
    ms = sorted(t for _, t in found)
    if ms:
        print(f"{name}: n {len(ms)}, p50 {ms[len(ms) // 2]:.1f}, p99 {ms[len(ms) * 99 // 100]:.1f},"
              f" p99.9 {ms[len(ms) * 999 // 1000]:.1f}, longest {ms[-1]:.1f} ms")


def run_load(db, tmp_path, isolation):
    """Writers, an open transaction from second 4 to 14, and maintain() all the while."""
    windows, said = [], collections.Counter()
    with db.connect() as slow, db.connect() as relay, db.connect() as c:
        writers = start_writers(db, tmp_path, isolation.replace(" ", "\\ "))
        try:
            until(lambda: one(c, "SELECT count(*) FROM ledger"), what="the first commit")
            began, phase = time.time(), 0
            while writers.poll() is None:
                if phase == 0 and time.time() > began + 4:
                    slow.execute("BEGIN")
                    held_from = one(slow, "SELECT pg_current_xact_id()::text::bigint")
                    slow.execute("WITH e AS (INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type)"
                                 " VALUES ('order', 'slow', 'x') RETURNING event_id)"
                                 " INSERT INTO ledger SELECT event_id FROM e")
                    phase = 1
                elif phase == 1 and time.time() > began + 14:
                    held_to = time.time()
                    slow.execute("COMMIT")
                    phase = 2
                start = time.time()
                done = maintain(relay, "1 second")
                windows.append((start, time.time(), any(a == "cleared" for a, _ in done.values())))
                said.update((ring, action, reason.split(",")[0].split(" ")[0])
                            for (ring, _), (action, reason) in done.items() if action != "empty")
                time.sleep(0.05)
            output = writers.communicate()[0]
        finally:
            writers.kill()
    assert writers.returncode == 0, output  # no failed insert, and none that waited 1 s for a lock
    assert phase == 2
    return held_from, held_to, windows, said


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server, isolation", [("pg15", "read committed"), ("pg18", "repeatable read")])
def test_under_writers_readers_and_an_open_transaction(request, tmp_path, server, isolation):
    """8 writers, one of 10 s, two readers (one stops for 3 s), a ring of ten seconds, retention 1 s.

    A writer's lock_timeout is 1 s, so the server itself fails an insert that waits for a reader or for the slow one: none may.
    """
    with request.getfixturevalue(server).fresh_database() as db, install(db).connect() as c:
        c.execute("SELECT posthorn.set_ring_width(1)")
        c.execute(AUDIT)
        c.execute(f"ALTER DATABASE {db.name} SET default_transaction_isolation = '{isolation}'")
        start = time.time()
        readers = [Reader(db, "reader", lambda: 0.02),
                   Reader(db, "sleeper", lambda: 3 if 17 < time.time() - start < 18 else 0.1)]
        held_from, held_to, windows, said = run_load(db, tmp_path, isolation)
        read = {r.name: r.finish() for r in readers}

        ledger = {r[0] for r in c.execute("SELECT event_id FROM ledger").fetchall()}
        audit = c.execute("SELECT rows, unsettled, last_xid, extract(epoch FROM at)::float8"
                          " FROM audit WHERE rows > 0").fetchall()
        before = [last for *_, last, at in audit if at < held_to]
        behind = [last for *_, last, at in audit if at > held_to and last > held_from]
        found = latencies(tmp_path)
        clearing = [(a, b) for a, b, cleared in windows if cleared]
        meets = [f for f in found if any(f[0] - f[1] / 1000 <= b and f[0] >= a for a, b in clearing)]
        print(f"\n{server}, {isolation}: {len(ledger)} events; {len(audit)} buckets truncated, with"
              f" {sum(a[0] for a in audit)} rows, in {len(windows)} rounds, the longest"
              f" {max(b - a for a, b, _ in windows) * 1000:.0f} ms")
        report("all transactions", found)
        report("those that met a truncating round", meets)
        print(dict(sorted((" ".join(k), n) for k, n in said.items())))

        assert len(ledger) > SECONDS * RATE / 4
        for name, events in read.items():
            assert len(events) == len(set(events)), f"{name}: duplicates"
            assert ledger - set(events) == set(), f"{name}: lost"
            assert set(events) - ledger == set(), f"{name}: phantom"
        assert [a for a in audit if a[1]] == []  # never an unsettled row truncated
        # The run saw what it is for: nothing younger than the open transaction went before its end,
        # older rows did, and younger ones after it; and the pipeline that slept held rows back, too.
        assert before and max(before) < held_from and behind
        assert said["outbox", "kept", "transaction"] and said["outbox", "kept", "pipeline"]
        assert said["tick", "cleared", "settled"]
