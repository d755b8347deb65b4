#!/usr/bin/python3
"""The figures of SQLite in docs/benchmarks.md: one JSON line each. Run by make bench-sqlite.

drain: 300,000 events of 200 bytes from SQLite to a file, against the sqlite3 command that writes the same rows to a
file, in turns. beside: commits per second of a writer at full speed, one event a commit, beside the relay and alone, in
turns. Figures are medians; the status is 1 when one does not reach what it must.
"""

import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
POSTHORN = Path(os.environ.get("POSTHORN") or ROOT / "build" / "src" / "cli" / "posthorn")
EVENTS = 300_000
SECONDS = 4
ROUNDS = 3
INSERT = "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('order', ?, 'OrderPlaced', ?)"
PAYLOAD = json.dumps({"order": 1, "note": "x" * 200})[:-2][:198] + '"}'  # 200 bytes

WRITER = """
import sqlite3, sys, time
path, synchronous, seconds, insert, payload = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None, timeout=60)
db.execute("PRAGMA synchronous = " + synchronous)
print("ready", flush=True)
sys.stdin.readline()
end, commits = time.monotonic() + float(seconds), 0
while time.monotonic() < end:
    db.execute(insert, ("o-%d" % (commits % 1000), payload))
    commits += 1
print(commits / float(seconds))
"""


def fresh(path):
    for end in ("", "-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    subprocess.run([POSTHORN, "init", f"sqlite:{path}"], check=True, stdout=subprocess.DEVNULL)


def fill(path, events):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.executemany(INSERT, ((f"o-{i % 1000}", PAYLOAD) for i in range(events)))
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(truncate)")
    db.close()


def seconds(*words, out=subprocess.DEVNULL):
    begun = time.monotonic()
    subprocess.run(words, check=True, stdout=out, stderr=subprocess.DEVNULL)
    return time.monotonic() - begun


def drain(folder):
    path, out = folder / "drain.db", folder / "drain.out"
    fresh(path)
    fill(path, EVENTS)
    shell, relay = [], []
    for i in range(ROUNDS):
        with open(out, "wb") as f:
            shell.append(EVENTS / seconds("sqlite3", path, "SELECT * FROM posthorn_outbox", out=f))
        out.unlink()
        relay.append(EVENTS / seconds(POSTHORN, "run", "--from", f"sqlite:{path}", "--to", f"file:{out}", "--once",
                                      "--name", f"round-{i}"))
        delivered = sum(1 for _ in open(out, "rb"))
        assert delivered == EVENTS, delivered
        out.unlink()
    return {"figure": "drain", "events": EVENTS, "sqlite3": round(statistics.median(shell)),
            "posthorn": round(statistics.median(relay)),
            "ratio": round(statistics.median(p / s for p, s in zip(relay, shell)), 2), "must": 0.5}


def write(path, synchronous):
    child = subprocess.Popen([sys.executable, "-c", WRITER, path, synchronous, str(SECONDS), INSERT, PAYLOAD],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    said, _ = child.communicate("go\n")
    assert child.returncode == 0
    return float(said)


def write_beside(folder, path, synchronous):
    out, log = folder / "beside.out", folder / "beside.log"
    with open(log, "wb") as err:
        relay = subprocess.Popen([POSTHORN, "run", "--from", f"sqlite:{path}", "--to", f"file:{out}"], stderr=err)
    try:
        while b"delivering from" not in log.read_bytes():
            assert relay.poll() is None, log.read_text()
            time.sleep(0.01)
        rate = write(path, synchronous)
        wait_delivered(path)
    finally:
        relay.terminate()
        relay.wait()
    out.unlink()
    return rate


def wait_delivered(path):
    """What was written was read: a relay that stood still would cost the writer nothing."""
    db, end = sqlite3.connect(path), time.monotonic() + 30
    behind = "SELECT (SELECT max(position) FROM posthorn_outbox) - (SELECT position FROM posthorn_checkpoint)"
    while db.execute(behind).fetchone() != (0,):
        assert time.monotonic() < end, "the relay does not follow"
        time.sleep(0.05)
    db.close()


def beside(folder, synchronous):
    path = folder / "beside.db"
    alone, with_relay = [], []
    for _ in range(ROUNDS):
        fresh(path)
        alone.append(write(path, synchronous))
        fresh(path)
        with_relay.append(write_beside(folder, path, synchronous))
    return {"figure": f"beside, synchronous={synchronous}", "alone": round(statistics.median(alone)),
            "beside": round(statistics.median(with_relay)),
            "ratio": round(statistics.median(b / a for a, b in zip(alone, with_relay)), 2), "must": 0.8}


def main():
    wanted = sys.argv[1:] or ["drain", "beside"]
    low = False
    with tempfile.TemporaryDirectory(prefix="posthorn-bench-") as name:
        folder = Path(name)
        runs = [lambda: drain(folder)] if "drain" in wanted else []
        runs += [lambda s=s: beside(folder, s) for s in ("normal", "full")] if "beside" in wanted else []
        for run in runs:
            figure = run()
            print(json.dumps(figure), flush=True)
            low = low or figure["ratio"] < figure["must"]
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
