"""What leaves the flow of a running relay, with everything through PgBouncer in transaction mode: shards, a dead key, redrive, pause."""
import json
import uuid

import pytest

from servers import until

EVENT = "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, headers, payload) VALUES ('Order', %s, 'Placed', %s::jsonb, '{}')"


def topic_name():
    return "parking-" + uuid.uuid4().hex[:8]


@pytest.mark.timeout(120)
def test_shards_parking_and_pause_through_pgbouncer(posthorn, database, pgbouncer, kafka):
    direct, pooled = database.dsn(), pgbouncer.dsn(database.name)
    posthorn.init(direct)
    topic = kafka.create_topic(topic_name())
    settings = {"route.topic": topic + "{header:suffix}", "shards": 2, "lease": "1s", "retry.initial": "50ms"}
    instances = [posthorn.start_relay(pooled, kafka.uri, settings=settings) for _ in range(2)]
    until(lambda: database.sql("SELECT count(DISTINCT instance) FROM posthorn.lease WHERE expires_at > now()")[0][0] == 2, 20, "a shard each")

    def publish(key, suffix=""):
        database.sql(EVENT, key, json.dumps({} if suffix is None else {"suffix": suffix or ".a"}))

    kafka.create_topic(topic + ".a")
    for i in range(40):
        publish(f"k{i % 8}")
    publish("k1", None)  # cannot be routed
    for i in range(40):
        publish(f"k{i % 8}")
    until(lambda: kafka.count(topic + ".a") == 75, 30, "all but the dead key's rest")
    found = posthorn.json("dead", "list", pooled)
    assert len(found["events"] if isinstance(found, dict) else found) == 1
    assert database.sql("SELECT state, count(*) FROM posthorn.parked GROUP BY 1 ORDER BY 1") == [("dead", 1), ("parked", 5)]

    posthorn.run("pause", pooled, "default", "--reason", "a look", check=True)
    for relay in instances:
        relay.wait_log("paused by a person")
    posthorn.run("dead", "discard", pooled, "--all", "--reason", "no suffix", check=True)
    publish("k2")
    assert kafka.count(topic + ".a") == 75
    posthorn.run("resume", pooled, "default", check=True)
    until(lambda: kafka.count(topic + ".a") == 81, 20, "the rest of the key, and what came meanwhile")
    assert all(relay.stop() == 0 for relay in instances)
    assert database.sql("SELECT act FROM posthorn.audit ORDER BY at") == [("pause",), ("discard",), ("resume",)]


def test_shards_want_a_sink_with_several_writers(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    done = posthorn.run("run", "--from", database.dsn(), "--to", f"file:{tmp_path}/out", "--once", "--set", "shards=2")
    assert done.returncode == 78 and "shards: a sink of kind file has one writer" in done.stderr
    done = posthorn.run("run", "--from", database.dsn(), "--to", "kafka://127.0.0.1:1", "--once", "--set", "shards=2", "--set", "route.key={header:k}")
    assert done.returncode == 78 and "the key must contain {aggregate_id}" in done.stderr


def test_a_changed_number_of_shards_is_refused(posthorn, database, kafka):
    posthorn.init(database.dsn())
    topic = kafka.create_topic(topic_name())
    words = ["run", "--from", database.dsn(), "--to", kafka.uri, "--once", "--set", f"route.topic={topic}"]
    assert posthorn.run(*words, "--set", "shards=2").returncode == 0
    done = posthorn.run(*words)
    assert done.returncode == 78 and "has 2 shards" in done.stderr and "posthorn reshard" in done.stderr
