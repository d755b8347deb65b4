"""What it costs when something ends or is very large: recovery after kill -9, a backlog behind a dead broker, transactions of a million
rows and of 500 MB. Figures of bench/run.py, which see for the amounts.
"""
import os
import random
import signal
import threading
import time

from bench import Live, Progress, peak_rss_kib, percentile, relay, relay_command, say, until
from kills import kill_drain
from latency import Arrivals, write

KILLS = int(os.environ.get("BENCH_KILLS", 100))
BACKLOG = int(os.environ.get("BENCH_BACKLOG", 2_000_000))
DOWN_S = int(os.environ.get("BENCH_DOWN_S", 60))
LARGE_ROWS = int(os.environ.get("BENCH_LARGE_ROWS", 1_000_000))
LARGE_MB = int(os.environ.get("BENCH_LARGE_MB", 500))
LARGE_KILLS = int(os.environ.get("BENCH_LARGE_KILLS", 20))
LEASE_S = 1
QUICK = f"lease={LEASE_S}s"


class Steady(threading.Thread):
    """A writer of so many events a second while a block runs."""

    def __init__(self, stage, database, rate):
        super().__init__(daemon=True)
        self.stage, self.database, self.rate, self.over = stage, database, rate, threading.Event()

    def run(self):
        while not self.over.is_set():
            write(self.stage, self.database, self.rate, 1)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(30)


class Pair:
    """Relays of one pipeline: the owner and, where count is 2, one that stands by."""

    def __init__(self, stage, database, topic, count):
        self.stage, self.database, self.count, self.starts = stage, database, count, 0
        self.command = relay_command(stage, stage.uri(database), database, topic, "start=latest", QUICK)
        self.relays = [self.new() for _ in range(count)]

    def new(self):
        self.starts += 1
        return Live(self.command, self.stage.kafka.folder / f"{self.database}-{self.starts}.log").start()

    def owner(self):
        """The relay that holds the lease; None while none does."""
        rows = self.stage.pg.sql("SELECT split_part(owner, ':', -2)::int FROM posthorn.lease WHERE expires_at > clock_timestamp()",
                                 database=self.database)
        return next((r for r in self.relays if [(r.pid,)] == rows), None)

    def ready(self):
        others = [r for r in self.relays if r is not self.owner()]
        return len(others) == self.count - 1 and all(b"standing by" in r.log.read_bytes() for r in others)

    def kill_owner(self):
        """kill -9 to the owner; the time of it. A new relay comes at once."""
        dead = until(self.owner, 30, "an owner")
        at = time.monotonic()
        dead.kill9()
        self.relays = [r for r in self.relays if r is not dead] + [self.new()]
        return at

    def stop(self):
        for relay_of_two in self.relays:
            relay_of_two.stop()


def recover(stage, pair, arrivals):
    """Seconds from kill -9 to the arrival of an event that was committed behind it."""
    until(pair.ready, 30, "owner and stand-by")
    time.sleep(random.random() * LEASE_S)  # the moment of the kill is the random variable
    at = pair.kill_owner()
    (mark,) = write(stage, pair.database, 1, 1)
    until(lambda: mark in arrivals.times, 60, "an event from behind the kill")
    return arrivals.times[mark] - at


def bench_recovery(stage):
    """How long after kill -9 of the owner a new event arrives, less the lease: taken over by a stand-by, and by a restart alone."""
    for what, count in (("stand-by", 2), ("restart", 1)):
        database, topic = f"recovery{count}", stage.topic()
        stage.database(database)
        with Arrivals(stage, topic) as arrivals, Steady(stage, database, 200):
            pair = Pair(stage, database, topic, count)
            until(lambda: arrivals.times, 60, "a first event")
            beyond = [recover(stage, pair, arrivals) - LEASE_S for _ in range(KILLS)]
            pair.stop()
        say(bench="recovery", by=what, kills=KILLS, lease_s=LEASE_S,
            **{f"p{p}_s": round(percentile(beyond, p / 100), 2) for p in (50, 99)}, max_s=round(max(beyond), 2))


def bench_backlog(stage):
    """Events that come while the broker is dead: peak RSS then, and while they drain; the drain's rate against the usual."""
    uri, topic = stage.database("backlog"), stage.topic()
    count = Progress(stage, topic)
    with Live(relay_command(stage, uri, "backlog", topic)) as live:
        write(stage, "backlog", 20, 1)
        until(lambda: count() >= 20, 30, "the first events")
        before = count() + 100  # a transaction that was cut off may leave its marks
        stage.kafka.kill9()
        stage.fill("backlog", BACKLOG)
        time.sleep(DOWN_S)  # how long the broker stays away beside the time of the writing
        down_mib = peak_rss_kib(live.pid) / 1024
        stage.kafka.start()
        back, count = time.monotonic(), Progress(stage, topic)  # a new one: the old one's client pauses before it connects
        first = until(lambda: count() > before and time.monotonic(), 120, "the first event after the broker is back")
        until(lambda: count() >= BACKLOG + before - 100, 1200, "the drain's end")
        rate, drain_mib = BACKLOG / (time.monotonic() - first), peak_rss_kib(live.pid) / 1024
    usual = [relay(stage, uri, f"usual{i}")["rate"] for i in range(3)][1:]
    say(bench="backlog", events=BACKLOG, down_s=DOWN_S, rss_down_mib=round(down_mib, 1), rss_drain_mib=round(drain_mib, 1),
        resumed_after_s=round(first - back, 1), rate=round(rate), usual=round(max(usual)), ratio=round(rate / max(usual), 2))


LARGE = """INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload)
           SELECT 'Order', 'order-' || (i::bigint * 7919 %% 10000), 'OrderPlaced', jsonb_build_object('orderId', i, 'note', repeat('x', %s))
             FROM generate_series(1, %s) i"""


def bench_large(stage):
    """One transaction, and one of half of it: peak RSS of each drain. Then kill -9 inside the large one again and again."""
    for what, rows, size in (("rows", LARGE_ROWS, 160), ("bytes", LARGE_MB * 10, 100_000)):
        peak = {}
        for part, count in (("half", rows // 2), ("whole", rows)):
            uri = stage.database(f"{what}_{part}")
            with stage.pg.connect(f"{what}_{part}") as conn:
                conn.execute(LARGE, [size, count])
            done = relay(stage, uri, f"{what}_{part}")
            assert done["events"] == count, done
            peak[part] = done["rss_mib"]
        topic = stage.topic()
        lives = []

        def start():
            lives.append(Live(relay_command(stage, uri, f"{what}_killed", topic, "lease=500ms")).start())
            return lives[-1]
        killed = kill_drain(stage, topic, start, rows, LARGE_KILLS)
        lives[-1].stop()
        say(bench="large", of=what, rows=rows, mb=round(rows * (size + 40) / 1e6), rss_half_mib=round(peak["half"], 1),
            rss_mib=round(peak["whole"], 1), ratio=round(peak["whole"] / peak["half"], 2), **killed)
