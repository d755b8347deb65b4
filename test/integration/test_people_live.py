"""What people do while pipelines run: mend and redrive, discard, pause and resume, and reshard between runs that are killed."""

import json
import os

import pytest

from command import answer
from ledger import Writers, check, delivered_kafka, read_ndjson
from schema_db import one
from servers import until
from test_dead import check_queues, states

QUICK = {"lease": "1s", "settle_interval": "10ms", "source.poll_max": "20ms"}
SMALL = {"max.message.bytes": "2000"}


@pytest.fixture
def log(posthorn, database):
    posthorn.init(database.dsn())
    return database


@pytest.fixture
def c(log):
    with log.connect() as conn:
        yield conn


def publish(conn, key, n, size=1):
    """An event whose payload no compression makes small."""
    conn.execute("SELECT posthorn.publish('order', %s, 'Placed', %s)", [key, json.dumps({"n": n, "x": os.urandom(size).hex()})])


def sequences(kafka, topic):
    """What each key got, in order: {key: [n]}, and the headers of each event."""
    got, headers = {}, {}
    for record in kafka.consume_all(topic):
        n = json.loads(record.value)["n"]
        got.setdefault(record.key.decode(), []).append(n)
        headers[record.key.decode(), n] = dict(record.headers)
    return got, headers


def counts(posthorn, log):
    row = posthorn.pipeline(log.dsn()) or {}
    return row.get("dead"), row.get("parked"), row.get("lagEvents")


@pytest.fixture
def poisoned(posthorn, log, c, kafka):
    """A running pipeline with a dead event in front of two others of its key, all else delivered: (topic, relay)."""
    topic = kafka.create_topic(f"t.{log.name}", 2, SMALL)
    for n in range(4):
        publish(c, "a", n, 4000 if n == 1 else 1)
        publish(c, "b", n)
    relay = posthorn.start_relay(log.dsn(), kafka.uri, settings=QUICK | {"route.topic": topic})
    until(lambda: counts(posthorn, log) == (1, 2, 0), 30, "the event to be dead and two to wait behind it")
    assert sequences(kafka, topic)[0] == {"a": [0], "b": [0, 1, 2, 3]}
    return topic, relay


def test_mended_and_redriven_while_it_runs(posthorn, log, c, kafka, poisoned):
    topic, relay = poisoned
    (dead,) = answer("dead", "list", log.dsn())["events"]
    assert dead["waiting"] == 2 and dead["key"] == "a" and dead["lastError"]
    check_queues(c)
    kafka.set_topic_config(topic, {"max.message.bytes": "100000"})
    posthorn.run("dead", "redrive", log.dsn(), "--id", dead["id"], check=True)
    until(lambda: counts(posthorn, log) == (0, 0, 0), 30, "the key to go on")
    publish(c, "a", 4)
    until(lambda: sequences(kafka, topic)[0] == {"a": [0, 1, 2, 3, 4], "b": [0, 1, 2, 3]}, 30, "the key in order")
    assert "posthorn-redriven" not in sequences(kafka, topic)[1]["a", 1], "nothing overtook it"
    assert relay.stop() == 0 and states(c, pipeline="default") == {}


def test_discarded_while_it_runs(posthorn, log, c, kafka, poisoned):
    topic, relay = poisoned
    posthorn.run("dead", "discard", log.dsn(), "--error-like", "%large%", "--reason", "too large for anybody", check=True)
    until(lambda: sequences(kafka, topic)[0]["a"] == [0, 2, 3], 30, "the key to go on without it")
    until(lambda: counts(posthorn, log) == (0, 0, 0), 30, "the rows to be gone")
    assert relay.stop() == 0 and list(states(c, pipeline="default").values()) == ["discarded"]


def test_passed_and_redriven_later(posthorn, log, c, kafka):
    topic = kafka.create_topic(f"t.{log.name}", 2, SMALL)
    for n in range(3):
        publish(c, "a", n, 4000 if n == 1 else 1)
    relay = posthorn.start_relay(log.dsn(), kafka.uri, settings=QUICK | {"route.topic": topic, "on_dead": "skip"})
    until(lambda: sequences(kafka, topic)[0] == {"a": [0, 2]} and counts(posthorn, log) == (1, 0, 0), 30, "the key to go on")
    (dead,) = answer("dead", "list", log.dsn())["events"]
    headers = sequences(kafka, topic)[1]
    assert dead["passed"] and headers["a", 2]["posthorn-gap"].decode() == dead["id"] and "posthorn-gap" not in headers["a", 0]
    kafka.set_topic_config(topic, {"max.message.bytes": "100000"})
    posthorn.run("dead", "redrive", log.dsn(), "--all", check=True)
    until(lambda: sequences(kafka, topic)[0] == {"a": [0, 2, 1]}, 30, "the redriven event")
    headers = sequences(kafka, topic)[1]
    assert headers["a", 1]["posthorn-redriven"] == b"true" and "posthorn-gap" not in headers["a", 1]
    assert relay.stop() == 0 and states(c, pipeline="default") == {}


def test_paused_it_delivers_nothing_and_resumed_it_goes_on(posthorn, log, c, tmp_path):
    relay = posthorn.start_relay(log.dsn(), f"file:{tmp_path}/out", settings=QUICK)
    for n in range(10):
        publish(c, "a", n)
    posthorn.wait_drained(log.dsn())
    posthorn.run("pause", log.dsn(), "default", "--reason", "the consumer moves", check=True)
    relay.wait_log("paused by a person")
    for n in range(10, 20):
        publish(c, "a", n)
    row = posthorn.pipeline(log.dsn())
    assert row["pausedReason"] == "the consumer moves" and row["owner"]
    for _ in range(2):  # two renewals of the lease
        before = posthorn.pipeline(log.dsn())["expiresAt"]
        until(lambda: posthorn.pipeline(log.dsn())["expiresAt"] != before, 10, "a renewal")
    assert len(read_ndjson(tmp_path / "out")) == 10 and posthorn.pipeline(log.dsn())["lagEvents"] == 10
    relay.kill9()
    relay = posthorn.start_relay(log.dsn(), f"file:{tmp_path}/out", settings=QUICK)  # a pause holds over a restart
    relay.wait_log("paused by a person")
    posthorn.run("resume", log.dsn(), "default", check=True)
    posthorn.wait_drained(log.dsn())
    assert [e["payload"]["n"] for e in read_ndjson(tmp_path / "out")] == list(range(20))
    assert relay.stop() == 0


def test_reshard_between_runs_that_are_killed(posthorn, log, c, kafka):
    topic = kafka.create_topic(f"t.{log.name}", 4)
    settings = QUICK | {"route.topic": topic, "batch_events": "50", "window": "1"}

    def run(shards):
        return posthorn.start_relay(log.dsn(), kafka.uri, settings=settings | {"shards": str(shards)})
    with Writers(log.dsn(), count=4, keys=60, rate=800, seed=5) as writers:
        before = 0
        for shards in (1, 4, 3, 2, 5):
            if shards > 1:
                done = posthorn.run("reshard", log.dsn(), "default", "--shards", str(shards), check=True)
                assert f"has {shards} shards now" in done.stdout
                check_queues(c)
            relay = run(shards)
            until(lambda: one(c, "SELECT count(DISTINCT shard) FROM posthorn.lease WHERE expires_at > now()") == shards, 30, "all shards")
            before += 1500
            writers.wait_ok(before)
            relay.kill9()
            busy = posthorn.run("reshard", log.dsn(), "default", "--shards", "9")
            assert busy.returncode == 78 and "is running: shard" in busy.stderr
            until(lambda: one(c, "SELECT count(*) FROM posthorn.lease WHERE expires_at > now()") == 0, 30, "the leases to run out")
    relay = run(5)
    until(lambda: all((r["lagEvents"], r["parked"], r["dead"]) == (0, 0, 0)
                      for r in answer("status", log.dsn())["pipelines"]), 60, "everything to be delivered")
    assert relay.stop() == 0
    result = check(writers.ledger, delivered_kafka(kafka.consume_all(topic)))
    assert result.clean, result
    wrong = run(4)
    wrong.wait_log("pipeline default has 5 shards, and the configuration says 4")
