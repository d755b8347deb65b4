"""One event in a hundred is poison: too large for its topic, without a key where the topic is compacted, to a topic that the relay may
not write, or without the header that its route needs. The relay is killed again and again meanwhile. Then the causes are mended and
everything dead is redriven.

POSTHORN_FAULTS=full runs 40 kills over 20,000 events; otherwise a smoke of 4 over 3,000. POSTHORN_SEED repeats a run's choices.
"""
import json
import os
import random
import sys
import threading
import time
import uuid
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from servers import Kafka, Postgres, until, within  # noqa: E402

FULL = os.environ.get("POSTHORN_FAULTS") == "full"
EVENTS, KILLS = (20000, 40) if FULL else (3000, 4)
KEYS, RATE = 100, 600
ACL = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found": "true"}
TOPIC, COMPACTED, DENIED = "orders", "compacted", "denied"
INSERT = ("INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, headers, payload) "
          "VALUES (%s, 'Order', %s, %s, %s::jsonb, %s::jsonb)")
KINDS = ["large", "no key", "denied", "no header"]


class Writer(threading.Thread):
    """Commits events of KEYS keys at RATE a second; knows each key's order and which events are poison."""

    def __init__(self, dsn, rng):
        super().__init__(daemon=True)
        self.dsn, self.rng = dsn, rng
        self.events = {}  # id: (key, n, kind)
        self.start()

    def run(self):
        counts = defaultdict(int)
        began = time.monotonic()
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            for i in range(EVENTS):
                key = f"k{self.rng.randrange(KEYS)}"
                counts[key] += 1
                kind = self.rng.choice(KINDS) if i % 100 == 50 else None
                self.insert(conn, key, counts[key], kind)
                time.sleep(max(0, began + i / RATE - time.monotonic()))  # the rate is what is asked for

    def insert(self, conn, key, n, kind):
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        topic = {"no key": COMPACTED, "denied": DENIED}.get(kind, TOPIC)
        headers = {} if kind == "no header" else {"topic": topic}
        payload = {"key": key, "n": n, "fill": "x" * (60000 if kind == "large" else 10)}
        conn.execute(INSERT, (event_id, key, "NoKey" if kind == "no key" else "Placed", json.dumps(headers), json.dumps(payload)))
        self.events[event_id] = (key, n, kind)


class Scene:
    def __init__(self, posthorn, db, broker, on_dead):
        self.posthorn, self.db, self.broker = posthorn, db, broker
        broker.create_topic(TOPIC, 4, {"max.message.bytes": "20000"})
        broker.create_topic(COMPACTED, 1, {"cleanup.policy": "compact"})
        broker.create_topic(DENIED, 1)
        self.acl("--add", "--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", DENIED)
        self.settings = {"route.topic": "{header:topic}", "route.rules.0.event_type": "NoKey", "route.rules.0.key": "", "on_dead": on_dead,
                         "lease": "500ms", "batch_events": 200}
        self.relay = self.new_relay()

    def acl(self, *words):
        argv = self.broker.jvm("org.apache.kafka.tools.AclCommand", "--bootstrap-server", self.broker.bootstrap, "--force", *words)
        from proc import run_as
        run_as(argv, None, self.broker.folder)

    def new_relay(self):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, settings=self.settings)

    def delivered(self):
        return self.broker.count([TOPIC, COMPACTED, DENIED])

    def settled(self):
        """All of the log is settled, and nothing is on its way back."""
        return self.posthorn.pipeline(self.db.dsn())["lagEvents"] == 0 and not self.db.sql(
            "SELECT 1 FROM posthorn.parked WHERE next_attempt_at IS NOT NULL LIMIT 1")

    def mend(self):
        self.relay.stop()
        self.broker.set_topic_config(TOPIC, {"max.message.bytes": "200000"})
        self.broker.set_topic_config(COMPACTED, {"cleanup.policy": "delete"})
        self.acl("--remove", "--deny-principal", "User:ANONYMOUS", "--operation", "Write", "--topic", DENIED)
        self.settings |= {"route.rules.1.event_type": "Placed", "route.rules.1.topic": TOPIC}  # the header is not needed any more
        self.relay = self.new_relay()

    def redrive_all(self):
        self.posthorn.run("dead", "redrive", self.db.dsn(), "--all", "--reason", "the causes are mended", check=True)

    def records(self):
        """[(id, key, n, headers)] by the time the producer gave them, which is the order of their delivery."""
        found = self.broker.consume_all([TOPIC, COMPACTED, DENIED], timeout=120)
        found.sort(key=lambda r: r.timestamp_ms)
        return [(r.header("id").decode(), r.json["key"], r.json["n"], dict(r.headers)) for r in found]


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
        before = scene.delivered()
        hits += within(60, lambda: scene.delivered() > before or not writer.is_alive()) and scene.delivered() > before
        time.sleep(rng.random() * 0.3)  # the moment of the kill is the random variable
        scene.relay.kill9()
        scene.relay = scene.new_relay()
    writer.join(120)
    assert not writer.is_alive()
    return hits


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 400)
@pytest.mark.parametrize("on_dead", ["hold", "skip"])
def test_poison_stops_its_own_key_alone(posthorn, on_dead):
    seed = int(os.environ.get("POSTHORN_SEED", random.randrange(1 << 32)))
    print(f"POSTHORN_SEED={seed}")
    rng = random.Random(seed)
    with Postgres(15) as pg, Kafka(config=ACL) as broker, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        scene = Scene(posthorn, db, broker, on_dead)
        writer = Writer(db.dsn(), random.Random(seed))
        hits = kill_meanwhile(scene, writer, rng)
        until(scene.settled, 180, "the log to be settled")
        poison = {i for i, (_, _, kind) in writer.events.items() if kind}
        keyed = {i for i in poison if writer.events[i][2] != "no key"}
        first = {}  # of each key: from there on it waits, where keys wait
        for event_id in keyed:
            key, n, _ = writer.events[event_id]
            first[key] = min(first.get(key, n), n)
        held = {i for i, (key, n, kind) in writer.events.items() if kind != "no key" and on_dead == "hold" and n >= first.get(key, n + 1)}
        want_dead = poison if on_dead == "skip" else {i for i in poison if i not in held or writer.events[i][1] == first[writer.events[i][0]]}
        records = scene.records()
        delivered = {r[0] for r in records}
        assert delivered == set(writer.events) - poison - held
        assert dead_ids(db) == want_dead
        assert_in_order(records)
        gaps = sum("posthorn-gap" in headers for _, _, _, headers in records)
        assert (gaps > 0) == (on_dead == "skip")

        scene.mend()
        scene.redrive_all()
        until(lambda: scene.settled() and not db.sql("SELECT 1 FROM posthorn.parked LIMIT 1"), 180, "every key to be complete")
        assert scene.relay.stop() == 0
        records = scene.records()
        missing = [writer.events[i] for i in set(writer.events) - {r[0] for r in records}]
        assert not missing, (missing, posthorn.logs(12))
        assert_in_order(records, without={i for i in poison if on_dead == "skip" or i not in keyed})
        late = {r[0] for r in records if b"true" == r[3].get("posthorn-redriven")}
        assert late == (poison if on_dead == "skip" else set())
        print(f"kills {KILLS}, of which {hits} behind progress; {EVENTS} events, {len(poison)} poison, {len(held)} held, "
              f"{len(records) - len(writer.events)} duplicates, {gaps} gaps told")
        assert hits >= KILLS // 2, f"void: only {hits} of {KILLS} kills came behind progress"
