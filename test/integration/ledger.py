"""What was committed, known outside the system, and its comparison with what was delivered.

    with Writers(db.dsn(), count=8, path=tmp_path / "ledger.ndjson") as writers:
        writers.wait_ok(5000)
        ...                                     # kill something
    result = check(writers.ledger, delivered_ndjson(tmp_path / "out.ndjson"))
    assert result.clean, result

Every event carries {"key", "n", "ledger"} as its payload. n is that key's count, drawn under the row lock
of ledger_key in the transaction that publishes, so committed events of one key have rising n in the order
of their commits. An outcome is unknown only where the connection was lost at COMMIT; a prepared
transaction is looked up and ended after the reconnect, so what became of it is known.
"""

import collections
import contextlib
import json
import os
import random
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psycopg

from proc import until

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@dataclass(frozen=True)
class Attempt:
    """One event that a writer tried to commit. committed_at is the wall clock behind the COMMIT's answer;
    None where it came to nothing, or became known later."""

    event_id: str
    key: str
    n: int
    outcome: str
    committed_at: float | None = None


class Ledger:
    """An append-only list of attempts, and the same in a file where path is given. Thread-safe."""

    def __init__(self, path=None):
        self.attempts = []
        self.counts = collections.Counter()
        self.lock = threading.Lock()
        self.file = open(path, "a", encoding="utf-8", buffering=1) if path else None

    def append(self, attempts):
        with self.lock:
            for attempt in attempts:
                self.attempts.append(attempt)
                self.counts[attempt.outcome] += 1
                if self.file:
                    self.file.write(json.dumps(vars(attempt)) + "\n")

    def __iter__(self):
        with self.lock:
            return iter(list(self.attempts))

    def __len__(self):
        return len(self.attempts)

    def ids(self, outcome=OK):
        return {a.event_id for a in self if a.outcome == outcome}

    def close(self):
        if self.file:
            self.file.close()
            self.file = None

    @classmethod
    def load(cls, path):
        """The ledger that another process wrote."""
        ledger = cls()
        ledger.append(Attempt(**line) for line in read_ndjson(path))
        return ledger


# -- comparison -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The four faults, each as a list of what is at fault; the rest are counts."""

    lost: list
    phantom: list
    duplicated: list
    reordered: list
    ok: int
    failed: int
    unknown: int
    delivered: int

    @property
    def clean(self):
        """Nothing lost, no phantom, nothing out of order; duplicates are the caller's to judge."""
        return not (self.lost or self.phantom or self.reordered)

    def __str__(self):
        faults = ", ".join(f"{name} {len(getattr(self, name))}"
                           for name in ("lost", "phantom", "duplicated", "reordered"))
        counts = ", ".join(f"{name} {getattr(self, name)}" for name in ("ok", "failed", "unknown", "delivered"))
        first = [f"\n  {name}: {getattr(self, name)[:5]}" for name in ("lost", "phantom", "reordered")
                 if getattr(self, name)]
        return f"{faults} ({counts})" + "".join(first)


def check(ledger, delivered):
    """Compares with delivered, a sequence of (event_id, key, n) in the sink's order.

    lost: ok and absent. phantom: failed and present, never written, or with another key or n than was
    written. duplicated: one entry for each delivery behind an id's first. reordered: (event_id, key, n,
    the higher n that came before), among first deliveries. An unknown event may be present or absent."""
    written = {str(a.event_id): a for a in ledger}
    seen, highest = set(), {}
    phantom, duplicated, reordered = [], [], []
    for event_id, key, n in delivered:
        event_id = str(event_id)
        if event_id in seen:
            duplicated.append(event_id)
            continue
        seen.add(event_id)
        attempt = written.get(event_id)
        if attempt is None or attempt.outcome == FAILED or (attempt.key, attempt.n) != (key, n):
            phantom.append(event_id)
        if n <= highest.get(key, n - 1):
            reordered.append((event_id, key, n, highest[key]))
        highest[key] = max(n, highest.get(key, n))
    count = collections.Counter(a.outcome for a in written.values())
    lost = [i for i, a in written.items() if a.outcome == OK and i not in seen]
    return Result(lost, phantom, duplicated, reordered, count[OK], count[FAILED], count[UNKNOWN],
                  len(seen) + len(duplicated))


# -- what was delivered ---------------------------------------------------------------------------


def read_ndjson(path):
    """The objects of a file of the sink `file`, rotated ones first (PATH.1, PATH.2, ..); a last line
    without its newline is not there yet."""
    path = Path(path)
    old = [p for p in path.parent.glob(path.name + ".*") if p.suffix[1:].isdigit()]
    found = []
    for part in [*sorted(old, key=lambda p: int(p.suffix[1:])), path]:
        with open(part, "rb") as lines:
            found += [json.loads(line) for line in lines if line.endswith(b"\n")]
    return found


def delivered_ndjson(path, name=None):
    """(event_id, key, n) of the events that Writers made, those of one ledger where a name is given."""
    return [(r["id"], *place) for r in read_ndjson(path) if (place := place_of(r["payload"], name))]


def delivered_kafka(records, name=None):
    """The same from records of a topic: their header id and their value (envelope none)."""
    return [(id_of(r), *place) for r in records if (place := place_of(json_of(r.value), name))]


def json_of(value):
    """A record's value; None of one that is no JSON, which no writer made."""
    try:
        return json.loads(value or b"null")
    except ValueError:
        return None


def id_of(record):
    return next(value.decode() for key, value in record.headers if key == "id")


def place_of(payload, name=None):
    """(key, n) of a writer's payload; None of any other."""
    if not isinstance(payload, dict) or "ledger" not in payload or name not in (None, payload["ledger"]):
        return None
    return payload["key"], payload["n"]


# -- writers --------------------------------------------------------------------------------------

TABLE = "CREATE TABLE IF NOT EXISTS ledger_key (key text PRIMARY KEY, n bigint NOT NULL)"
NUMBER = """INSERT INTO ledger_key AS k (key, n) VALUES (%s, 1)
            ON CONFLICT (key) DO UPDATE SET n = k.n + 1 RETURNING n"""
RAW = """INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, payload)
         VALUES (%(id)s, %(type)s, %(key)s, 'ledger', %(payload)s)"""
PUBLISH = """SELECT posthorn.publish(%(type)s, %(key)s, 'ledger', %(payload)s, event_id => %(id)s,
                                     strict => %(strict)s)"""
DRAW = "SELECT nextval(pg_get_serial_sequence('posthorn.outbox', 'position'))"
PLACED = """INSERT INTO posthorn.outbox (position, event_id, aggregate_type, aggregate_id, event_type, payload)
            OVERRIDING SYSTEM VALUE VALUES (%(position)s, %(id)s, %(type)s, %(key)s, 'ledger', %(payload)s)"""
RECONNECT_SECONDS = 0.05
SETTLE_SECONDS = 20


@dataclass
class Mix:
    """How often (0 to 1) a transaction of Writers does what.

    early_xid: draws its transaction id and pauses before it locks a key. early_position (as the owner
    of the tables only): draws an event's position and pauses before it inserts the event, the key being
    locked already, since else nothing could keep the key's order. rollback: rolls all back. savepoint:
    rolls a part back. prepared: commits in two phases, with a pause between (max_prepared_transactions
    must allow one a writer). several: has 2 to most events. hot: an event is of the first key. strict and raw: how an event is published, by
    publish(strict => true) and by a plain INSERT, else by publish(). pause_seconds: a pause's maximum."""

    early_xid: float = 0.2
    early_position: float = 0.0
    rollback: float = 0.1
    savepoint: float = 0.15
    prepared: float = 0.0
    several: float = 0.3
    most: int = 5
    hot: float = 0.0
    strict: float = 0.2
    raw: float = 0.4
    pause_seconds: float = 0.02


class Writers:
    """Threads that commit events until stop(); they reconnect when the server dies. uri may be set anew
    meanwhile (to a promoted standby's). rate: transactions a second of all together; None: no limit."""

    def __init__(self, uri, count=8, keys=100, name="ledger", path=None, ledger=None, rate=None, seed=None,
                 mix=None, aggregate_type="ledger", **shares):
        self.uri, self.name, self.aggregate_type = uri, name, aggregate_type
        self.ledger = ledger if ledger is not None else Ledger(path)
        self.mix = mix or Mix(**shares)
        self.keys = [f"{name}-{i}" for i in range(keys)]
        self.interval = count / rate if rate else 0
        self.stopping = threading.Event()
        self.problems = []
        self.failures = collections.Counter()
        seed = random.randrange(1 << 32) if seed is None else seed
        self.seed = seed
        self.writers = [Writer(self, random.Random(f"{seed}/{i}")) for i in range(count)]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop(raising=exc[0] is None)

    def start(self):
        with psycopg.connect(self.uri, autocommit=True, connect_timeout=10) as conn:
            conn.execute(TABLE)
        for writer in self.writers:
            writer.thread.start()
        return self

    def wait_ok(self, events, timeout=60):
        """Waits until that many events are committed."""
        def enough():
            assert not self.problems, self.problems
            return self.ledger.counts[OK] >= events
        until(enough, timeout, f"{events} committed events, of {self.ledger.counts}, {self.failures}")

    def stop(self, timeout=30, raising=True):
        """Ends all writers and returns the ledger. One that hangs loses its connection: unknown."""
        self.stopping.set()
        end = time.monotonic() + timeout
        for writer in self.writers:
            writer.join(max(0, end - time.monotonic()))
        for writer in self.writers:
            writer.abort()
        alive = sum(writer.join(10) for writer in self.writers)
        if raising:
            assert not alive, f"{alive} writers do not end"
            assert not self.problems, self.problems
        return self.ledger


class Doubt:
    """A prepared transaction whose end its writer has not heard of. prepared: that it was, is certain."""

    def __init__(self, gid, pid):
        self.gid, self.pid, self.prepared, self.events = gid, pid, False, []


class Writer:
    """One thread of Writers, with one connection."""

    def __init__(self, writers, rng):
        self.all, self.mix, self.rng = writers, writers.mix, rng
        self.conn = self.doubt = None
        self.thread = threading.Thread(target=self.work, name=f"writer-{writers.name}", daemon=True)

    def join(self, timeout):
        """Whether it still runs."""
        if self.thread.ident is not None:
            self.thread.join(timeout)
        return self.thread.is_alive()

    def abort(self):
        """Cuts the connection that a hanging writer waits on."""
        conn = self.conn
        if self.thread.is_alive() and conn is not None and not conn.closed:
            with contextlib.suppress(OSError, psycopg.Error):
                with socket.socket(fileno=os.dup(conn.fileno())) as line:
                    line.shutdown(socket.SHUT_RDWR)

    def work(self):
        due = time.monotonic()
        try:
            while not self.all.stopping.wait(max(0, due - time.monotonic())):
                due = max(due + self.all.interval, time.monotonic() - 1)
                if self.connected():
                    self.transaction()
            self.last_words()
        except Exception as why:  # a fault of the test itself; stop() and wait_ok() raise it
            self.all.problems.append(repr(why))
        finally:
            self.disconnect()

    def last_words(self):
        """Leaves no prepared transaction behind, if the server is there in time."""
        end = time.monotonic() + SETTLE_SECONDS
        while self.doubt and not self.connected():
            if time.monotonic() > end:
                self.close_doubt(UNKNOWN)
                return
            time.sleep(RECONNECT_SECONDS)

    def connected(self):
        """Whether there is a connection, with nothing in doubt; after a failed try, a pause has passed."""
        try:
            if self.conn is None or self.conn.closed:
                self.conn = psycopg.connect(self.all.uri, autocommit=True, connect_timeout=5,
                                            prepare_threshold=None)
            if self.doubt:
                self.settle()
            return True
        except psycopg.OperationalError:
            self.all.failures["connect"] += 1
            self.disconnect()
            self.all.stopping.wait(RECONNECT_SECONDS)
            return False

    def disconnect(self):
        if self.conn is not None:
            self.conn.close()
            self.conn = None

    def chance(self, share):
        return self.rng.random() < share

    def pause(self):
        self.all.stopping.wait(self.rng.random() * self.mix.pause_seconds)

    def transaction(self):
        """One transaction, and its events in the ledger, whatever became of them."""
        kept, dropped = [], []
        outcome = FAILED
        try:
            self.publish_all(kept, dropped)
            outcome = self.finish()
        except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as why:
            self.all.failures[getattr(why, "sqlstate", None) or "connection"] += 1
            self.disconnect()
        at = time.time() if outcome == OK else None
        self.all.ledger.append([Attempt(*event, FAILED) for event in dropped])
        if self.doubt:
            self.doubt.events = kept
        else:
            self.all.ledger.append([Attempt(*event, outcome, at) for event in kept])

    def publish_all(self, kept, dropped):
        self.conn.execute("BEGIN")
        if self.chance(self.mix.early_xid):
            self.conn.execute("SELECT pg_current_xact_id()")
            self.pause()
        number = self.rng.randint(2, self.mix.most) if self.chance(self.mix.several) else 1
        keys = self.all.keys
        keys = sorted(keys[0] if self.chance(self.mix.hot) else self.rng.choice(keys) for _ in range(number))  # in one order: no deadlocks
        partial = self.chance(self.mix.savepoint)
        inside = self.rng.randrange(number + 1) if partial else number
        for key in keys[:inside]:
            self.publish(key, kept)
        if partial:
            self.conn.execute("SAVEPOINT part")
            for key in keys[inside:] or keys[-1:]:
                self.publish(key, dropped)
            self.conn.execute("ROLLBACK TO SAVEPOINT part")
            self.publish(keys[-1], kept)

    def publish(self, key, events):
        n = self.conn.execute(NUMBER, [key]).fetchone()[0]
        event_id = str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        events.append((event_id, key, n))  # before the statement, which may fail
        payload = json.dumps({"key": key, "n": n, "ledger": self.all.name})
        event = {"id": event_id, "type": self.all.aggregate_type, "key": key, "payload": payload}
        if self.chance(self.mix.early_position):
            event["position"] = self.conn.execute(DRAW).fetchone()[0]
            self.pause()
            self.conn.execute(PLACED, event)
        elif self.chance(self.mix.raw):
            self.conn.execute(RAW, event)
        else:
            self.conn.execute(PUBLISH, event | {"strict": self.chance(self.mix.strict)})

    def finish(self):
        if self.chance(self.mix.rollback):
            self.conn.execute("ROLLBACK")
            return FAILED
        return self.two_phases() if self.chance(self.mix.prepared) else self.commit()

    def two_phases(self):
        """Commits a prepared transaction; where the connection is lost meanwhile, settle() goes on."""
        self.doubt = Doubt(f"ledger-{uuid.uuid4()}", self.conn.info.backend_pid)
        self.conn.execute(f"PREPARE TRANSACTION '{self.doubt.gid}'")
        self.doubt.prepared = True
        self.pause()
        self.conn.execute(f"COMMIT PREPARED '{self.doubt.gid}'")
        self.doubt = None
        return OK

    def settle(self):
        """Finds out what became of the doubtful transaction, and commits it if it is still prepared."""
        doubt = self.doubt
        until(lambda: not self.found("SELECT FROM pg_stat_activity WHERE pid = %s", doubt.pid),
              SETTLE_SECONDS, f"the end of backend {doubt.pid}")
        if self.found("SELECT FROM pg_prepared_xacts WHERE gid = %s", doubt.gid):
            doubt.prepared = True
            self.conn.execute(f"COMMIT PREPARED '{doubt.gid}'")
        self.close_doubt(OK if doubt.prepared else FAILED)

    def close_doubt(self, outcome):
        self.all.ledger.append([Attempt(*event, outcome) for event in self.doubt.events])
        self.doubt = None

    def found(self, sql, *args):
        return self.conn.execute(sql, args).fetchone() is not None

    def commit(self):
        """What became of the transaction: unknown when no answer came to the COMMIT."""
        try:
            said = self.conn.execute("COMMIT").statusmessage
        except psycopg.Error as why:
            self.all.failures[getattr(why, "sqlstate", None) or "commit"] += 1
            refused = self.conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if not refused:
                self.disconnect()
            return FAILED if refused else UNKNOWN
        return OK if said == "COMMIT" else FAILED
