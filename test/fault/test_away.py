"""The broker is away while a backlog grows behind it: the relay's memory stays flat, and then it drains (row 11 of the fault matrix).

POSTHORN_FAULTS=full lets it be away five times, each time behind 2,000,000 events; otherwise once behind 100,000.
"""
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from servers import Kafka  # noqa: E402

from matrix import DELIVERIES, FULL, amount, judge, record  # noqa: E402
from scene import Scene  # noqa: E402

TIMES, FIRST, BACKLOG = amount(5, 1), 1000, amount(2_000_000, 100_000)
MOST_MIB, LEAST_RATE = 128, 50_000
INSERT = ("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', 'o-' || i % 10000, 'Placed', "
          "jsonb_build_object('i', i, 'note', repeat('x', 160)) FROM generate_series({}, {}) i")


@pytest.fixture(scope="module")
def broker():
    with Kafka() as server:
        yield server


def away(scene, broker, done):
    """One absence: whether the whole backlog came to be behind it, and the rate of the drain, events a second."""
    mark = len(scene.relay.log)
    broker.kill9()
    with scene.db.connect() as conn:
        for first in range(done + 1, done + BACKLOG + 1, BACKLOG // 10):
            conn.execute(INSERT.format(first, first + BACKLOG // 10 - 1))
    scene.relay.wait_log("the sink is down", start=mark)
    hit = scene.reader.count <= done
    broker.start()
    assert scene.reader.reaches(done + 1, 60), "nothing came after the broker was back"
    began, first = time.monotonic(), scene.reader.count
    assert scene.reader.reaches(done + BACKLOG, 300), "the backlog was not drained"
    return hit, (done + BACKLOG - first) / (time.monotonic() - began)


@pytest.mark.smoke
@pytest.mark.timeout(3600 if FULL else 240)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_backlog_behind_a_dead_broker(posthorn, database, broker, delivery):
    with Scene(posthorn, database, broker, delivery) as scene:
        database.sql(INSERT.format(1, FIRST))
        assert scene.reader.reaches(FIRST), "the relay does not work"
        hits, rates = 0, []
        for i in range(TIMES):
            hit, rate = away(scene, broker, FIRST + i * BACKLOG)
            hits += hit
            rates.append(rate)
        peak = scene.relay.rss_kib(peak=True) // 1024
        scene.wait_settled()
        assert scene.relay.stop() == 0
        result = scene.tally(FIRST + TIMES * BACKLOG)
        record(11, "broker away, a backlog behind it, back", delivery, faults=TIMES, hits=hits, result=result,
               note=f"{BACKLOG} events each time, peak RSS {peak} MiB, drained at {min(rates):.0f} events/s at least")
        judge(delivery, TIMES, hits, result, least=1)
        assert peak < MOST_MIB, f"peak RSS {peak} MiB"
        assert not FULL or min(rates) >= LEAST_RATE, rates
