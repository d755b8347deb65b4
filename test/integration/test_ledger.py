"""The ledger itself: its checker sees each planted fault, and its writers' word on every commit is true."""

import json
import threading
import uuid

import psycopg
import pytest

from ledger import (FAILED, OK, UNKNOWN, Attempt, Ledger, Mix, Writers, check, delivered_kafka,
                    delivered_ndjson)
from schema_db import install
from servers import Database, PgBouncer, Postgres, Record, until

# -- the checker ----------------------------------------------------------------------------------

FAULTS = ("lost", "phantom", "duplicated", "reordered")


def attempts(count=30, keys=3):
    return [Attempt(f"e{i}", f"k{i % keys}", i // keys + 1, OK) for i in range(count)]


def delivered(written):
    return [(a.event_id, a.key, a.n) for a in written]


def faults(result):
    return {name: len(getattr(result, name)) for name in FAULTS if getattr(result, name)}


def test_a_true_delivery_holds():
    written = attempts()
    doubtful = [Attempt("u1", "k0", 11, UNKNOWN), Attempt("u2", "k1", 11, UNKNOWN), Attempt("f", "k2", 11, FAILED)]
    result = check(written + doubtful, delivered(written + doubtful[:1]))  # one unknown came, one did not
    assert result.clean and faults(result) == {}
    assert (result.ok, result.failed, result.unknown, result.delivered) == (30, 1, 2, 31)


@pytest.mark.parametrize("fault, change", [
    ("lost", lambda d: d[:10] + d[11:]),
    ("lost", lambda d: d[:-1]),
    ("duplicated", lambda d: d + d[4:5]),
    ("reordered", lambda d: d[:3] + d[6:7] + d[4:6] + d[3:4] + d[7:]),
    ("phantom", lambda d: d + [("f", "k0", 99)]),
    ("phantom", lambda d: d + [("nobody", "k9", 1)]),
    ("phantom", lambda d: d[:-1] + [(d[-1][0], d[-1][1], d[-1][2] + 5)]),
    ("phantom", lambda d: d[:-1] + [(d[-1][0], "other", d[-1][2])]),
], ids=["lost", "last-lost", "duplicated", "reordered", "failed", "never-written", "other-n", "other-key"])
def test_sees_a_planted(fault, change):
    written = attempts()
    result = check([*written, Attempt("f", "k0", 99, FAILED)], change(delivered(written)))
    assert faults(result) == {fault: 1}, result
    assert result.clean == (fault == "duplicated")


def test_a_repeated_stretch_is_duplicates_and_no_disorder():
    run = delivered(attempts(12))
    assert faults(check(attempts(12), run[:8] + run[5:])) == {"duplicated": 3}


def test_each_event_that_comes_too_late_counts():
    run = delivered(attempts(6, keys=1))
    result = check(attempts(6, keys=1), run[4:5] + run[:4] + run[5:])
    assert [r[2:] for r in result.reordered] == [(1, 5), (2, 5), (3, 5), (4, 5)]


def test_deliveries_are_read_from_files_and_topics(tmp_path):
    payload = {"key": "k1", "n": 2, "ledger": "a"}
    for name, event in ("out.2", "e2"), ("out.10", "e10"), ("out", "e11"):
        (tmp_path / name).write_text(json.dumps({"id": event, "payload": payload}) + "\n")
    with open(tmp_path / "out", "a") as out:
        out.write('{"id": "other", "payload": null}\n{"id": "torn", "payl')
    assert delivered_ndjson(tmp_path / "out", "a") == [(e, "k1", 2) for e in ("e2", "e10", "e11")]
    assert delivered_ndjson(tmp_path / "out", "b") == []
    records = [Record("t", 1, 5, b"k1", json.dumps(payload).encode(), (("x", b"y"), ("id", b"e1"))),
               Record("t", 1, 6, b"k1", None), Record("t", 1, 7, b"k1", b"no JSON")]
    assert delivered_kafka(records) == [("e1", "k1", 2)]


# -- the writers ----------------------------------------------------------------------------------


@pytest.fixture
def db(database):
    install(database)
    return database


def outbox(uri):
    """What is there, in the order of positions, which per key is the order of commits."""
    with psycopg.connect(uri) as conn:
        return conn.execute("SELECT event_id::text, payload->>'key', (payload->>'n')::bigint"
                            " FROM posthorn.outbox ORDER BY position").fetchall()


MIXES = {
    "usual": Mix(),
    "prepared": Mix(prepared=0.5, strict=1, raw=0),
    "early": Mix(early_xid=1, early_position=1, raw=0),
    "raw": Mix(raw=1, rollback=0, savepoint=0, several=0),
}


@pytest.mark.parametrize("name", MIXES)
def test_ledger_is_what_the_outbox_holds(db, tmp_path, name):
    with Writers(db.dsn(), count=6, keys=10, path=tmp_path / "ledger", mix=MIXES[name]) as writers:
        writers.wait_ok(300)
    result = check(writers.ledger, outbox(db.dsn()))
    assert faults(result) == {} and result.unknown == 0 and result.ok == result.delivered >= 300, result
    assert (result.failed > 0) == (name != "raw")
    assert list(Ledger.load(tmp_path / "ledger")) == list(writers.ledger)
    assert all(a.committed_at for a in writers.ledger if a.outcome == OK)


def test_early_ids_put_events_out_of_the_order_of_commits(db):
    """The mix has what breaks a naive reader: later positions that are visible before earlier ones."""
    with Writers(db.dsn(), count=8, mix=Mix(early_xid=1, pause_seconds=0.05)) as writers:
        writers.wait_ok(200)
    with db.connect() as conn:
        falls = conn.execute("""SELECT count(*) FROM (SELECT xid, lag(xid) OVER (ORDER BY position) AS before
                                FROM posthorn.outbox) o WHERE xid < before""").fetchone()[0]
    assert falls > 10


def test_a_rate_is_kept(db):
    with Writers(db.dsn(), count=4, rate=50, mix=Mix(rollback=0, savepoint=0, several=0)) as writers:
        writers.wait_ok(100)
        assert len(writers.ledger) < 130
    at = sorted(a.committed_at for a in writers.ledger)
    assert 1.0 < at[99] - at[0] < 10.0


@pytest.mark.parametrize("prepared", [0.0, 0.4], ids=["plain", "prepared"])
def test_writers_outlive_a_killed_server(tmp_path, prepared):
    """kill -9 in the middle of commits: what the ledger says is what the server holds afterwards."""
    with Postgres(15) as server:
        install(Database(server, "postgres"))
        with Writers(server.dsn(), count=8, path=tmp_path / "ledger", mix=Mix(prepared=prepared)) as writers:
            for i in range(4):
                writers.wait_ok(writers.ledger.counts[OK] + 150)
                server.kill9()
                server.start()
            writers.wait_ok(writers.ledger.counts[OK] + 150)
        result = check(writers.ledger, outbox(server.dsn()))
        assert result.clean and not result.duplicated and result.ok >= 750, result
        assert server.sql("SELECT count(*) FROM pg_prepared_xacts") == [(0,)]
        assert writers.failures["connect"] > 0


def test_writers_go_through_pgbouncer(db):
    with PgBouncer(db.server, {"default_pool_size": 3}) as bouncer:
        with Writers(bouncer.dsn(db.name), count=6) as writers:
            writers.wait_ok(100)
            bouncer.kill9()
            bouncer.start()
            writers.wait_ok(writers.ledger.counts[OK] + 100)
    until(lambda: db.server.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", db.name) == [(0,)],
          20, "the end of the pool's connections")
    result = check(writers.ledger, outbox(db.dsn()))
    assert result.clean and result.ok >= 200, result


def test_a_hanging_server_does_not_keep_the_writers(tmp_path):
    with Postgres(15) as server:
        install(Database(server, "postgres"))
        with Writers(server.dsn(), count=4) as writers:
            writers.wait_ok(50)
            server.pause()
            writers.stop(timeout=0.5)
        server.resume()
        until(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
              == [(1,)], 20, "the end of the writers' sessions")
        result = check(writers.ledger, outbox(server.dsn()))
        assert result.clean, result


def test_writers_say_what_is_wrong(database):
    with pytest.raises(AssertionError, match="posthorn"):  # there is no schema
        with Writers(database.dsn(), count=2, name="wrong") as writers:
            writers.wait_ok(1, timeout=20)
    assert not [t for t in threading.enumerate() if t.name == "writer-wrong"]


def test_unknown_is_told_only_of_a_lost_commit(db):
    """A statement that fails before COMMIT is a failure for certain."""
    with Writers(db.dsn(), count=1, name=f"x{uuid.uuid4().hex[:6]}") as writers:
        writers.wait_ok(5)
        with db.connect() as conn:
            conn.execute("ALTER TABLE posthorn.outbox RENAME TO away")
            until(lambda: writers.problems, 20, "the writer's complaint")
            conn.execute("ALTER TABLE posthorn.away RENAME TO outbox")
        writers.problems.clear()
    result = check(writers.ledger, outbox(db.dsn()))
    assert result.clean and result.unknown == 0, result
