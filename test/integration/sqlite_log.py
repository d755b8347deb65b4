"""An SQLite log for tests: the application is Python's own sqlite3 module, and a writer that is a program of its own."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from command import posthorn

INSERT = "INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('order', ?, 'placed', ?)"

# Commits transactions of one to three events until it is told to stop, says each committed id on stdout behind the
# commit, and rolls every fifth transaction back. Arguments: file, key, synchronous.
WRITER = """
import json, random, sqlite3, sys, time, uuid
path, key, synchronous = sys.argv[1:]
db = sqlite3.connect(path, isolation_level=None, timeout=60)
db.execute("PRAGMA synchronous = " + synchronous)
random.seed(key)
n = 0
while True:
    ids = [str(uuid.uuid4()) for _ in range(random.randint(1, 3))]
    db.execute("BEGIN IMMEDIATE")
    for i in ids:
        db.execute("INSERT INTO posthorn_outbox (event_id, aggregate_type, aggregate_id, event_type, payload)"
                   " VALUES (?, 'order', ?, 'placed', ?)", (i, key, json.dumps({"n": n})))
        n += 1
    if random.random() < 0.2:
        db.execute("ROLLBACK")
        continue
    print("try", *ids, flush=True)
    db.execute("COMMIT")
    print("done", flush=True)
    time.sleep(0.001)  # the others' turn: SQLite's own busy wait sleeps ever longer
"""


class SqliteLog:
    """A file with Posthorn's tables."""

    def __init__(self, folder, name="shop.db"):
        self.path = Path(folder) / name
        self.uri = f"sqlite:{self.path}"
        posthorn("init", self.uri)

    def connect(self):
        return sqlite3.connect(self.path, isolation_level=None, timeout=30)

    def one(self, sql, *params):
        db = self.connect()
        try:
            row = db.execute(sql, params).fetchone()
            return None if row is None else row[0]
        finally:
            db.close()

    def insert(self, count, key=None, payload=lambda i: {"i": i}):
        """Events in one transaction, of seven keys when none is named."""
        db = self.connect()
        db.execute("BEGIN IMMEDIATE")
        db.executemany(INSERT, ((key or f"o-{i % 7}", json.dumps(payload(i))) for i in range(count)))
        db.execute("COMMIT")
        db.close()

    def ids(self):
        db = self.connect()
        try:
            return [row[0] for row in db.execute("SELECT event_id FROM posthorn_outbox ORDER BY position")]
        finally:
            db.close()

    def wal_bytes(self):
        try:
            return os.path.getsize(f"{self.path}-wal")
        except FileNotFoundError:
            return 0


class Writer:
    """The program above. committed: the ids of its commits, told or found in the log."""

    def __init__(self, log, key, synchronous="normal"):
        self.output = log.path.with_name(f"writer-{key}.txt")
        with open(self.output, "wb") as out:
            self.child = subprocess.Popen([sys.executable, "-c", WRITER, str(log.path), key, synchronous], stdout=out)

    def kill9(self):
        self.child.kill()
        self.child.wait()

    def commits(self):
        return self.output.read_text().count("done\n")

    def committed(self):
        """Ids of commits that were confirmed, in order; the last one may have no answer and is left out."""
        ids, open_ids = [], []
        for line in self.output.read_text().splitlines():
            if line == "done":
                ids += open_ids
            open_ids = line.split()[1:]
        return ids


def lines(path):
    return [json.loads(line) for line in Path(path).read_bytes().split(b"\n") if line]


def first_deliveries(path):
    """The ids in a file of lines, each at the place of its first delivery, and how many came again."""
    seen, order, again = set(), [], 0
    for line in lines(path):
        if line["id"] in seen:
            again += 1
        else:
            seen.add(line["id"])
            order.append(line["id"])
    return order, again
