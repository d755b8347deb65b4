"""One event in a hundred is poison: too large for its topic, without a key where the topic is compacted, to a topic that the relay may
not write, or without the header that its route needs; and one in a hundred is empty, which is none (row 14 of the fault matrix). The
relay is killed again and again meanwhile. Then the causes are mended and everything dead is redriven.

POSTHORN_FAULTS=full runs 40 kills over 50,000 events, 500 of them poison; otherwise a smoke of 4 over 1,200. POSTHORN_SEED repeats a
run's choices.
"""
import json
import random
import sys
import threading
import time
import uuid
from collections import defaultdict, namedtuple
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from servers import Kafka, until  # noqa: E402

from matrix import AT_LEAST_ONCE, DELIVERIES, FULL, amount, judge, record, settings  # noqa: E402
from scene import Reader, new_rng  # noqa: E402

EVENTS, KILLS = amount(50000, 1200), amount(40, 4)
KEYS, RATE = 100, 600
ACL = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found": "true"}
Topics = namedtuple("Topics", "orders compacted denied")
INSERT = ("INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload) "
          "VALUES (%s, 'Order', %s, %s, %s::jsonb, %s::jsonb)")
EMPTY = ("INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload_bytes) "
         "VALUES (%s, 'Order', %s, 'Placed', %s::jsonb, '')")
KINDS = ["large", "no key", "denied", "no header"]


class Writer(threading.Thread):
    """Commits events of KEYS keys at RATE a second; knows each key's order and which events are poison."""

    def __init__(self, dsn, topics, rng):
        super().__init__(daemon=True)
        self.dsn, self.topics, self.rng = dsn, topics, rng
        self.events = {}  # id: (key, n, kind)
        self.start()

    def run(self):
        counts = defaultdict(int)
        began = time.monotonic()
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            for i in range(EVENTS):
                key = f"k{self.rng.randrange(KEYS)}"
                counts[key] += 1
                kind = KINDS[i // 100 % len(KINDS)] if i % 100 == 50 else None
                (self.insert_empty if i % 100 == 75 else self.insert)(conn, key, counts[key], kind)
                time.sleep(max(0, began + i / RATE - time.monotonic()))  # the rate is what is asked for

    def insert_empty(self, conn, key, n, kind):
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        conn.execute(EMPTY, (event_id, key, json.dumps({"topic": self.topics.orders, "n": str(n)})))
        self.events[event_id] = (key, n, kind)

    def insert(self, conn, key, n, kind):
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        topic = {"no key": self.topics.compacted, "denied": self.topics.denied}.get(kind, self.topics.orders)
        headers = {} if kind == "no header" else {"topic": topic}
        payload = {"key": key, "n": n, "fill": "x" * (60000 if kind == "large" else 10)}
        conn.execute(INSERT, (event_id, key, "NoKey" if kind == "no key" else "Placed", json.dumps(headers), json.dumps(payload)))
        self.events[event_id] = (key, n, kind)


class Scene:
    def __init__(self, posthorn, db, broker, delivery, on_dead):
        self.posthorn, self.db, self.broker = posthorn, db, broker
        self.topics = Topics(*(f"{name}-{uuid.uuid4().hex[:8]}" for name in Topics._fields))
        self.name = f"poison-{self.topics.orders}"
        broker.create_topic(self.topics.orders, 4, {"max.message.bytes": "20000"})
        broker.create_topic(self.topics.compacted, 1, {"cleanup.policy": "compact"})
        broker.create_topic(self.topics.denied, 1)
        self.acl("--add", "--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", self.topics.denied)
        self.settings = settings(delivery, **{"route.topic": "{header:topic}", "route.rules.0.event_type": "NoKey", "route.rules.0.key": "",
                                              "on_dead": on_dead, "batch_events": 200})
        self.relay = self.new_relay()
        self.reader = Reader(broker, self.topics.orders, 4)

    def acl(self, *words):
        argv = self.broker.jvm("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.broker.bootstrap, "--force", *words)
        from proc import run_as
        run_as(argv, None, self.broker.folder)

    def new_relay(self):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, name=self.name, settings=self.settings)

    def settled(self):
        """All of the log is settled, and nothing is on its way back."""
        return self.posthorn.pipeline(self.db.dsn())["lagEvents"] == 0 and not self.db.sql(
            "SELECT 1 FROM posthorn.parked WHERE next_attempt_at IS NOT NULL LIMIT 1")

    def mend(self):
        self.relay.stop()
        self.broker.set_topic_config(self.topics.orders, {"max.message.bytes": "200000"})
        self.broker.set_topic_config(self.topics.compacted, {"cleanup.policy": "delete"})
        self.acl("--remove", "--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", self.topics.denied)
        self.settings |= {"route.rules.1.event_type": "Placed", "route.rules.1.topic": self.topics.orders}  # the header is not needed any more
        self.relay = self.new_relay()

    def redrive_all(self):
        self.posthorn.run("dead", "redrive", self.db.dsn(), "--all", "--reason", "the causes are mended", check=True)

    def records(self):
        """[(id, key, n, headers)] by the time the producer gave them, which is the order of their delivery."""
        found = self.broker.consume_all(self.topics, timeout=120)
        found.sort(key=lambda r: r.timestamp_ms)
        return [(r.header("id").decode(), *place_of(r), dict(r.headers)) for r in found]


def place_of(record):
    """(key, n) of a record; an empty one has them outside of its value."""
    if record.value == b"":
        return record.key.decode(), int(record.header("n"))
    return record.json["key"], record.json["n"]


def first_deliveries(records):
    seen = set()
    for record in records:
        if record[0] not in seen:
            seen.add(record[0])
            yield record


def assert_in_order(records, without=frozenset()):
    """Within a topic's partition, first deliveries of a key rise."""
    last = defaultdict(int)
    for event_id, key, n, _ in first_deliveries(records):
        if event_id in without:
            continue
        assert n > last[key], f"{key}: {n} behind {last[key]}"
        last[key] = n


def dead_ids(db):
    return {str(row[0]) for row in db.sql("SELECT event_id FROM posthorn.parked WHERE state = 'dead'")}


def kill_meanwhile(scene, writer, rng):
    hits = 0
    for _ in range(KILLS):
        hits += scene.reader.reaches(scene.reader.count + 1)
        time.sleep(rng.random() * 0.3)  # the moment of the kill is the random variable
        scene.relay.kill9()
        scene.relay = scene.new_relay()
    writer.join(120)
    assert not writer.is_alive()
    return hits


def expected(events, on_dead):
    """(ids of poison, ids that wait behind it, ids that are dead) by what the writer knows."""
    poison = {i for i, (_, _, kind) in events.items() if kind}
    first = {}  # of each key: from there on it waits, where keys wait
    for event_id in poison:
        key, n, kind = events[event_id]
        if kind != "no key":
            first[key] = min(first.get(key, n), n)
    if on_dead == "skip":
        return poison, set(), poison
    held = {i for i, (key, n, kind) in events.items() if kind != "no key" and n >= first.get(key, n + 1)}
    return poison, held, {i for i in poison if i not in held or events[i][1] == first[events[i][0]]}


def check_before(scene, db, events, on_dead):
    """Exactly the poison is dead, and under hold what is behind it waits; returns (poison, held, gaps told)."""
    poison, held, dead = expected(events, on_dead)
    records = scene.records()
    assert {r[0] for r in records} == set(events) - poison - held
    assert dead_ids(db) >= dead
    early = {events[i] for i in dead_ids(db) - dead}  # a later one that no route takes is refused while the first is still on its way
    assert {kind for _, _, kind in early} <= {"no header"}, early
    causes = {str(i): cause for i, cause in db.sql("SELECT event_id, last_error FROM posthorn.parked WHERE state = 'dead'")}
    denied = [causes[i] for i in dead if events[i][2] == "denied"]
    assert all("authorization failed" in cause for cause in denied), denied
    assert_in_order(records)
    gaps = sum("posthorn-gap" in headers for _, _, _, headers in records)
    assert (gaps > 0) == (on_dead == "skip")
    return poison, held, gaps


def check_behind(scene, events, on_dead, poison):
    """Everything has arrived, each key in order; returns how many records there are beyond one an event."""
    records = scene.records()
    missing = [events[i] for i in set(events) - {r[0] for r in records}]
    assert not missing, (missing, scene.posthorn.logs(12))
    assert_in_order(records, without={i for i in poison if on_dead == "skip" or events[i][2] == "no key"})
    late = {r[0] for r in records if b"true" == r[3].get("posthorn-redriven")}
    assert late == (poison if on_dead == "skip" else set())
    return len(records) - len(events)


# a full run has all pairs
PAIRS = [(w, d) for d in DELIVERIES for w in ("hold", "skip") if FULL or len(DELIVERIES) == 1 or w == "hold" or d != AT_LEAST_ONCE]


@pytest.fixture(scope="module")
def guarded():
    """A broker with ACLs."""
    with Kafka(config=ACL) as server:
        yield server


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("on_dead, delivery", PAIRS)
def test_poison_stops_its_own_key_alone(posthorn, database, guarded, on_dead, delivery):
    seed, rng = new_rng()
    posthorn.init(database.dsn())
    scene = Scene(posthorn, database, guarded, delivery, on_dead)
    writer = Writer(database.dsn(), scene.topics, random.Random(seed))
    hits = kill_meanwhile(scene, writer, rng)
    until(scene.settled, 180, "the log to be settled")
    poison, held, gaps = check_before(scene, database, writer.events, on_dead)
    scene.mend()
    scene.redrive_all()
    until(lambda: scene.settled() and not database.sql("SELECT 1 FROM posthorn.parked LIMIT 1"), 180, "every key to be complete")
    assert scene.relay.stop() == 0
    scene.reader.close()
    result = {"events": EVENTS, "duplicates": check_behind(scene, writer.events, on_dead, poison)}
    record(14, f"poison (on_dead {on_dead}), relay killed -9 meanwhile", delivery, faults=len(poison), hits=len(poison), result=result,
           note=f"{KILLS} kills, {hits} behind progress; {len(held)} events waited, {gaps} gaps told")
    judge(delivery, KILLS, hits, result)
