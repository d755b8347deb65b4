#!/usr/bin/python3
"""make soak: half an hour at 2,000 events/s while faults go on at a low rate: does the relay stay as it was, and lose nothing?

usage: bench/soak.py [--minutes 30] [--rate 2000] [--every 30] [--delivery exactly-once]

Two instances share a pipeline of two shards, PostgreSQL and the broker behind proxies. Every 30 s comes one of, in turn: kill -9 of the second
instance and its restart (row 1 of the matrix), a connection cut at a random byte (row 6), a delay of 1 ms to 1 s for two seconds (row 7).
Before that the first instance works off a backlog alone, so that its memory is what a backlog needs; it is never killed, takes over and
gives back. Its memory and descriptors are sampled every second, and 20 probes a second
tell the time from commit to consumer. calm: those that were committed more than 12 s behind a fault. Flat: in the last third
no more than in the first, plus the MARGIN. In the end a ledger that was kept outside knows what is lost, phantom, reordered or duplicated.
"""
import argparse
import collections
import gc
import json
import math
import os
import random
import signal
import statistics
import sys
import threading
import time
from pathlib import Path

from bench import ROOT, machine, percentile, say, spawn, until

sys.path.insert(0, str(ROOT / "test" / "fault"))

from kafka_server import read_to  # noqa: E402
from latency import Arrivals, write  # noqa: E402
from ledger import Attempt, Ledger, Writers, check, delivered_kafka  # noqa: E402
from posthorn import Posthorn  # noqa: E402
from proc import within  # noqa: E402
from proxy import DOWN, UP  # noqa: E402
from run import Site  # noqa: E402

PROBES = 20  # a second
CALM_S = 12
MOST, EVENTS_EACH = 10, 5.7  # of a writers' transaction, on average less what is rolled back
BACKLOG_S = 15  # of events behind which the soak begins
MARGIN = {"rss_mib": (1.10, 4), "descriptors": (1.0, 3), "calm_p50_ms": (1.5, 5), "calm_p99_ms": (2.0, 25)}  # factor, addend
SETTINGS = {"shards": 2, "lease": "1s", "backoff_max": "500ms", "sink.kafka.reconnect.backoff.max.ms": 200}
PROBE = "SELECT posthorn.publish('Probe', %(key)s, 'Probed', '{\"n\": 1}', '{}', %(id)s)"


class FileLedger(Ledger):
    """Keeps its attempts in the file alone."""

    def append(self, attempts):
        with self.lock:
            self.file.writelines(json.dumps(vars(attempt)) + "\n" for attempt in attempts)


def write_ledger(uri, rate, path):
    """The writers' process: until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    with Writers(uri, count=16, keys=1000, rate=rate / EVENTS_EACH, ledger=FileLedger(path), several=1.0, most=MOST, rollback=0.05, savepoint=0.05,
                 raw=0.9, strict=0.05, pause_seconds=0.01):
        over.wait()


class Soak:
    """Servers, two instances, writers, probes, and what was seen of them."""

    def __init__(self, args, site, posthorn, db):
        self.args, self.site, self.posthorn, self.db = args, site, posthorn, db
        self.pg, self.kafka, self.rng = site.pg, site.broker, random.Random(args.seed)
        self.topic = site.broker.create_topic("soak", partitions=4)
        self.ledger = posthorn.folder / "ledger.ndjson"
        self.first, self.second = self.instance(), self.instance()
        self.faults, self.hits, self.fault_times = collections.Counter(), collections.Counter(), []
        self.samples, self.probes, self.over = [], {}, threading.Event()

    def instance(self):
        source = self.db.dsn().replace(f":{self.pg.port}/", f":{self.site.pg_proxy.port}/")
        settings = {**SETTINGS, "delivery": self.args.delivery, "route.topic": self.topic}
        return self.posthorn.start_relay(source, self.kafka.proxied_uri, name="soak", settings=settings)

    # -- what goes on meanwhile --

    def sample(self):
        """Every second: memory and descriptors of the first instance."""
        while not self.over.wait(1):
            descriptors = len(os.listdir(f"/proc/{self.first.pid}/fd"))
            self.samples.append((time.monotonic(), self.first.rss_kib() / 1024, descriptors))

    def probe(self):
        while not self.over.is_set():
            self.probes.update(write(self, self.db.name, PROBES, 1, PROBE))

    # -- faults: each returns whether it met a relay at work --

    def kill(self):
        owners = self.db.sql("SELECT split_part(owner, ':', -2)::int FROM posthorn.lease WHERE expires_at > clock_timestamp()")
        owned = (self.second.pid,) in owners
        self.second.kill9()
        self.second = self.instance()
        return owned

    def cut(self):
        proxy, direction = self.rng.choice(self.site.proxies), self.rng.choice([UP, DOWN])
        before = proxy.counts["cuts"]
        proxy.cut(direction, self.rng.randrange(1, 5000), reset=self.rng.random() < 0.5)
        time.sleep(2)  # how long it may wait for its byte
        self.site.heal()
        return proxy.counts["cuts"] > before

    def delay(self):
        proxy = self.rng.choice(self.site.proxies)
        before = proxy.counts["delayed"]
        proxy.delay(math.exp(self.rng.uniform(math.log(0.001), 0)))
        time.sleep(2)  # how long it lasts
        self.site.heal()
        return proxy.counts["delayed"] > before

    def trouble(self, end):
        """The faults in turn, until the end."""
        while time.monotonic() + self.args.every < end:
            time.sleep(self.args.every)  # the low rate
            kind = ("kill", "cut", "delay")[sum(self.faults.values()) % 3]
            self.fault_times.append(time.monotonic())
            self.faults[kind] += 1
            self.hits[kind] += getattr(self, kind)()
            assert self.first.running() and self.second.running(), self.posthorn.logs()
            say(bench="soak", minute=round((time.monotonic() - self.begun) / 60, 1), fault=kind, delivered=self.arrivals.records,
                rss_mib=round(self.samples[-1][1], 1), descriptors=self.samples[-1][2])
        time.sleep(max(0, end - time.monotonic()))

    def live(self):
        """The whole time, from the first delivery on; then everything is brought to its end."""
        with Arrivals(self, self.topic, key=b"order-") as self.arrivals:
            writers = spawn([sys.executable, __file__, "--write", self.db.dsn(), str(self.args.rate), self.ledger],
                            log=self.posthorn.folder / "writers.log")
            until(lambda: self.arrivals.records > self.args.rate, 60, "the first events")
            self.warm()
            threads = [threading.Thread(target=each, daemon=True) for each in (self.sample, self.probe)]
            for thread in threads:
                thread.start()
            self.begun = time.monotonic()
            self.trouble(self.begun + self.args.minutes * 60)
            self.over.set()
            for thread in threads:
                thread.join(60)
            self.ended = time.monotonic()
            writers.terminate()
            assert writers.wait(120) == 0, (self.posthorn.folder / "writers.log").read_text()[-2000:]
            until(self.drained, 120, "no lag on any shard")
            within(30, lambda: self.probes.keys() <= self.arrivals.times.keys())
        assert self.first.stop() == 0 and self.second.stop() == 0, self.posthorn.logs()

    def warm(self):
        """The first instance alone works off a backlog: what memory that needs it has from here on, and keeps."""
        self.second.kill9()
        self.first.pause()
        until(lambda: self.lag() > BACKLOG_S * self.args.rate, 60, "a backlog")
        self.first.resume()
        until(lambda: self.lag() < self.args.rate, 60, "the end of the backlog")
        self.second = self.instance()

    def lag(self):
        return sum(row["lagEvents"] for row in self.posthorn.json("status", self.db.dsn())["pipelines"])

    def drained(self):
        return self.lag() == 0

    # -- what it comes to --

    def third(self, number):
        """The levels in one third of the time: medians of memory and descriptors, percentiles of the probes."""
        length = (self.ended - self.begun) / 3
        low = self.begun + number * length
        samples = [s for s in self.samples if low <= s[0] < low + length]
        waits = {at: (self.arrivals.times[event] - at) * 1000 for event, at in self.probes.items()
                 if low <= at < low + length and event in self.arrivals.times}
        calm = [wait for at, wait in waits.items() if self.calm(at)]
        return {"rss_mib": round(statistics.median(s[1] for s in samples), 1), "rss_max_mib": round(max(s[1] for s in samples), 1),
                "descriptors": statistics.median(s[2] for s in samples), "descriptors_max": max(s[2] for s in samples),
                "calm_p50_ms": round(percentile(calm, 0.5), 1), "calm_p99_ms": round(percentile(calm, 0.99), 1),
                "p99_ms": round(percentile(waits.values(), 0.99), 1)}

    def calm(self, at):
        return all(not 0 <= at - fault < CALM_S for fault in self.fault_times)

    def compare(self):
        """The ledger against the topic, read from its beginning as a consumer reads it."""
        gc.disable()  # millions of small objects, none in a cycle
        ledger = Ledger()
        with open(self.ledger, encoding="utf-8") as lines:
            ledger.append(Attempt(**json.loads(line)) for line in lines)
        consumer = self.kafka.consumer(**{"isolation.level": "read_committed"})
        records = read_to(consumer, self.kafka.end_offsets(consumer, [self.topic]), time.monotonic() + 1800)
        result = check(ledger, delivered_kafka(records))
        consumer.close()
        return result

    def report(self):
        """Says all, and returns what is wrong."""
        thirds = [self.third(number) for number in range(3)]
        for number, third in enumerate(thirds):
            say(bench="soak", third=number + 1, **third)
        result, missing = self.compare(), sum(event not in self.arrivals.times for event in self.probes)
        say(bench="soak", delivery=self.args.delivery, minutes=self.args.minutes, rate=round(result.ok / (self.ended - self.begun)),
            faults=dict(self.faults), hits=dict(self.hits), events=result.ok, lost=len(result.lost) + missing,
            phantom=len(result.phantom), reordered=len(result.reordered), duplicates=len(result.duplicated))
        return wrong(self, thirds, result, missing)


def wrong(soak, thirds, result, missing):
    """In words, one a fault of the run."""
    first, last = thirds[0], thirds[-1]
    found = [f"not flat: {name} {first[name]} -> {last[name]}" for name, (factor, addend) in MARGIN.items()
             if last[name] > first[name] * factor + addend]
    if not result.clean or missing:
        found.append(f"{result}; {missing} probes lost")
    if soak.args.delivery == "exactly-once" and result.duplicated:
        found.append(f"{len(result.duplicated)} duplicates under exactly-once")
    if sum(soak.hits.values()) * 2 < sum(soak.faults.values()):
        found.append(f"void: of {dict(soak.faults)} faults only {dict(soak.hits)} hit")
    if result.ok < 0.8 * soak.args.rate * (soak.ended - soak.begun):
        found.append(f"void: only {result.ok} events were committed")
    return found


def main():
    parser = argparse.ArgumentParser(description="half an hour of events and faults")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=int, default=2000, help="events a second")
    parser.add_argument("--every", type=float, default=30, help="seconds from fault to fault")
    parser.add_argument("--delivery", choices=["at-least-once", "exactly-once"], default="exactly-once")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    if args.every <= CALM_S:
        parser.error(f"--every must be more than {CALM_S}, or no time is calm")
    machine()
    say(bench="soak", seed=args.seed)
    with Site(proxied=True) as site, Posthorn() as posthorn, site.pg.fresh_database() as db:
        posthorn.init(db.dsn())
        soak = Soak(args, site, posthorn, db)
        soak.live()
        found = soak.report()
    for each in found:
        print(f"soak: {each}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        write_ledger(sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
        sys.exit(0)
    sys.exit(main())
