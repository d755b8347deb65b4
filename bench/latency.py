"""From commit to consumer: a writer that commits at a steady rate, a consumer that stamps what arrives."""
import threading
import time
import uuid

from bench import Live, percentile, relay_command


class Arrivals(threading.Thread):
    """Consumes a topic from its beginning and keeps the time at which each event id came."""

    def __init__(self, stage, topic):
        super().__init__(daemon=True)
        self.consumer = stage.kafka.consumer(**{"fetch.wait.max.ms": 5, "enable.partition.eof": False})
        self.consumer.subscribe([topic])
        self.times, self.over = {}, threading.Event()

    def run(self):
        while not self.over.is_set():
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.times[dict(message.headers())["id"].decode()] = time.monotonic()
        self.consumer.close()


def write(stage, database, rate, seconds):
    """Commits `rate` events a second, each in a transaction of its own; returns {id: time of the commit}."""
    committed = {}
    with stage.pg.connect(database) as conn:
        begun = time.monotonic()
        for i in range(rate * seconds):
            wait = begun + i / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)  # the rate is what is asked for
            event = str(uuid.uuid4())
            conn.execute("SELECT posthorn.publish('Order', %s, 'OrderPlaced', '{\"n\": 1}', '{}', %s)", (f"order-{i % 1000}", event))
            committed[event] = time.monotonic()
    return committed


def measure_latency(stage, database, uri, rate, seconds):
    topic = stage.topic()
    arrivals = Arrivals(stage, topic)
    arrivals.start()
    with Live(relay_command(stage, uri, f"latency-{topic}", topic, "start=latest")):
        deadline = time.monotonic() + 30
        write(stage, database, 20, 1)
        while not arrivals.times and time.monotonic() < deadline:
            write(stage, database, 20, 1)  # until relay and consumer are both there
        committed = write(stage, database, rate, seconds)
        deadline = time.monotonic() + 30
        while not committed.keys() <= arrivals.times.keys() and time.monotonic() < deadline:
            time.sleep(0.05)
    arrivals.over.set()
    arrivals.join(10)
    missing = len(committed.keys() - arrivals.times.keys())
    assert missing == 0, f"{missing} of {len(committed)} events did not arrive"
    waits = [(arrivals.times[e] - t) * 1000 for e, t in committed.items()]
    return {"rate": rate, "events": len(waits), "p50_ms": round(percentile(waits, 0.5), 2), "p99_ms": round(percentile(waits, 0.99), 2),
            "max_ms": round(max(waits), 1)}
