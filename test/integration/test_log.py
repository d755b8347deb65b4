"""The PostgreSQL log under the writers that break cursors: early transaction ids, early positions, rollbacks, savepoints, a prepared
transaction, an idle one. The same writers are read by the two cursors that lose events, which must be seen to fail."""
import threading
import time

import pytest

from ledger import Mix, Writers, check, delivered_ndjson, read_ndjson
from servers import until

HOLD_S = 10
MIX = Mix(early_xid=0.3, early_position=0.1, rollback=0.1, savepoint=0.15, several=0.2, pause_seconds=0.02)


class Holder:
    """A transaction that published and then idles, and one that is prepared, both committed after HOLD_S seconds."""

    def __init__(self, db):
        self.db = db
        self.idle, self.prepared = db.connect(autocommit=False), db.connect()

    def __enter__(self):
        for conn in (self.idle, self.prepared):
            conn.execute("BEGIN") if conn is self.prepared else None
            conn.execute("SELECT posthorn.publish('holder', %s, 'held', '{}')", (f"holder-{id(conn)}",))
        self.prepared.execute("PREPARE TRANSACTION 'held'")
        self.begun = time.monotonic()
        return self

    def end(self):
        left = self.begun + HOLD_S - time.monotonic()
        threading.Event().wait(max(0, left))  # the span is the test
        self.idle.commit()
        self.prepared.execute("COMMIT PREPARED 'held'")

    def __exit__(self, *_):
        self.idle.close()
        self.prepared.close()


class Latencies(threading.Thread):
    """Notes when each line of the sink's file was first seen."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.seen, self.over = path, {}, threading.Event()

    def run(self):
        at = 0
        while not self.over.wait(0.02):
            if not self.path.exists():
                continue
            with open(self.path, encoding="utf-8") as f:
                f.seek(at)
                text = f.read()
            whole = text.rfind("\n") + 1
            at += len(text[:whole].encode())
            now = time.time()
            for line in text[:whole].splitlines():
                self.seen[line[7:43]] = now


def read_with_posthorn(posthorn, db, path, settings=None):
    return posthorn.start_relay(db.dsn(), f"file:{path}", settings=settings)


def test_twelve_writers_lose_nothing(posthorn, each_database, tmp_path):
    """lost 0, reordered per key 0, and nobody waits for the idle transaction."""
    db, path = each_database, tmp_path / "out.ndjson"
    posthorn.init(db.dsn())
    relay = read_with_posthorn(posthorn, db, path)
    latencies = Latencies(path)
    latencies.start()
    with Writers(db.dsn(), count=12, keys=20, mix=MIX, rate=600) as writers, Holder(db) as holder:
        writers.wait_ok(1000, timeout=90)
        holder.end()
        writers.wait_ok(2000, timeout=90)
    posthorn.wait_drained(db.dsn())
    assert relay.stop() == 0
    latencies.over.set()
    latencies.join()
    result = check(writers.ledger, delivered_ndjson(path, "ledger"))
    assert result.clean and not result.duplicated, result
    assert {e["aggregateType"] for e in read_ndjson(path)} >= {"holder", "ledger"}
    waits = [latencies.seen[a.event_id] - a.committed_at for a in writers.ledger if a.outcome == "ok"]
    late = sorted(waits)[int(len(waits) * 0.99)]
    assert late < 1.0, f"p99 from commit to file {late:.2f} s while one transaction idled {HOLD_S} s"
    done = posthorn.run("verify", "--from", db.dsn(), "--to", f"file:{path}", "--strict")
    assert done.returncode == 0, done.stdout


CURSORS = {
    # the textbook outbox
    "position": "SELECT position, event_id FROM posthorn.outbox WHERE position > %s ORDER BY position",
    # the same, held back by the oldest open transaction
    "xmin": "SELECT position, event_id FROM posthorn.outbox WHERE position > %s "
            "AND xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY position",
}


class Cursor(threading.Thread):
    def __init__(self, db, sql):
        super().__init__(daemon=True)
        self.conn, self.sql, self.found, self.over = db.connect(), sql, set(), threading.Event()

    def run(self):
        position = 0
        while True:
            last = self.over.is_set()  # asked first: one full look follows
            for position, event_id in self.conn.execute(self.sql, (position,)).fetchall():
                self.found.add(str(event_id))
            if last:
                return
            time.sleep(0.001)


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_plain_cursor_loses_events(posthorn, database, cursor):
    """Proof that the test above can see: these readers lose under the same writers."""
    posthorn.init(database.dsn())
    reader = Cursor(database, CURSORS[cursor])
    reader.start()
    with Writers(database.dsn(), count=12, keys=20, mix=MIX, rate=600) as writers, Holder(database) as holder:
        writers.wait_ok(1000, timeout=90)
        holder.end()
    reader.over.set()
    reader.join(30)
    lost = writers.ledger.ids() - reader.found
    assert lost, f"the {cursor} cursor lost none of {len(writers.ledger)}: this test cannot see"


def test_two_readers_with_other_batches_read_the_same(posthorn, each_database, tmp_path):
    db, paths = each_database, [tmp_path / "a.ndjson", tmp_path / "b.ndjson"]
    posthorn.init(db.dsn())
    relays = [posthorn.start_relay(db.dsn(), f"file:{paths[i]}", name=f"reader-{i}", settings={"batch_events": size})
              for i, size in enumerate((7, 1000))]
    with Writers(db.dsn(), count=12, keys=20, mix=MIX, rate=600) as writers:
        writers.wait_ok(1500, timeout=90)
    for i, relay in enumerate(relays):
        posthorn.wait_drained(db.dsn(), f"reader-{i}")
        assert relay.stop() == 0
    a, b = ([(e["id"], e["position"]) for e in read_ndjson(p)] for p in paths)
    assert a == b and len(a) >= 1500
    places = [tuple(map(int, position.split("-"))) for _, position in a]
    assert places == sorted(places) and len(set(places)) == len(places)


def test_pgbouncer_in_transaction_mode(posthorn, pgbouncer, database, tmp_path):
    posthorn.init(database.dsn())
    path, through = tmp_path / "out.ndjson", pgbouncer.dsn(database.name)
    relay = posthorn.start_relay(through, f"file:{path}")
    with Writers(database.dsn(), count=4, keys=20, rate=400) as writers:
        writers.wait_ok(800)
    posthorn.wait_drained(through)
    assert relay.stop() == 0
    result = check(writers.ledger, delivered_ndjson(path))
    assert result.clean and not result.duplicated, result


def test_repeatable_read_as_default_changes_nothing(posthorn, database, tmp_path):
    database.sql(f'ALTER DATABASE "{database.name}" SET default_transaction_isolation = \'repeatable read\'')
    posthorn.init(database.dsn())
    path = tmp_path / "out.ndjson"
    relay = posthorn.start_relay(database.dsn(), f"file:{path}", settings={"maintain_interval": "1s"})
    with Writers(database.dsn(), count=1, keys=5, rate=200) as writers:
        writers.wait_ok(300)
    posthorn.wait_drained(database.dsn())
    until(lambda: database.sql("SELECT count(*) FROM posthorn.tick")[0][0] > 0, 10, "a tick")
    assert relay.stop() == 0
    assert "clearing settled events failed" not in relay.log
    assert check(writers.ledger, delivered_ndjson(path)).clean


@pytest.mark.parametrize("start,expected", [("earliest", 3), ("latest", 1)])
def test_start_of_a_new_pipeline(posthorn, database, tmp_path, start, expected):
    posthorn.init(database.dsn())
    path = tmp_path / "out.ndjson"
    for i in range(2):
        database.sql("SELECT posthorn.publish('Order', 'a', 'before', '{}')")
    relay = posthorn.start_relay(database.dsn(), f"file:{path}", settings={"start": start})
    relay.wait_log("delivering from")
    database.sql("SELECT posthorn.publish('Order', 'a', 'behind', '{}')")
    posthorn.wait_drained(database.dsn())
    assert relay.stop() == 0
    assert len(list(read_ndjson(path))) == expected


def test_start_at_a_time(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    database.sql("SELECT posthorn.publish('Order', 'a', 'before', '{}')")
    database.sql("SELECT posthorn.make_tick(0)")
    time_text = database.sql("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")[0][0]
    database.sql("SELECT posthorn.publish('Order', 'a', 'behind', '{}')")
    path = tmp_path / "out.ndjson"
    posthorn.drain(database.dsn(), f"file:{path}", settings={"start": time_text})
    assert [e["type"] for e in read_ndjson(path)] == ["behind"]
