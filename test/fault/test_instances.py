"""Instances of one configuration share the shards of a pipeline while they are killed, paused longer than their lease and stopped at
random. A fault counts only when something was delivered since the one before.

POSTHORN_FAULTS=full runs 100 faults for two and for four instances; otherwise a smoke of 8. POSTHORN_SEED repeats a run's choices.
"""
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Writers, check, delivered_kafka  # noqa: E402
from servers import Kafka, Postgres, until, within  # noqa: E402

FULL = os.environ.get("POSTHORN_FAULTS") == "full"
FAULTS = 100 if FULL else 8
SHARDS, LEASE = 4, 1.0
SETTINGS = {"shards": SHARDS, "lease": f"{int(LEASE * 1000)}ms", "batch_events": 100}
OWNERS = "SELECT instance, count(*) FROM posthorn.lease WHERE expires_at > clock_timestamp() GROUP BY 1"


class Scene:
    def __init__(self, posthorn, db, broker, count):
        self.posthorn, self.db, self.broker = posthorn, db, broker
        self.topic = broker.create_topic("shared", partitions=4)
        self.relays = [self.new_relay() for _ in range(count)]
        self.faults, self.hits = Counter(), 0

    def new_relay(self):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, settings={**SETTINGS, "route.topic": self.topic})

    def shares(self):
        return sorted(count for _, count in self.db.sql(OWNERS))

    def fault(self, rng, before):
        self.hits += within(30, lambda: self.broker.count(self.topic) > before)
        time.sleep(rng.random() * LEASE)  # the moment of the fault is the random variable
        before = self.broker.count(self.topic)
        kind, index = rng.choice(["kill", "pause", "pause", "stop"]), rng.randrange(len(self.relays))
        self.faults[kind] += 1
        relay = self.relays[index]
        if kind == "pause":
            relay.pause()
            time.sleep(LEASE * (0.5 + 2.5 * rng.random()))  # how long it is away, shorter or longer than its lease
            relay.resume()
        else:
            relay.kill9() if kind == "kill" else relay.stop()
            self.relays[index] = self.new_relay()
        assert all(r.running() for r in self.relays), self.posthorn.logs()
        return before


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 400)
@pytest.mark.parametrize("instances", [2, 4])
def test_instances_share_the_work(posthorn, instances):
    seed = int(os.environ.get("POSTHORN_SEED", random.randrange(1 << 32)))
    print(f"POSTHORN_SEED={seed}")
    rng = random.Random(seed)
    with Postgres(15) as pg, Kafka() as broker, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        scene = Scene(posthorn, db, broker, instances)
        fair = [SHARDS // instances] * instances
        until(lambda: scene.shares() == fair, 10 * LEASE + 10, "even shares")
        with Writers(db.dsn(), count=8, keys=40, rate=300, seed=seed) as writers:
            before = 0
            for _ in range(FAULTS):
                before = scene.fault(rng, before)
            until(lambda: broker.count(scene.topic) > before, 60, "something to be delivered after the last fault")
        until(lambda: scene.shares() == fair, 10 * LEASE + 10, "even shares again")
        until(lambda: all(row["lagEvents"] == 0 for row in posthorn.json("status", db.dsn())["pipelines"]), 120, "no lag on any shard")
        assert all(relay.stop() == 0 for relay in scene.relays)
        result = check(writers.ledger, delivered_kafka(broker.consume_all(scene.topic, timeout=120)))
        fenced = sum("fenced:" in relay.log for relay in posthorn.relays)
        print(f"{instances} instances, {SHARDS} shards: faults {dict(scene.faults)}, of which {scene.hits} behind progress, {fenced} fenced; {result}")
        assert scene.hits >= FAULTS // 2, f"void: only {scene.hits} of {FAULTS} faults came behind progress"
        assert result.clean, f"seed {seed}: {result}"
