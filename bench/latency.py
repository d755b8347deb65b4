"""From commit to consumer: a writer that commits at a steady rate, a consumer that stamps what arrives."""
import threading
import time
import uuid

from bench import Live, percentile, relay_command


PUBLISH = "SELECT posthorn.publish('Order', %(key)s, 'OrderPlaced', '{\"n\": 1}', '{}', %(id)s)"


class Arrivals(threading.Thread):
    """Consumes a topic from its beginning (committed records only), counts the records and keeps the time at which each
    event id first came; those alone whose key begins with key."""

    def __init__(self, stage, topic, key=b""):
        super().__init__(daemon=True)
        self.consumer = stage.kafka.consumer(**{"fetch.wait.max.ms": 5, "enable.partition.eof": False,
                                                "isolation.level": "read_committed"})
        self.consumer.subscribe([topic])
        self.key, self.times, self.records, self.over = key, {}, 0, threading.Event()

    def run(self):
        while not self.over.is_set():
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.records += 1
                if message.key().startswith(self.key):
                    event = next(value for name, value in message.headers() if name == "id").decode()
                    self.times.setdefault(event, time.monotonic())
        self.consumer.close()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(10)


def write(stage, database, rate, seconds, publish=PUBLISH, **values):
    """Commits `rate` events a second, each in a transaction of its own; returns {id: time of the commit}."""
    committed = {}
    with stage.pg.connect(database) as conn:
        begun = time.monotonic()
        for i in range(rate * seconds):
            wait = begun + i / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)  # the rate is what is asked for
            event = str(uuid.uuid4())
            conn.execute(publish, values | {"key": f"order-{i % 1000}", "id": event})
            committed[event] = time.monotonic()
    return committed


def measure_latency(stage, database, uri, rate, seconds, *sets):
    topic = stage.topic()
    with Live(relay_command(stage, uri, f"latency-{topic}", topic, "start=latest", *sets)):
        return measure_live(stage, database, topic, rate, seconds)


def measure_live(stage, database, topic, rate, seconds, publish=PUBLISH):
    """From commit to consumer through a relay that runs already."""
    with Arrivals(stage, topic) as arrivals:
        deadline = time.monotonic() + 30
        while not arrivals.times and time.monotonic() < deadline:
            write(stage, database, 20, 1, publish, topic=topic)  # until relay and consumer are both there
        committed = write(stage, database, rate, seconds, publish, topic=topic)
        deadline = time.monotonic() + 30
        while not committed.keys() <= arrivals.times.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
    missing = len(committed.keys() - arrivals.times.keys())
    assert missing == 0, f"{missing} of {len(committed)} events did not arrive"
    waits = [(arrivals.times[e] - t) * 1000 for e, t in committed.items()]
    return {"rate": rate, "events": len(waits), "p50_ms": round(percentile(waits, 0.5), 2), "p99_ms": round(percentile(waits, 0.99), 2),
            "max_ms": round(max(waits), 1)}


SCHEDULED = """INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, payload, deliver_after)
               SELECT gen_random_uuid(), 'Order', 'order-' || i %% 1000, 'Reminded', '{"n": 1}', %s::timestamptz + i * %s * interval '1 second'
                 FROM generate_series(1, %s) i RETURNING event_id::text, extract(epoch FROM deliver_after)::float8"""


def measure_scheduled(stage, database, uri, events, over_s):
    """How late scheduled events arrive, in ms behind their deliver_after; and how long others of their keys take meanwhile."""
    topic = stage.topic()
    with Arrivals(stage, topic) as arrivals, Live(relay_command(stage, uri, f"scheduled-{topic}", topic)):
        with stage.pg.connect(database) as conn:
            first = conn.execute("SELECT (clock_timestamp() + interval '25 seconds')::text").fetchone()[0]
            due = dict(conn.execute(SCHEDULED, [first, over_s / events, events]).fetchall())
        committed = write(stage, database, 200, 15)  # the same keys, while the others wait
        deadline = time.monotonic() + 90
        while not committed.keys() | due.keys() <= arrivals.times.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
    missing = len((committed.keys() | due.keys()) - arrivals.times.keys())
    assert missing == 0, f"{missing} events did not arrive"
    wall = time.time() - time.monotonic()
    late = [(arrivals.times[e] + wall - t) * 1000 for e, t in due.items()]
    others = [(arrivals.times[e] - t) * 1000 for e, t in committed.items()]
    return {"events": events, "late_min_ms": round(min(late), 1), "late_p50_ms": round(percentile(late, 0.5), 1),
            "late_p99_ms": round(percentile(late, 0.99), 1), "late_max_ms": round(max(late), 1),
            "others_p50_ms": round(percentile(others, 0.5), 1), "others_p99_ms": round(percentile(others, 0.99), 1)}
