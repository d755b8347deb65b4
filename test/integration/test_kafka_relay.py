"""PostgreSQL to a real Kafka broker by the real command."""
import json
import uuid

import pytest

from ledger import Writers, check, delivered_kafka
from servers import Kafka, until


@pytest.fixture
def log(posthorn, database):
    posthorn.init(database.dsn())
    return database


def topic_name():
    return f"t-{uuid.uuid4().hex[:10]}"


def test_writers_to_kafka(posthorn, log, kafka):
    topic = topic_name()
    relay = posthorn.start_relay(log.dsn(), kafka.uri, settings={"route.topic": topic})
    with Writers(log.dsn(), count=8, keys=50, rate=800) as writers:
        writers.wait_ok(2000)
    posthorn.wait_drained(log.dsn())
    assert relay.stop() == 0
    result = check(writers.ledger, delivered_kafka(kafka.consume_all(topic)))
    assert result.clean and not result.duplicated, result
    done = posthorn.run("verify", "--from", log.dsn(), "--to", kafka.uri, "--set", f"route.topic={topic}", "--strict", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["events"] == result.delivered and found["missing"] == 0, found


def test_default_route_and_headers(posthorn, log, kafka):
    kind = "Kind" + uuid.uuid4().hex[:8]
    log.sql(f"SELECT posthorn.publish('{kind}', 'order-1', 'Placed', '{{\"a\": 1.50}}', '{{\"correlationId\": \"c\", \"traceparent\": \"t\"}}')")
    log.sql(f"SELECT posthorn.publish('{kind}', 'order-1', 'Gone', NULL)")
    posthorn.drain(log.dsn(), kafka.uri, settings={"route.header_xid": "true"})
    first, second = sorted(kafka.consume_all(f"outbox.event.{kind}"), key=lambda r: r.offset)
    assert first.key == b"order-1" and first.value == b'{"a": 1.50}' and second.value is None
    headers = dict(first.headers)
    assert [n for n, _ in first.headers][:6] == ["id", "eventType", "aggregateType", "aggregateId", "createdAt", "posthorn-position"]
    assert headers["eventType"] == b"Placed" and headers["correlationId"] == b"c" and headers["traceparent"] == b"t"
    assert headers["posthorn-xid"].isdigit()


def test_routes_by_glob_and_the_json_envelope(posthorn, log, kafka):
    urgent, rest = topic_name(), topic_name()
    for kind in ("OrderPlaced", "OrderPaid", "MailSent"):
        log.sql(f"SELECT posthorn.publish('Order', 'o1', '{kind}', '{{\"n\": 12345678901234567890}}')")
    posthorn.drain(log.dsn(), kafka.uri, settings={"route.topic": rest, "route.rules.0.event_type": "Order*", "route.rules.0.topic": urgent,
                                                   "route.rules.0.envelope": "json"})
    envelopes = [r.value for r in kafka.consume_all(urgent)]
    assert len(envelopes) == 2 and len(kafka.consume_all(rest)) == 1
    assert b"12345678901234567890" in envelopes[0]
    assert {"eventId", "eventType", "aggregateType", "aggregateId", "data", "createdAt"} <= json.loads(envelopes[0]).keys()


def test_keys_land_where_a_java_producer_puts_them(posthorn, log, kafka):
    keys = [f"order-{i}" for i in range(150)] + ["é", "日本", "a b"]
    topic = kafka.create_topic(topic_name(), partitions=7)
    for key in keys:
        log.sql("SELECT posthorn.publish('Order', %s, 'Placed', '{}')", key)
    posthorn.drain(log.dsn(), kafka.uri, settings={"route.topic": topic})
    ours = {r.key.decode(): r.partition for r in kafka.consume_all(topic)}
    theirs = kafka.java_partitions(kafka.create_topic(topic_name(), partitions=7), keys)
    assert ours == theirs and len(set(ours.values())) > 3


def test_an_event_without_a_route_is_dead_and_holds_its_key(posthorn, log, kafka):
    topic = topic_name()
    for order, tenant in (("o", "a"), ("p", "b"), ("o", None), ("o", "c"), ("p", "c")):
        headers = json.dumps({"tenant": tenant} if tenant else {})
        log.sql("SELECT posthorn.publish('Order', %s, 'Placed', '{}', %s::jsonb)", order, headers)
    words = ["run", "--from", log.dsn(), "--to", kafka.uri, "--once", "--set", f"route.topic={topic}.{{header:tenant}}"]
    done = posthorn.run(*words)
    assert done.returncode == 65 and "1 events are dead and 1 are parked" in done.stderr and "tenant" in done.stderr, done.stderr
    assert [kafka.count(f"{topic}.{t}") for t in "abc"] == [1, 1, 1]
    assert log.sql("SELECT state, key, attempts FROM posthorn.parked ORDER BY position") == [("dead", "o", 1), ("parked", "o", 0)]
    log.sql("UPDATE posthorn.parked SET state = 'discarded' WHERE state = 'dead'")
    log.sql("UPDATE posthorn.parked SET next_attempt_at = now() WHERE state = 'parked'")
    done = posthorn.run(*words)
    assert done.returncode == 0, done.stderr
    assert [kafka.count(f"{topic}.{t}") for t in "abc"] == [1, 1, 2]
    assert log.sql("SELECT state FROM posthorn.parked") == [("discarded",)]


def test_an_event_larger_than_two_batches_is_dead(posthorn, log, kafka):
    """12 MB where batch_bytes is 4 MiB: no batch of the usual size holds it. The topic refuses it, later ones of its key wait."""
    topic = kafka.create_topic(topic_name(), partitions=1)
    for order, payload in (("o", "'{\"n\": 1}'"), ("o", "jsonb_build_object('x', repeat('x', 12000000))"), ("o", "'{\"n\": 2}'"),
                           ("p", "'{\"n\": 3}'")):
        log.sql(f"SELECT posthorn.publish('Order', %s, 'Placed', {payload})", order)
    words = ["run", "--from", log.dsn(), "--to", kafka.uri, "--set", f"route.topic={topic}", "--once"]
    done = posthorn.run(*words)
    assert done.returncode == 65 and "larger than max.message.bytes" in done.stderr and len(done.stderr) < 4000, done.stderr
    assert [r.json for r in kafka.consume_all(topic)] == [{"n": 1}, {"n": 3}]
    log.sql("UPDATE posthorn.parked SET state = 'discarded' WHERE state = 'dead'")
    log.sql("UPDATE posthorn.parked SET next_attempt_at = now() WHERE state = 'parked'")
    done = posthorn.run(*words)
    assert done.returncode == 0, done.stderr
    assert [r.json for r in kafka.consume_all(topic)] == [{"n": 1}, {"n": 3}, {"n": 2}]


def test_the_broker_goes_and_comes_back(posthorn, log):
    with Kafka() as broker:
        topic = broker.create_topic(topic_name())
        relay = posthorn.start_relay(log.dsn(), broker.uri, settings={"route.topic": topic})
        with Writers(log.dsn(), count=4, keys=20, rate=300) as writers:
            writers.wait_ok(300)
            until(lambda: broker.count(topic) > 0, 20, "the first records")
            broker.kill9()
            relay.wait_log("the sink is down")
            writers.wait_ok(writers.ledger.counts["ok"] + 300)
            broker.start()
            relay.wait_log("the sink is back")
        posthorn.wait_drained(log.dsn(), timeout=90)
        assert relay.stop() == 0
        assert relay.log.count("the sink is down") == 1
        result = check(writers.ledger, delivered_kafka(broker.consume_all(topic)))
        assert result.clean, result


def test_two_million_events_behind_a_dead_broker(posthorn, log):
    """Memory stays flat while nothing can be delivered."""
    log.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', 'o-' || i % 10000, 'Placed', "
            "jsonb_build_object('note', repeat('x', 160)) FROM generate_series(1, 2000000) i")
    relay = posthorn.start_relay(log.dsn(), "kafka://127.0.0.1:1", settings={"backoff_max": "200ms"})
    relay.wait_log("the sink is down")
    begun = relay.rss_kib()
    until(lambda: (posthorn.pipeline(log.dsn()) or {}).get("lastError"), 30, "some retries")
    peak = relay.rss_kib(peak=True)
    assert relay.stop(timeout=40) == 0
    if "asan" not in str(posthorn.binary) and "tsan" not in str(posthorn.binary):
        assert peak < 128 * 1024, f"peak RSS {peak // 1024} MiB, {begun // 1024} MiB at first"


def test_what_would_break_the_promise_is_refused(posthorn, log):
    for setting, word in (("sink.kafka.acks=1", "acks"), ("sink.kafka.enable.idempotence=false", "idempotence"),
                          ("sink.kafka.sasl.password=geheim", "_file")):
        done = posthorn.run("run", "--from", log.dsn(), "--to", "kafka://127.0.0.1:1", "--set", setting, "--once")
        assert done.returncode == 78 and word in done.stderr and "geheim" not in done.stderr, done.stderr
