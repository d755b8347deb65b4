#!/usr/bin/python3
"""make bench-peers: Posthorn, at-least-once and exactly-once, beside Debezium, on one machine, PostgreSQL and broker.

usage: bench/peers.py [--events 1000000] [--rounds 5] [--seconds 20] [--kill-events 500000] [--heap 512m] [--only NAME,..]

drain: a backlog of 200 byte events in transactions of 1,000, for Debezium WAL behind its slot, for Posthorn the outbox table. The
time runs from the first record in the topic to the last, so that nobody's start is in it.
latency: from a commit to a consumer, 200 events/s. kills: kill -9 three times during a drain, then all is counted by event
id with a read_committed consumer. In turns; the order changes from round to round; medians. One JSON line a measurement,
then a table. The first round of each measurement warms and is not counted. What each is tuned with: docs/benchmarks.md.
"""
import argparse
import statistics
import time

from bench import Live, Progress, Stage, fill, machine, peak_rss_kib, relay_command, say, until
from debezium import BACKLOG, HEAP, PUBLISH, TABLE, Debezium
from kills import kill_drain
from latency import measure_latency, measure_live

KILLS = 3


def first_to_last(count, events, running):
    """Events a second, from when the first record is in the topic."""
    first = None
    while (there := count()) < events:
        first = first or (there and time.monotonic())
        assert running(), f"it ended after {there} events"
        time.sleep(0.02)
    return events / (time.monotonic() - first)


class Posthorn:
    """A relay with one of its two guarantees. Each measurement is a pipeline of its own, so the backlog serves them all."""

    def __init__(self, stage, delivery):
        self.stage, self.delivery, self.runs, self.rss_mib, self.live = stage, f"delivery={delivery}", 0, 0, None

    def name(self):
        self.runs += 1
        return f"{self.delivery[9:]}-{self.runs}"

    def drain(self, events):
        topic = self.stage.topic()
        count = Progress(self.stage, topic)
        with Live(relay_command(self.stage, self.stage.uri("peers"), self.name(), topic, self.delivery)) as live:
            rate = first_to_last(count, events, lambda: live.child.poll() is None)
            self.rss_mib = max(self.rss_mib, peak_rss_kib(live.pid) / 1024)
        return rate

    def latency(self, seconds):
        return measure_latency(self.stage, "steady", self.stage.uri("steady"), 200, seconds, self.delivery)

    def prepare_kills(self, topic, events):
        self.command = relay_command(self.stage, self.stage.uri("kills"), self.name(), topic, self.delivery)

    def start(self):
        self.live = Live(self.command).start()
        return self.live

    def end(self):
        if self.live:
            self.live.stop()


class Peer:
    """Debezium: one warm worker for all measurements; its connector is stopped while a backlog is written and while others run."""

    def __init__(self, stage, args):
        self.stage, self.rss_mib = stage, 0
        stage.pg.sql("CREATE DATABASE debezium")
        stage.pg.sql(TABLE, database="debezium")
        self.worker = Debezium(stage.pg, "debezium", stage.kafka, args.heap).start()
        self.worker.stop_task()

    def fill(self, topic, events):
        self.stage.pg.sql("TRUNCATE outbox", database="debezium")
        with self.stage.pg.connect("debezium", autocommit=False) as conn:
            fill(conn, BACKLOG, events, topic=topic)
        self.stage.pg.sql("CHECKPOINT")

    def drain(self, events):
        topic = self.stage.topic()
        self.fill(topic, events)
        count = Progress(self.stage, topic)
        self.worker.resume_task()
        rate = first_to_last(count, events, self.worker.running)
        self.rss_mib = max(self.rss_mib, peak_rss_kib(self.worker.pid) / 1024)
        self.worker.stop_task()
        return rate

    def latency(self, seconds):
        self.worker.resume_task()
        until(self.worker.answers, 60, "the connector")
        got = measure_live(self.stage, "debezium", self.stage.topic(), 200, seconds, PUBLISH)
        self.worker.stop_task()
        return got

    def prepare_kills(self, topic, events):
        self.fill(topic, events)
        self.begin = self.worker.resume_task

    def start(self):
        self.begin()
        self.begin = self.worker.start
        return self.worker

    def end(self):
        self.worker.close()


def in_turns(what, peers, rounds, measure):
    """{name: [measurement]} without the first round, which warms."""
    results = {name: [] for name in peers}
    for i in range(rounds + 1):
        for name in list(peers) if i % 2 else reversed(list(peers)):
            got = measure(peers[name])
            say(bench="peers", what=what, peer=name, round=i, **got)
            if i > 0:
                results[name].append(got)
    return results


def middle(results, name, field):
    return statistics.median(got[field] for got in results[name])


def table(peers, drains, waits, kills):
    print(f"\n| | drain, events/s | p50, ms | p99, ms | peak RSS, MiB | duplicates after {KILLS} kill -9 | lost |\n|---|---|---|---|---|---|---|")
    for name, peer in peers.items():
        print(f"| {name} | {middle(drains, name, 'rate'):,.0f} | {middle(waits, name, 'p50_ms'):.1f} | {middle(waits, name, 'p99_ms'):.1f} "
              f"| {peer.rss_mib:.0f} | {kills[name]['duplicates']:,} | {kills[name]['lost']:,} |")
    theirs = peers.get("debezium")
    for name, peer in peers.items():
        if theirs and peer is not theirs:
            ratio = statistics.median(a["rate"] / b["rate"] for a, b in zip(drains[name], drains["debezium"]))
            print(f"{name} / debezium: drain {ratio:.2f} (must reach 4), memory 1/{theirs.rss_mib / peer.rss_mib:.1f} (must reach 1/5)")


def prepare(stage, args):
    """The backlogs first: the slot of Debezium, made later, need not read past them."""
    for name, events in (("peers", args.events), ("kills", args.kill_events), ("steady", 0)):
        stage.database(name)
        stage.fill(name, events)
    makers = {"at-least-once": lambda: Posthorn(stage, "at-least-once"),
              "exactly-once": lambda: Posthorn(stage, "exactly-once"), "debezium": lambda: Peer(stage, args)}
    return {name: make() for name, make in makers.items() if name in args.only.split(",")}


def measure_all(stage, args):
    peers = prepare(stage, args)
    try:
        drains = in_turns("drain", peers, args.rounds, lambda p: {"rate": round(p.drain(args.events)), "rss_mib": round(p.rss_mib, 1)})
        waits = in_turns("latency", peers, args.rounds, lambda p: p.latency(args.seconds))
        kills = {}
        for name, peer in peers.items():
            topic = stage.topic()
            peer.prepare_kills(topic, args.kill_events)
            kills[name] = kill_drain(stage, topic, peer.start, args.kill_events, KILLS)
            peer.end()
            say(bench="peers", what="kills", peer=name, **kills[name])
        table(peers, drains, waits, kills)
    finally:
        for peer in peers.values():
            peer.end()


def main():
    parser = argparse.ArgumentParser(description="Posthorn beside Debezium, on one machine")
    parser.add_argument("--events", type=int, default=1_000_000, help="in a backlog")
    parser.add_argument("--rounds", type=int, default=5, help="counted ones; one more warms")
    parser.add_argument("--seconds", type=int, default=20, help="of one latency measurement")
    parser.add_argument("--kill-events", type=int, default=500_000, help="in the backlog that is drained under kill -9")
    parser.add_argument("--heap", default=HEAP, help="of Debezium's worker")
    parser.add_argument("--only", default="at-least-once,exactly-once,debezium")
    args = parser.parse_args()
    machine()
    with Stage(options={"wal_level": "logical"}) as stage:
        measure_all(stage, args)


if __name__ == "__main__":
    main()
