"""Topics that come into being with the first event, while the machine is busy: the broker names a leader a moment before it accepts
writes. With more than one request in flight, librdkafka 2.0.2 takes the second one's success for the first one's, and events are lost
(five of about 2,100 topics, see src/sink/kafka_client.c).

POSTHORN_FAULTS=full uses 2,000 topics; otherwise a smoke of 60.
"""
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from servers import Kafka, Postgres  # noqa: E402

FULL = os.environ.get("POSTHORN_FAULTS") == "full"
TOPICS = 2000 if FULL else 60
EVENTS = 40


@pytest.fixture
def busy():
    spinners = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3)]
    yield
    for spinner in spinners:
        spinner.kill()
        spinner.wait()


@pytest.mark.smoke
@pytest.mark.timeout(3600 if FULL else 300)
def test_the_first_events_of_a_topic_are_not_lost(posthorn, busy):
    with Postgres(15) as pg, Kafka() as broker, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        for i in range(TOPICS):
            db.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'Order', 'o-' || i % 7, 'Placed', "
                   f"jsonb_build_object('i', i) FROM generate_series(1, {EVENTS}) i")
            topic = f"new-{i}"
            posthorn.run("run", "--from", db.dsn(), "--to", broker.uri, "--once", "--set", f"route.topic={topic}", check=True)
            assert broker.count(topic) == EVENTS, f"topic {i} of {TOPICS}"
