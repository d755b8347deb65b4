"""delivery: exactly-once from PostgreSQL into Kafka: where a pipeline goes on, what stops it, and who shuts out whom."""
import time
from collections import Counter

import pytest

from servers import until

TOPIC_OF = "posthorn.checkpoint.{}".format


def insert(db, first, count, key="o"):
    db.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', "
           f"'{key}-' || i % 100, 'Placed', jsonb_build_object('i', i) FROM generate_series({first}, {first + count - 1}) i")


class Line:
    """A pipeline from an empty log into a topic of its own."""

    def __init__(self, posthorn, db, broker, name, partitions=2):
        self.posthorn, self.db, self.broker, self.name = posthorn, db, broker, name
        self.topic = broker.create_topic(f"t.{name}", partitions=partitions)
        posthorn.init(db.dsn())

    def words(self, **more):
        return {"delivery": "exactly-once", "route.topic": self.topic, "lease": "500ms", "backoff_max": "500ms", **more}

    def once(self, status=0, **more):
        relay = self.posthorn.start_relay(self.db.dsn(), self.broker.uri, "--once", name=self.name, settings=self.words(**more))
        assert relay.wait(90) == status, relay.log
        return relay.log

    def start(self, **more):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, name=self.name, settings=self.words(**more))

    def ids(self):
        """How often each event id is in the topic, as a reader of committed records sees it."""
        return Counter(dict(r.headers)["id"] for r in self.broker.consume_all(self.topic))

    def expect(self, events):
        ids = self.ids()
        assert (len(ids), sum(ids.values())) == (events, events)

    def verify(self):
        return self.posthorn.run("verify", "--strict", "--from", self.db.dsn(), "--to", self.broker.uri, "--name", self.name,
                                 "--set", f"route.topic={self.topic}", timeout=90)


@pytest.fixture
def line(posthorn, database, kafka, request):
    return Line(posthorn, database, kafka, request.node.name.replace("[", ".").replace("]", ""))


def move_back(line):
    """The database's copy as a crash leaves it: behind the sink's."""
    line.db.sql("UPDATE posthorn.checkpoint SET tick = 0, position = 0, snapshot = '3:3:', base_snapshot = '3:3:', sink_tick = 0, sink_position = 0")


@pytest.mark.timeout(180)
def test_the_sinks_answer_counts(line):
    """The database's copy lies behind; nothing is sent twice."""
    insert(line.db, 1, 3000)
    line.once()
    move_back(line)
    insert(line.db, 3001, 500)
    line.once()
    line.expect(3500)
    assert line.verify().returncode == 0


@pytest.mark.timeout(180)
def test_a_lost_tail_of_the_sink_is_sent_again(line):
    """The sink says less than what was known of it: it lost its tail, and the log heals it."""
    insert(line.db, 1, 200)
    line.once()
    line.db.sql("UPDATE posthorn.checkpoint SET sink_position = sink_position + 1000")
    assert "the sink lost its tail" in line.once()


@pytest.mark.timeout(180)
def test_a_deleted_checkpoint_stops(line):
    """The topic is deleted: that the sink says nothing must not be taken for a new pipeline."""
    insert(line.db, 1, 200)
    line.once()
    admin = line.broker.admin()
    admin.delete_topics([TOPIC_OF(line.name)], operation_timeout=30)[TOPIC_OF(line.name)].result(timeout=30)
    until(lambda: TOPIC_OF(line.name) not in line.broker.topics(), 30, "the topic to be gone")
    log = line.once(status=78)
    assert "holds no checkpoint any more" in log and "posthorn adopt" in log
    line.expect(200)


@pytest.mark.timeout(180)
def test_two_logs_under_one_name(line, posthorn, pg15):
    """Another database must not take the checkpoint for its own, nor shut its owner out for long."""
    insert(line.db, 1, 200)
    line.once()
    with pg15.fresh_database() as other:
        posthorn.init(other.dsn())
        insert(other, 1, 50)
        relay = posthorn.start_relay(other.dsn(), line.broker.uri, "--once", name=line.name, settings=line.words())
        assert relay.wait(60) == 78, relay.log
        assert "of another database" in relay.log
    insert(line.db, 201, 10)
    line.once()
    line.expect(210)


@pytest.mark.timeout(240)
def test_from_one_guarantee_to_the_other_and_back(line):
    """What was delivered at-least-once in between is not sent again, and the sink's old answer does not count."""
    insert(line.db, 1, 300)
    line.once()
    insert(line.db, 301, 300)
    line.once(delivery="at-least-once")
    insert(line.db, 601, 300)
    line.once()
    line.expect(900)


@pytest.mark.timeout(240)
def test_a_database_without_a_row_goes_on(line):
    """The row of the checkpoint is gone; the sink has one of this very log."""
    insert(line.db, 1, 300)
    line.once()
    line.db.sql("DELETE FROM posthorn.checkpoint")
    insert(line.db, 301, 10)
    assert "this database has no checkpoint, but the sink has one" in line.once()
    line.expect(310)


@pytest.mark.timeout(240)
def test_a_topic_that_expires_is_refused(line):
    """Checkpoints in a topic with retention would be gone one day."""
    line.broker.create_topic(TOPIC_OF(line.name), partitions=1)
    insert(line.db, 1, 10)
    assert "cleanup.policy=compact" in line.once(status=78)
    line.expect(0)


@pytest.mark.timeout(240)
def test_more_shards_get_more_partitions(line, posthorn):
    """reshard: the checkpoints of the old shards mean nothing to the new ones."""
    insert(line.db, 1, 400)
    line.once()
    assert "run posthorn reshard" in line.once(status=78, shards=3)
    posthorn.run("reshard", line.db.dsn(), line.name, "--shards", "3", check=True)
    insert(line.db, 401, 400)
    line.once(shards=3)
    line.expect(800)
    found = line.broker.admin().list_topics(TOPIC_OF(line.name), timeout=10).topics[TOPIC_OF(line.name)]
    assert len(found.partitions) == 3


@pytest.mark.timeout(240)
def test_shards_without_their_rows_go_on(line):
    """The first shard that begins makes a row for each; the others ask the sink all the same."""
    insert(line.db, 1, 300)
    line.once(shards=3)
    line.db.sql("DELETE FROM posthorn.checkpoint")
    insert(line.db, 301, 30)
    line.once(shards=3)
    line.expect(330)


@pytest.mark.timeout(240)
def test_no_other_shards_behind_a_crash(line, posthorn):
    """reshard goes by the database alone: a pipeline that was not stopped in order has to say first what the sink knows."""
    relay = line.start()
    insert(line.db, 1, 400)
    until(lambda: sum(line.ids().values()) == 400, 60, "the first events")
    relay.kill9()
    until(lambda: line.db.sql("SELECT count(*) FROM posthorn.lease WHERE expires_at > clock_timestamp()") == [(0,)], 30, "the lease to run out")
    reshard = ["reshard", line.db.dsn(), line.name, "--shards", "2"]
    refused = posthorn.run(*reshard)
    assert refused.returncode == 78 and "shard 0 was not stopped in order" in refused.stderr
    line.once(status=78, shards=2)  # a start that is refused is no start
    assert posthorn.run(*reshard).returncode == 78
    line.broker.set_topic_config(TOPIC_OF(line.name), {"cleanup.policy": "delete"})
    line.once(status=78)
    assert posthorn.run(*reshard).returncode == 78
    line.broker.set_topic_config(TOPIC_OF(line.name), {"cleanup.policy": "compact"})
    line.once()
    posthorn.run(*reshard, check=True)
    insert(line.db, 401, 400)
    line.once(shards=2)
    line.expect(800)


@pytest.mark.timeout(240)
def test_a_stop_without_the_broker_is_out_of_order(line, posthorn):
    """What became of the last transaction only the broker knows."""
    relay = line.start(drain_timeout="1s")
    insert(line.db, 1, 400)
    until(lambda: sum(line.ids().values()) == 400, 60, "the first events")
    line.broker.pause()
    try:
        for first in range(401, 801, 100):  # with the next tick made, what the one before brought is on its way
            seen = line.db.sql("SELECT max(tick) FROM posthorn.tick")
            insert(line.db, first, 100)
            until(lambda: line.db.sql("SELECT max(tick) FROM posthorn.tick") > seen, 30, "the relay to see them")
        relay.stop()
        refused = posthorn.run("reshard", line.db.dsn(), line.name, "--shards", "2")
    finally:
        line.broker.resume()
    assert refused.returncode == 78 and "was not stopped in order" in refused.stderr
    line.once()
    posthorn.run("reshard", line.db.dsn(), line.name, "--shards", "2", check=True)
    line.once(shards=2)
    line.expect(800)


@pytest.mark.timeout(240)
def test_parked_and_redriven_once(line, posthorn):
    """An event that cannot go waits with its key; mended and redriven, each is there once."""
    line.broker.set_topic_config(line.topic, {"max.message.bytes": 2000})
    insert(line.db, 1, 100)
    line.db.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) "
                "VALUES ('Order', 'o-7', 'Placed', jsonb_build_object('pad', (SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 100))))")
    insert(line.db, 101, 100)
    line.once(status=65)
    line.expect(199)
    line.broker.set_topic_config(line.topic, {"max.message.bytes": 1000000})
    posthorn.run("dead", "redrive", line.db.dsn(), "--all", check=True)
    time.sleep(1.1)  # what a topic said of itself is believed for a second
    line.once()
    line.expect(201)
    move_back(line)
    line.once()
    line.expect(201)


def ends(broker, topic, level):
    """The end offsets of a topic's partitions, as a reader of that isolation level sees them."""
    consumer = broker.consumer(**{"isolation.level": level})
    try:
        return {place: high for place, (low, high) in broker.end_offsets(consumer, [topic]).items()}
    finally:
        consumer.close()


def pause_inside(relay, broker, topic):
    """SIGSTOP while a transaction is open: what is committed ends in front of what is written."""
    def caught():
        relay.pause()
        if ends(broker, topic, "read_committed") != ends(broker, topic, "read_uncommitted"):
            return True
        relay.resume()
        return False
    until(caught, 60, "the relay to be stopped inside a transaction")


@pytest.mark.timeout(300)
def test_a_stopped_shard_holds_up_nobody(line):
    """One of two shards sleeps inside its transaction; the other is killed and goes on from its own checkpoint within 3 s, since each
    shard has a partition of its own for it."""
    insert(line.db, 1, 20000)
    words = {"shards": 2, "batch_events": 50, "window": 2, "rate": 2000}
    first = line.start(**words)
    first.wait_log("as shard 0 of 2")
    second = line.start(**words)
    second.wait_log("delivering from .* as shard")
    pause_inside(first, line.broker, line.topic)
    shard = int(second.wait_log(r"as shard (\d) of 2").group(1))
    tick = line.db.sql(f"SELECT position FROM posthorn.checkpoint WHERE shard = {shard}")[0][0]
    second.kill9()
    began = time.monotonic()
    third = line.start(**words)
    third.wait_log(rf"delivering from .* as shard {shard} of 2", timeout=20)
    until(lambda: line.db.sql(f"SELECT position FROM posthorn.checkpoint WHERE shard = {shard}")[0][0] > tick, 20, "progress")
    took = time.monotonic() - began
    first.resume()
    assert took < 3, f"it went on after {took:.1f} s"
    until(lambda: sum(r["lagEvents"] for r in line.posthorn.json("status", line.db.dsn())["pipelines"]) == 0, 90, "both shards to be drained")
    for relay in (first, third):
        assert relay.stop() == 0, relay.log
    line.expect(20000)
    assert line.verify().returncode == 0


def test_what_cannot_keep_it_is_refused(posthorn, database):
    """A sink that cannot store a checkpoint with the events, and a name that is no topic's."""
    posthorn.init(database.dsn())
    for sink in ("stdout:", "file:/tmp/nothing-is-written-here.ndjson"):
        done = posthorn.run("run", "--from", database.dsn(), "--to", sink, "--once", "--set", "delivery=exactly-once")
        assert done.returncode == 78 and "exactly-once" in done.stderr, done.stderr
    done = posthorn.run("run", "--from", database.dsn(), "--to", "kafka://127.0.0.1:1", "--once", "--name", "a name",
                        "--set", "delivery=exactly-once", "--set", "route.topic=t")
    assert done.returncode == 78 and "letters, digits" in done.stderr, done.stderr


def test_a_broker_that_is_away(line):
    """The relay says why it waits, and can be stopped meanwhile."""
    insert(line.db, 1, 10)
    relay = line.posthorn.start_relay(line.db.dsn(), "kafka://127.0.0.1:1", name=line.name, settings=line.words())
    relay.wait_log("interrupted, going on as soon as possible: .*127.0.0.1:1", timeout=40)
    began = time.monotonic()
    assert relay.stop(timeout=40) == 0, relay.log
    assert time.monotonic() - began < 15


