"""adopt where the sink holds a checkpoint too (delivery: exactly-once): what it holds is void from then on, and kept anew."""

import re
import sqlite3
import uuid
from collections import Counter

import pytest

from servers import Database, Postgres, newest_debian, until
from test_adopt import burn, far, log, near, publish, restore  # noqa: F401
from test_adopt_shards import crowd

pytestmark = pytest.mark.timeout(240)


class Topic:
    """A topic and the settings of a pipeline into it."""

    def __init__(self, posthorn, kafka):
        self.posthorn, self.kafka, self.pipeline = posthorn, kafka, f"p-{uuid.uuid4().hex[:8]}"
        self.name = kafka.create_topic(f"t-{self.pipeline}", partitions=1)
        self.settings = {"delivery": "exactly-once", "route.topic": self.name, "lease": "500ms", "backoff_max": "500ms"}

    def once(self, uri, status=0):
        relay = self.posthorn.start_relay(uri, self.kafka.uri, "--once", name=self.pipeline, settings=self.settings)
        assert relay.wait(90) == status, relay.log
        return relay.log

    def adopt(self, uri, *words):
        return self.posthorn.json("adopt", uri, self.pipeline, *words, "--yes")["checkpoints"][0]

    def counts(self):
        """How often each n was delivered."""
        records = self.kafka.consume_all(self.name, **{"isolation.level": "read_committed"})
        return Counter(r.json["n"] for r in records)


@pytest.fixture
def topic(posthorn, kafka):
    return Topic(posthorn, kafka)


def test_a_dump_into_another_cluster(topic, log, far):  # noqa: F811
    publish(log, 40, ticks=4)
    topic.once(log.dsn())
    publish(log, 20, ticks=2)
    db = restore(log, far)
    publish(log, 10)
    topic.once(log.dsn())  # 1 to 70 are there, and the sink knows it
    said = topic.once(db.dsn(), status=78)
    assert "the log was made in another database" in said and "posthorn adopt DB-URI --keep" in said
    tick, position = db.sql("SELECT tick, position FROM posthorn.checkpoint")[0]
    look = topic.posthorn.run("adopt", db.dsn(), "--keep", check=True).stdout
    assert "0 events again, 20 for the first time, 0 skipped\n  the sink may hold some of these" in look, "events 41 to 60"
    found = topic.adopt(db.dsn(), "--from-position", f"{tick}-{position}")
    assert (found["again"], found["first"]) == (0, 20)
    topic.once(db.dsn())
    publish(db, 5)  # 61 to 65 of the new log
    topic.once(db.dsn())
    assert topic.counts() == Counter(range(1, 71)) + Counter(range(41, 66))
    assert "of another database" in topic.once(log.dsn(), status=78), "the old log is no longer the one that the sink follows"


def test_a_deleted_checkpoint_topic(topic, log):  # noqa: F811
    publish(log, 40, ticks=4)
    topic.once(log.dsn())
    checkpoints = f"posthorn.checkpoint.{topic.pipeline}"
    admin = topic.kafka.admin()
    admin.delete_topics([checkpoints], operation_timeout=30)[checkpoints].result(timeout=30)
    until(lambda: checkpoints not in topic.kafka.topics(), what="the topic to be gone")
    said = topic.once(log.dsn(), status=78)
    assert "holds no checkpoint any more" in said and f"posthorn adopt DB-URI {topic.pipeline} --keep" in said
    assert topic.adopt(log.dsn(), "--keep")["again"] == 0
    publish(log, 10)
    topic.once(log.dsn())
    topic.once(log.dsn())
    assert topic.counts() == Counter(range(1, 51))


def test_another_database_takes_over(topic, log, near, posthorn):  # noqa: F811
    """One that has no checkpoint of that pipeline yet."""
    publish(log, 20)
    topic.once(log.dsn())
    with near.fresh_database() as db:
        posthorn.init(db.dsn())
        publish(db, 30, ticks=3)
        assert "of another database" in topic.once(db.dsn(), status=78)
        until(lambda: not db.sql("SELECT 1 FROM posthorn.lease WHERE expires_at > clock_timestamp()"), what="the lease's end")
        db.sql("DELETE FROM posthorn.checkpoint")
        done = posthorn.run("adopt", db.dsn(), topic.pipeline, "--keep")
        assert done.returncode == 78 and "there is nothing to keep" in done.stderr
        found = topic.adopt(db.dsn(), "--all")
        assert (found["from"], found["again"], found["first"]) == ("0-0", 0, 30)
        topic.once(db.dsn())
        publish(db, 5)
        topic.once(db.dsn())
        assert topic.counts() == Counter(range(1, 21)) + Counter(range(1, 36))
        assert "of another database" in topic.once(log.dsn(), status=78)


def test_shards_of_a_promoted_standby(topic, posthorn):
    """It lost nothing, and each shard's sink is ahead of it: each is adopted at its own sink's place, and nothing comes twice."""
    topic.settings |= {"shards": 2}
    with Postgres(newest_debian(), fsync=False) as primary:
        db = Database(primary, "postgres")
        posthorn.init(db.dsn())
        standby = primary.make_standby()
        try:
            crowd(db, 2)
            topic.once(db.dsn())
            db.sql("CREATE TABLE stored AS SELECT * FROM posthorn.checkpoint")
            crowd(db, 3)
            topic.once(db.dsn())
            publish(db, 10, key="k0")  # of one shard alone
            topic.once(db.dsn())
            at = db.sql("SELECT shard, tick || '-' || position FROM posthorn.checkpoint ORDER BY shard")
            assert at[0][1] != at[1][1]
            db.sql("UPDATE posthorn.checkpoint c SET tick = s.tick, position = s.position, snapshot = s.snapshot,"
                   " base_snapshot = s.base_snapshot, sink_tick = s.sink_tick, sink_position = s.sink_position"
                   " FROM stored s WHERE s.shard = c.shard")  # as a crash leaves them
            lsn = primary.sql("SELECT pg_current_wal_lsn()::text")[0][0]
            until(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")[0][0], 30, "replay")
            standby.promote()
            copy = Database(standby, "postgres")
            assert re.search(r"the sink holds position \d+-\d+ for shard [01] ", topic.once(copy.dsn(), status=78))
            done = posthorn.run("adopt", copy.dsn(), topic.pipeline, "--from-position", at[0][1], "--yes")
            assert done.returncode == 78 and "each shard has a place of its own" in done.stderr
            for shard, place in at:
                until(lambda: not copy.sql("SELECT 1 FROM posthorn.lease WHERE expires_at > clock_timestamp()"), what="the leases' end")
                topic.adopt(copy.dsn(), "--shard", str(shard), "--from-position", place)
                if shard == 0:  # too early: the other one still says no
                    assert " for shard 1 " in topic.once(copy.dsn(), status=78)
            crowd(copy, 1)
            topic.once(copy.dsn())
            got = topic.kafka.consume_all(topic.name, **{"isolation.level": "read_committed"})
            assert Counter(r.header("id").decode() for r in got) == Counter(
                str(event) for event, in copy.sql("SELECT event_id FROM posthorn.outbox"))
        finally:
            standby.close()


def test_an_older_copy_of_a_sqlite_file(topic, posthorn, tmp_path):
    file, copy = tmp_path / "app.db", tmp_path / "copy.db"
    uri = f"sqlite:{file}"
    posthorn.run("init", uri, check=True)

    def insert(first, last):
        posthorn.publish_lines(uri, [{"aggregateType": "t", "aggregateId": "k", "eventType": "T", "payload": {"n": n}}
                                     for n in range(first, last + 1)])

    insert(1, 20)
    topic.once(uri)
    with sqlite3.connect(file) as conn:
        conn.execute("VACUUM INTO ?", [str(copy)])
    insert(21, 40)
    topic.once(uri)
    for name in ("app.db", "app.db-wal", "app.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    copy.rename(file)
    posthorn.run("init", uri, check=True)  # a copy is not in WAL mode
    insert(101, 110)  # at positions that the sink takes for settled
    said = topic.once(uri, status=78)
    assert "the sink holds position 1-40" in said and "the database is at 1-20" in said
    assert "the sink may hold some of these" in topic.posthorn.run("adopt", uri, "--keep", check=True).stdout
    assert topic.adopt(uri, "--keep")["first"] == 10
    topic.once(uri)
    insert(111, 120)
    topic.once(uri)
    assert topic.counts() == Counter(range(1, 41)) + Counter(range(101, 121))
