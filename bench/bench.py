"""What the benchmarks share: servers, a backlog, one run of the floor and one of the relay, medians."""
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test" / "integration"))

from kafka_server import Kafka  # noqa: E402
from postgres_server import Postgres  # noqa: E402
from proc import spawn, until  # noqa: E402

BUILD = Path(os.environ.get("POSTHORN_BUILD", ROOT / "build"))
POSTHORN = str(BUILD / "src/cli/posthorn")
FLOOR = str(BUILD / "bench/floor")
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "max_connections": 620,
            "autovacuum_naptime": "1h"}
BACKLOG = """INSERT INTO posthorn.outbox (bucket, aggregate_type, aggregate_id, event_type, payload)
             OVERRIDING USER VALUE
             SELECT %(bucket)s::smallint, 'Order', 'order-' || (i::bigint * 7919 %% 10000), 'OrderPlaced',
                    jsonb_build_object('orderId', i, 'note', repeat('x', 160))
               FROM generate_series(%(first)s::int, %(last)s::int) i"""
CHUNK = 1000  # events in a transaction


def say(**line):
    print(json.dumps(line), flush=True)


def run(*args, limit=1200):
    done = subprocess.run(args, capture_output=True, text=True, timeout=limit)
    if done.returncode != 0:
        raise RuntimeError(f"{args[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done


class Stage:
    """PostgreSQL and Kafka with a database that holds the schema. sets are what each relay is told besides (key=value)."""

    def __init__(self, sets=(), options=None):
        self.sets = list(sets)
        self.pg = Postgres(15, options=SETTINGS | (options or {}))
        self.kafka = Kafka()
        self.topics = 0

    def __enter__(self):
        self.pg.start()
        self.kafka.start()
        return self

    def __exit__(self, *_):
        self.kafka.close()
        self.pg.close()

    def database(self, name):
        self.pg.sql(f'CREATE DATABASE "{name}"')
        run(POSTHORN, "init", self.uri(name))
        return self.uri(name)

    def uri(self, name):
        return self.pg.socket_dsn(name)

    def topic(self):
        self.topics += 1
        return self.kafka.create_topic(f"bench-{self.topics}", partitions=4)

    def fill(self, name, events, bucket=None, transaction=CHUNK):
        """Events in transactions of `transaction`, in one bucket of the ring (default: today's)."""
        with self.pg.connect(name, autocommit=False) as conn:
            if bucket is None:
                bucket = conn.execute("SELECT (extract(epoch FROM now())::bigint / 86400) % 10").fetchone()[0]
            fill(conn, BACKLOG, events, transaction, bucket=bucket)
        self.pg.sql("VACUUM ANALYZE posthorn.outbox", database=name)


def fill(conn, statement, events, transaction=CHUNK, **values):
    """Runs a statement that inserts the events %(first)s to %(last)s, in transactions of `transaction`."""
    for first in range(1, events + 1, transaction):
        conn.execute(statement, values | {"first": first, "last": min(first + transaction - 1, events)})
        conn.commit()


def floor(stage, uri, after=0):
    """Events a second of bench/floor."""
    words = run(FLOOR, uri, stage.kafka.bootstrap, stage.topic(), str(after)).stdout.split()
    return int(words[1]), int(words[1]) / float(words[3])


def relay_command(stage, uri, name, topic, *sets):
    words = [POSTHORN, "run", "--from", uri, "--to", stage.kafka.uri, "--name", name, "--set", f"route.topic={topic}"]
    for one in [*stage.sets, *sets]:
        words += ["--set", one]
    return words


def peak_rss_kib(pid):
    """VmHWM; not ru_maxrss, which begins with the peak of the process that made the child."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def relay(stage, uri, name, *sets, status=0):
    """One drain by `posthorn run --once`: events, events a second, peak RSS in MiB, CPU seconds."""
    command = relay_command(stage, uri, name, stage.topic(), *sets) + ["--once"]
    begun = time.monotonic()
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    peak_kib, before = 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    while child.poll() is None:
        peak_kib = max(peak_kib, peak_rss_kib(child.pid))
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    after, text = resource.getrusage(resource.RUSAGE_CHILDREN), child.stderr.read()
    if child.returncode != status:
        raise RuntimeError(f"posthorn ended with {child.returncode}: {text[-2000:]}")
    events = int(re.findall(r"(\d+) events sent", text)[-1])
    return {"events": events, "rate": events / seconds, "rss_mib": peak_kib / 1024,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def median(values):
    return statistics.median(values)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Live:
    """A relay that runs while a block runs, or between start() and stop()."""

    def __init__(self, command, log=None):
        self.command, self.log = command, log

    def start(self):
        self.child = spawn(self.command, log=self.log)
        return self

    __enter__ = start

    @property
    def pid(self):
        return self.child.pid

    def cpu_s(self):
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill9(self):
        self.child.kill()
        self.child.wait(30)

    def stop(self):
        self.child.terminate()
        self.child.wait(30)

    def __exit__(self, *_):
        self.stop()


class Progress:
    """How many offsets a topic holds, asked cheaply: with transactions a few more than records."""

    def __init__(self, stage, topic):
        self.kafka, self.topic, self.consumer = stage.kafka, topic, stage.kafka.consumer()

    def __call__(self):
        ends = self.kafka.end_offsets(self.consumer, [self.topic])
        return sum(high - low for low, high in ends.values())


def machine():
    """The first line of a run: where it ran, and of what."""
    say(machine=subprocess.run(["uname", "-mr"], capture_output=True, text=True).stdout.strip(), cores=os.cpu_count(),
        load=os.getloadavg()[0], version=run(POSTHORN, "--version").stdout.split("\n"))


__all__ = ["CHUNK", "POSTHORN", "ROOT", "Live", "Progress", "Stage", "fill", "floor", "machine", "median", "peak_rss_kib", "percentile", "relay",
           "relay_command", "run", "say", "spawn", "until"]
