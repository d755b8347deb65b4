"""What tests of the fault matrix between PostgreSQL and Kafka share: a relay of one guarantee on a topic of its own, a reader of that
topic which sees what a consumer sees, and the comparison at the end.

    with Scene(posthorn, db, broker, delivery, window=4) as scene:
        with Writers(db.dsn(), ...) as writers:
            before = scene.reader.count
            scene.relay.kill9()
            scene.start()
            hits += scene.reader.reaches(before + 1)
        result = scene.finish(writers)

Progress is what a read_committed consumer was given: under exactly-once the topic's offsets also count markers and aborted records.
"""
import itertools
import os
import random
import threading
import time
import uuid

import confluent_kafka

import matrix
from kafka_server import read_to
from ledger import check, delivered_kafka
from servers import within

_numbers = itertools.count(1)
LEASE_SECONDS = 0.5  # matrix.QUICK
READ_COMMITTED = {"isolation.level": "read_committed", "reconnect.backoff.max.ms": 500}


def new_rng():
    """A run's choices; POSTHORN_SEED repeats them."""
    seed = int(os.environ.get("POSTHORN_SEED", random.randrange(1 << 32)))
    print(f"POSTHORN_SEED={seed}")
    return seed, random.Random(seed)


def percentile(values, share):
    """The value at share (0 to 1) of the sorted values; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Reader:
    """Reads a topic from its beginning while it is written, as a consumer does that sees committed records alone. count is how many
    records came; arrived tells when each event's first came, by id, where keep=True."""

    def __init__(self, broker, topic, partitions, keep=False):
        self.count, self.keep, self.arrived = 0, keep, {}
        self.consumer = broker.consumer(**READ_COMMITTED)
        self.consumer.assign([confluent_kafka.TopicPartition(topic, p, 0) for p in range(partitions)])
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.read, name=f"reader-{topic}", daemon=True)
        self.thread.start()

    def read(self):
        while not self.ending.is_set():
            records = [m for m in self.next_records() if m.error() is None]
            now = time.time()
            for message in records if self.keep else ():
                self.arrived.setdefault(dict(message.headers())["id"].decode(), now)
            self.count += len(records)
        self.consumer.close()

    def next_records(self):
        """What there is, at once; consume() alone would wait for its number or its time."""
        first = self.consumer.poll(0.05)
        return [first, *self.consumer.consume(1000, timeout=0)] if first else []

    def reaches(self, count, seconds=30):
        """Whether it has seen that many within the time."""
        return within(seconds, lambda: self.count >= count)

    def close(self):
        self.ending.set()
        self.thread.join(30)


class Scene:
    """A pipeline from db to a topic of its own, and the relay that runs it. more are settings of the pipeline."""

    def __init__(self, posthorn, db, broker, delivery, *, partitions=4, topic_config=None, keep=False, start=True, **more):
        self.posthorn, self.db, self.broker, self.delivery = posthorn, db, broker, delivery
        self.name = f"fault-{os.getpid()}-{next(_numbers)}"
        self.topic = broker.create_topic(f"{self.name}-{uuid.uuid4().hex[:8]}", partitions, topic_config)
        self.settings = matrix.settings(delivery, **{"route.topic": self.topic, **more})
        posthorn.init(db.dsn())
        self.relay = self.start() if start else None
        self.reader = Reader(broker, self.topic, partitions, keep)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.reader.close()
        if exc[0] is not None and self.relay:
            self.relay.kill9()

    def new_relay(self, env=None):
        return self.posthorn.start_relay(self.db.dsn(), self.broker.uri, name=self.name, settings=self.settings, env=env)

    def start(self, env=None):
        self.relay = self.new_relay(env)
        return self.relay

    def records(self, isolation="read_committed"):
        """What a consumer of the topic is given, partition by partition in order, none of it kept."""
        consumer = self.broker.consumer(**{**READ_COMMITTED, "isolation.level": isolation})
        try:
            yield from read_to(consumer, self.broker.end_offsets(consumer, [self.topic]), time.monotonic() + 300)
        finally:
            consumer.close()

    def settled(self):
        """Nothing lags behind on any shard."""
        rows = [row for row in self.posthorn.json("status", self.db.dsn())["pipelines"] if row["name"] == self.name]
        return rows and all(row["lagEvents"] == 0 for row in rows)

    def aborted(self):
        """How many records of aborted transactions lie in the topic, which no consumer of committed ones is given."""
        return sum(1 for _ in self.records("read_uncommitted")) - sum(1 for _ in self.records())

    def wait_settled(self, timeout=120):
        """Waits until nothing lags behind; asks seldom, since counting a backlog costs the log's server a lot."""
        end = time.monotonic() + timeout
        while not self.settled():
            assert time.monotonic() < end, f"not all was delivered in {timeout} s"
            time.sleep(0.25)

    def compare(self, writers, timeout=120):
        """Waits until all is delivered, and compares the topic with the ledger."""
        self.wait_settled(timeout)
        result = check(writers.ledger, delivered_kafka(self.records()))
        print(result)
        return result

    def finish(self, writers, timeout=120):
        """The same, when the relay has stopped."""
        self.wait_settled(timeout)
        assert self.relay.stop() == 0, self.relay.log[-2000:]
        return self.compare(writers)

    def verify(self):
        """What `posthorn verify` says."""
        words = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        return self.posthorn.json("verify", "--from", self.db.dsn(), "--to", self.broker.uri, "--name", self.name, *words, timeout=300,
                                  statuses=(0, 1))

    def tally(self, events):
        """Counts of a log whose events carry {"i": 1..events} as payload, rising within a key; nothing of them is kept."""
        seen, highest, duplicates, reordered, phantom = set(), {}, 0, 0, 0
        for record in self.records():
            i = record.json["i"]
            if i in seen:
                duplicates += 1
                continue
            seen.add(i)
            phantom += not 1 <= i <= events
            reordered += i < highest.get(record.key, i)
            highest[record.key] = i
        return {"events": events, "lost": events - len(seen) + phantom, "phantom": phantom, "reordered": reordered,
                "duplicates": duplicates}
