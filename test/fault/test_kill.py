"""kill -9 of the relay, of PostgreSQL and of the broker at random moments while eight writers commit. A ledger outside the system knows
what became of each commit. Kills count only when something was delivered since the one before: a run without such hits is void and fails.

POSTHORN_FAULTS=full runs 200 kills; otherwise a smoke of 15. POSTHORN_SEED repeats a run's choices.
"""
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Writers, check, delivered_kafka  # noqa: E402
from servers import Kafka, Postgres, until, within  # noqa: E402

FULL = os.environ.get("POSTHORN_FAULTS") == "full"
KILLS = 200 if FULL else 15
MIN_HITS = KILLS // 2
BATCH_EVENTS, WINDOW = 100, 4
SETTINGS = {"batch_events": BATCH_EVENTS, "window": WINDOW, "lease": "500ms", "backoff_max": "500ms"}


class Scene:
    """The relay between a PostgreSQL and a broker of their own, and the ways to kill each."""

    def __init__(self, posthorn, pg, broker, db, rng):
        self.posthorn, self.pg, self.broker, self.db, self.rng = posthorn, pg, broker, db, rng
        self.topic = broker.create_topic("killed", partitions=4)
        self.kills, self.hits = Counter(), 0
        self.relay = self.new_relay()

    def new_relay(self):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, settings={**SETTINGS, "route.topic": self.topic})

    def delivered(self):
        """How much the topic holds; a broker that just came back is asked again."""
        def ask():
            try:
                return (self.broker.count(self.topic),)
            except KafkaException:
                return None
        return until(ask, 30, "the broker's answer")[0]

    def kill(self, before):
        self.hits += within(30, lambda: self.delivered() > before)  # a kill before that proves nothing
        time.sleep(self.rng.random() * 0.5)  # the moment of the kill is the random variable
        before = self.delivered()
        target = self.rng.choices(["relay", "postgres", "broker"], [6, 2, 2])[0]
        self.kills[target] += 1
        if target == "relay":
            self.relay.kill9()
            self.relay = self.new_relay()
        elif target == "postgres":
            self.pg.kill9()
            self.pg.start()
        else:
            self.broker.kill9()
            self.broker.start()
        assert self.relay.running(), f"the relay ended by itself: {self.relay.log[-2000:]}"
        return before


@pytest.mark.smoke
@pytest.mark.timeout(3600 if FULL else 600)
def test_kills_lose_nothing(posthorn):
    seed = int(os.environ.get("POSTHORN_SEED", random.randrange(1 << 32)))
    print(f"POSTHORN_SEED={seed}")
    with Postgres(15) as pg, Kafka() as broker, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        scene = Scene(posthorn, pg, broker, db, random.Random(seed))
        with Writers(db.dsn(), count=8, keys=40, rate=300, seed=seed) as writers:
            before = 0
            for _ in range(KILLS):
                before = scene.kill(before)
            until(lambda: scene.delivered() > before, 60, "something to be delivered after the last kill")
        posthorn.wait_drained(db.dsn(), timeout=120)
        assert scene.relay.stop() == 0
        records = broker.consume_all(scene.topic, timeout=120)
        result = check(writers.ledger, delivered_kafka(records))
        print(f"kills {dict(scene.kills)}, of which {scene.hits} behind progress; {result}")
        assert scene.hits >= MIN_HITS, f"void: only {scene.hits} of {KILLS} kills came behind progress"
        assert result.clean, f"seed {seed}: {result}"
        assert len(result.duplicated) <= KILLS * BATCH_EVENTS * WINDOW, f"seed {seed}: {result}"
        verify = posthorn.run("verify", "--from", db.dsn(), "--to", broker.uri, "--set", f"route.topic={scene.topic}", timeout=120)
        assert verify.returncode == 0, verify.stdout


@pytest.mark.smoke
@pytest.mark.timeout(300)
def test_a_relay_killed_in_a_large_transaction_goes_on_inside_it(posthorn, tmp_path):
    """One transaction of 200,000 events, kill -9 inside it again and again: nothing lost, in order, memory flat."""
    events = 200_000
    with Postgres(15) as pg, Kafka() as broker, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        db.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', 'o-' || i % 100, 'Placed', "
               f"jsonb_build_object('i', i) FROM generate_series(1, {events}) i")
        topic = broker.create_topic("large", partitions=4)
        settings = {**SETTINGS, "batch_events": 1000, "route.topic": topic}
        hits = 0
        for _ in range(5):
            relay = posthorn.start_relay(db.dsn(), broker.uri, settings=settings)
            before = broker.count(topic)
            until(lambda: broker.count(topic) > before or not relay.running(), 60, "progress")
            hits += broker.count(topic) < events
            relay.kill9()
        relay = posthorn.start_relay(db.dsn(), broker.uri, settings=settings)
        posthorn.wait_drained(db.dsn(), timeout=120)
        assert relay.stop() == 0
        assert hits >= 2, "void: the relay was never killed inside the transaction"
        done = posthorn.json("verify", "--from", db.dsn(), "--to", broker.uri, "--set", f"route.topic={topic}", timeout=120)
        assert done["ok"] and done["events"] == events and done["missing"] == 0, done

