"""kill -9 of the relay and of PostgreSQL at random moments while eight writers commit, and of the relay inside a large transaction
(rows 1, 3 and 16 of the fault matrix). A ledger outside the system knows what became of
each commit. Kills count only when something was delivered since the one before: a run without such hits is void and fails.

POSTHORN_FAULTS=full runs 1,000 kills of the relay, 100 of PostgreSQL, 200 of both and the broker, and 20 inside each large transaction;
otherwise a smoke. POSTHORN_SEED repeats a run's choices.
"""
import contextlib
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Writers  # noqa: E402
from servers import Kafka, Postgres  # noqa: E402

from matrix import AT_LEAST_ONCE, DELIVERIES, FULL, amount, judge, record  # noqa: E402
from scene import LEASE_SECONDS, Scene, new_rng, percentile  # noqa: E402

BATCH_EVENTS, WINDOW = 100, 4
# what is killed: row of the matrix, how often, and the weights of what is chosen each time
TARGETS = {"relay": (1, amount(1000, 10), {"relay": 1}), "postgres": (3, amount(100, 5), {"postgres": 1})}
if FULL:
    TARGETS["any"] = (1, 200, {"relay": 6, "postgres": 2, "broker": 2})
RECOVERY_SECONDS = 3  # p99, behind the lease


class Killer:
    """Kills one of the three at a time, once the reader has seen something new, and takes the time until it sees more."""

    def __init__(self, scene, pg, rng, weights):
        self.scene, self.pg, self.rng, self.weights = scene, pg, rng, weights
        self.kills, self.hits, self.recoveries, self.seen = Counter(), 0, [], 0

    def kill(self):
        self.hits += self.scene.reader.reaches(self.seen + 1)  # a kill before that proves nothing
        time.sleep(self.rng.random() * 0.5)  # the moment of the kill is the random variable
        target = self.rng.choices(list(self.weights), list(self.weights.values()))[0]
        self.kills[target] += 1
        server = {"relay": None, "postgres": self.pg, "broker": self.scene.broker}[target]
        if server is None:
            self.scene.relay.kill9()
            self.scene.start()
        else:
            server.kill9()
            server.start()
        began, self.seen = time.monotonic(), self.scene.reader.count
        if self.scene.reader.reaches(self.seen + 1) and server is None:
            self.recoveries.append(time.monotonic() - began)
        assert self.scene.relay.running(), f"the relay ended by itself: {self.scene.relay.log[-2000:]}"

    def note(self):
        if not self.recoveries:
            return ""
        return f"delivering again p50 {percentile(self.recoveries, 0.5):.2f} s, p99 {percentile(self.recoveries, 0.99):.2f} s behind a start"


@contextlib.contextmanager
def log_and_sink(pg15, kafka, target):
    """Servers that may be killed where the target asks for it, else those of all tests."""
    with contextlib.ExitStack() as stack:
        pg = stack.enter_context(Postgres(15)) if target != "relay" else pg15
        broker = stack.enter_context(Kafka()) if target == "any" else kafka
        yield pg, broker, stack.enter_context(pg.fresh_database())


@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("target", TARGETS)
def test_kills_lose_nothing(posthorn, pg15, kafka, target, delivery):
    seed, rng = new_rng()
    row, kills, weights = TARGETS[target]
    with log_and_sink(pg15, kafka, target) as (pg, broker, db), \
            Scene(posthorn, db, broker, delivery, batch_events=BATCH_EVENTS, window=WINDOW) as scene:
        killer = Killer(scene, pg, rng, weights)
        with Writers(db.dsn(), count=8, keys=40, rate=amount(800, 300), seed=seed) as writers:
            for _ in range(kills):
                killer.kill()
        result = scene.finish(writers)
        record(row, f"kill -9 of {' or '.join(weights)}", delivery, faults=kills, hits=killer.hits, result=result, note=killer.note())
        judge(delivery, kills, killer.hits, result)
        assert len(result.duplicated) <= kills * BATCH_EVENTS * WINDOW
        assert not FULL or percentile(killer.recoveries, 0.99) <= RECOVERY_SECONDS + LEASE_SECONDS, killer.note()
        assert scene.verify()["ok"]


SHAPES = {"rows": (amount(1_000_000, 150_000), 20), "bytes": (amount(5_000, 800), 100_000)}  # events, bytes of each


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 300)
@pytest.mark.parametrize("delivery", DELIVERIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_relay_killed_in_a_large_transaction_goes_on_inside_it(posthorn, database, kafka, shape, delivery):
    """One transaction of many rows or many bytes, kill -9 inside it again and again: nothing lost, in order, memory flat."""
    _, rng = new_rng()
    (events, size), kills, hits, peak = SHAPES[shape], amount(20, 4), 0, 0
    posthorn.init(database.dsn())
    database.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', 'o-' || i % 100, 'Placed', "
                 f"jsonb_build_object('i', i, 'fill', repeat('x', {size})) FROM generate_series(1, {events}) i")
    with Scene(posthorn, database, kafka, delivery, start=False) as scene:
        for _ in range(kills):
            before = scene.reader.count
            relay = scene.start()
            scene.reader.reaches(before + 1)
            time.sleep(rng.random() * 0.1)  # the moment of the kill is the random variable
            peak = max(peak, relay.rss_kib(peak=True))
            relay.kill9()
            hits += before < scene.reader.count < events
        relay = scene.start()
        scene.wait_settled(300)
        peak = max(peak, relay.rss_kib(peak=True))
        assert relay.stop() == 0
        result = scene.tally(events)
        aborted = scene.aborted()
        record(16, f"kill -9 inside a transaction of {shape}", delivery, faults=kills, hits=hits, result=result,
               note=f"{events} events of {size} bytes, peak RSS {peak // 1024} MiB, {aborted} records aborted")
        judge(delivery, kills, hits, result)
        assert delivery == AT_LEAST_ONCE or aborted > 0, "void: no kill came inside a transaction of Kafka's"
        assert peak < 128 * 1024, f"peak RSS {peak // 1024} MiB"
        assert scene.verify()["ok"]
