"""Ticks: when one may be made, what it sees, and that a standby makes none.

Each test gets a database of its own with the schema in it, on PostgreSQL 15 and on 18.
"""

import threading

import pytest
from psycopg import errors

from schema_db import EARLIEST, between, install, make_tick, one, waits_for_lock

PUBLISH = "SELECT posthorn.publish('order', %s, 'created', '{}')"


@pytest.fixture
def db(each_database):
    return install(each_database)


def test_a_tick_needs_a_transaction_that_wrote_nothing(db):
    with db.connect() as c:
        for level in ("REPEATABLE READ", "SERIALIZABLE"):
            c.execute(f"BEGIN ISOLATION LEVEL {level}")
            with pytest.raises(errors.InvalidTransactionState, match="READ COMMITTED"):
                make_tick(c)
            c.execute("ROLLBACK")
        before = [["SELECT posthorn.publish('order', '1', 'created', '{}')"],
                  ["SAVEPOINT s", "SELECT posthorn.publish('order', '1', 'created', '{}')", "ROLLBACK TO s"],
                  ["SELECT posthorn.make_tick(0)"],
                  ["CREATE TEMP TABLE mine ()"]]
        for statements in before:
            c.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            for sql in statements:
                c.execute(sql)
            with pytest.raises(errors.ObjectNotInPrerequisiteState, match="already written"):
                make_tick(c)
            c.execute("ROLLBACK")
        with pytest.raises(errors.ObjectNotInPrerequisiteState):  # within one statement too
            c.execute("SELECT posthorn.publish('order', '1', 'created', '{}'), posthorn.make_tick(0)")
        assert one(c, "SELECT count(*) FROM posthorn.tick") == 0


def test_an_event_published_after_a_tick_in_its_transaction_comes_with_the_next(db):
    with db.connect() as c, db.connect() as other:
        other.execute("BEGIN")
        other.execute(PUBLISH, ["open before, committed after"])
        c.execute("BEGIN")
        tick1, snapshot1 = make_tick(c)
        c.execute(PUBLISH, ["own"])
        own = one(c, "SELECT pg_current_xact_id()::text::bigint")
        xmin, xmax, xip = snapshot1.split(":")
        assert own >= int(xmax) and str(own) not in xip.split(",")
        c.execute("COMMIT")
        other.execute("COMMIT")
        c.execute(PUBLISH, ["later"])
        tick2, snapshot2 = make_tick(c, tick1)
        assert tick2 > tick1
        assert between(c, EARLIEST, snapshot1) == []
        assert [e[2] for e in between(c, snapshot1, snapshot2)] \
            == ["open before, committed after", "own", "later"]


def test_the_snapshot_is_taken_under_the_lock(db):
    """B begins to wait before C commits; its tick holds C's event, and A's rolled back tick is nothing."""
    with db.connect() as a, db.connect() as b, db.connect() as c:
        a.execute("BEGIN")
        make_tick(a)
        got = []
        waiting = threading.Thread(target=lambda: got.append(make_tick(b)))
        waiting.start()
        waits_for_lock(c, b)
        c.execute(PUBLISH, ["while b waits"])
        a.execute("ROLLBACK")
        waiting.join(10)
        assert [e[2] for e in between(c, EARLIEST, got[0][1])] == ["while b waits"]


def test_two_at_once_make_one_tick(db):
    with db.connect() as a, db.connect() as b, db.connect() as watch:
        a.execute("BEGIN")
        first = make_tick(a)
        got = []
        waiting = threading.Thread(target=lambda: got.append(make_tick(b)))
        waiting.start()
        waits_for_lock(watch, b)
        a.execute("COMMIT")
        waiting.join(10)
        assert got == [first]
        assert one(watch, "SELECT count(*) FROM posthorn.tick") == 1
        assert make_tick(a, 0) == first  # whoever knows less gets the newest
        second = make_tick(a, first[0])
        assert make_tick(b, 0) == make_tick(b, first[0]) == second
        assert make_tick(b, second[0])[0] > second[0]


def test_ticks_under_load_split_the_log_into_disjoint_sets(db):
    """Four publishers with savepoints and rollbacks, four makers of ticks: each event once, in one tick."""
    stop = threading.Event()
    failed, published, newest = [], [], [0]

    def guarded(run):
        def body():
            try:
                with db.connect() as c:
                    run(c)
            except Exception as e:  # noqa: BLE001: handed to the test's own thread
                failed.append(e)
        return threading.Thread(target=body)

    def publish(c):
        """150 transactions, and more while few ticks came between them."""
        for n in range(5000):
            if n >= 150 and newest[0] > 20:
                return
            c.execute("BEGIN")
            c.execute("SELECT pg_current_xact_id()")
            c.execute(PUBLISH, [str(n)])
            c.execute("ROLLBACK" if n % 7 == 0 else "COMMIT")
            published.append(n % 7 != 0)

    def tick(c):
        known = 0
        while not stop.is_set():
            known = newest[0] = make_tick(c, known)[0]

    makers, publishers = [guarded(tick) for _ in range(4)], [guarded(publish) for _ in range(4)]
    for t in makers + publishers:
        t.start()
    for t in publishers:
        t.join(60)
    stop.set()
    for t in makers:
        t.join(60)
    assert failed == []
    with db.connect() as c:
        make_tick(c, one(c, "SELECT max(tick) FROM posthorn.tick"))
        ticks = c.execute("SELECT tick, snapshot::text, made_at FROM posthorn.tick ORDER BY tick").fetchall()
        assert [t[2] for t in ticks] == sorted(t[2] for t in ticks)
        read, prev = [], EARLIEST
        for _, snapshot, _ in ticks:
            read += [e[0] for e in between(c, prev, snapshot)]
            prev = snapshot
        assert len(ticks) > 20
        assert len(read) == len(set(read)) == sum(published)
        assert set(read) == {r[0] for r in c.execute("SELECT event_id FROM posthorn.outbox")}


def test_a_tick_is_flushed_with_all_that_it_saw(db):
    with db.connect() as c:
        for setting, at_commit in (("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")):
            c.execute(f"SET synchronous_commit = {setting}")
            c.execute(PUBLISH, ["1"])
            written = one(c, "SELECT pg_current_wal_insert_lsn()")
            known = one(c, "SELECT coalesce(max(tick), 0) FROM posthorn.tick")
            c.execute("BEGIN")
            make_tick(c, known)
            assert one(c, "SHOW synchronous_commit") == at_commit  # still so after the function's end
            c.execute("COMMIT")
            assert one(c, "SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", written)
            assert one(c, "SHOW synchronous_commit") == setting


# -- a standby ------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", ["pg15", "pg18"])
def test_a_standby_makes_no_tick_and_a_promoted_one_names_its_timeline(request, server):
    primary = request.getfixturevalue(server)
    with primary.fresh_database() as db:
        install(db)
        with primary.make_standby() as standby:
            with standby.connect(db.name) as c:
                assert one(c, "SELECT timeline, in_recovery, future_rows FROM posthorn.identity()") \
                    == (None, True, 0)
                for call in ("make_tick(0)", "maintain()"):
                    with pytest.raises(errors.ReadOnlySqlTransaction, match="standby"):
                        c.execute(f"SELECT * FROM posthorn.{call}")
                assert one(c, "SELECT count(*) FROM posthorn.pending") == 0
                standby.promote()
                assert one(c, "SELECT timeline, in_recovery FROM posthorn.identity()") == (2, False)
                assert make_tick(c)[0] == 1
                assert len(c.execute("SELECT * FROM posthorn.maintain()").fetchall()) == 20
