"""What writers do to the log is a fault of its own: transactions that stay open for long, prepared ones, rollbacks and subtransactions
(row 9 of the fault matrix), and 64 writers of which half write one key, with transaction ids and positions drawn early (row 10).

POSTHORN_FAULTS=full holds 50 transactions for 60 s each and lets 64 writers write for 30 minutes; otherwise a smoke. POSTHORN_SEED
repeats a run's choices.
"""
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import FAILED, OK, PUBLISH, Attempt, Writers  # noqa: E402

from matrix import DELIVERIES, FULL, amount, judge, record  # noqa: E402
from scene import Scene, new_rng, percentile  # noqa: E402

ROUNDS, HELD, HOLD_SECONDS = amount(5, 1), amount(10, 4), amount(60, 6)  # rounds, transactions of a round, how long each is held
LATENCY_SECONDS = 1  # p99 of all others meanwhile
WRITERS, WRITE_SECONDS = 64, amount(1800, 6)
OTHERS = 100  # so many events of others must come through while a transaction is held: else it proves nothing
TURNED = ("SELECT count(*) FROM (SELECT xid < lag(xid) OVER (ORDER BY position) AS turned FROM posthorn.outbox) t WHERE turned")


class Held:
    """One transaction that has published an event, in a subtransaction too, and is then held open or prepared."""

    def __init__(self, db, ledger, number, ending):
        self.db, self.ledger, self.number, self.ending = db, ledger, number, ending
        self.began = self.ended = None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        prepared, kept = self.number % 2 == 0, self.number % 4 < 3
        gid, key = f"held-{uuid.uuid4()}", f"held-{self.number}"
        ids = [str(uuid.uuid4()) for _ in range(2)]
        with self.db.connect() as conn:
            conn.execute("BEGIN")
            for n, event_id in enumerate(ids, 1):
                conn.execute(f"SAVEPOINT s{n}")
                conn.execute(PUBLISH, {"id": event_id, "type": "ledger", "key": key, "strict": False,
                                       "payload": f'{{"key": "{key}", "n": {n}, "ledger": "ledger"}}'})
            if prepared:
                conn.execute(f"PREPARE TRANSACTION '{gid}'")
            self.began = time.time()
            self.ending.wait(HOLD_SECONDS + 60)
            self.ended = time.time()
            word = "COMMIT" if kept else "ROLLBACK"
            conn.execute(f"{word} PREPARED '{gid}'" if prepared else word)
        self.ledger.append([Attempt(event_id, key, n, OK if kept else FAILED) for n, event_id in enumerate(ids, 1)])


def hold(db, ledger, count, first):
    """Holds so many transactions at once; returns them when they have ended."""
    ending = threading.Event()
    all_of_them = [Held(db, ledger, first + i, ending) for i in range(count)]
    time.sleep(HOLD_SECONDS)  # how long they are held
    ending.set()
    for held in all_of_them:
        held.thread.join(60)
    assert all(held.ended for held in all_of_them), "a held transaction failed"
    return all_of_them


def latencies(writers, reader, periods):
    """Seconds from the COMMIT's answer to the reader, of events that were committed in one of the periods."""
    return [reader.arrived[a.event_id] - a.committed_at for a in writers.ledger
            if a.committed_at and any(p.began <= a.committed_at <= p.ended - LATENCY_SECONDS for p in periods)]


@pytest.mark.smoke
@pytest.mark.timeout(1200 if FULL else 200)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_long_transactions_hold_nobody_up(posthorn, database, kafka, delivery):
    seed, _ = new_rng()
    with Scene(posthorn, database, kafka, delivery, keep=True) as scene:
        scene.relay.wait_log("delivering from")
        held = []
        with Writers(database.dsn(), count=8, keys=40, rate=300, seed=seed, rollback=0.1, savepoint=0.3, prepared=0.1) as writers:
            writers.wait_ok(OTHERS)
            for _ in range(ROUNDS):
                held += hold(database, writers.ledger, HELD, len(held))
        result = scene.finish(writers)
        hits = sum(sum(h.began < at < h.ended for at in scene.reader.arrived.values()) >= OTHERS for h in held)
        waits = latencies(writers, scene.reader, held)
        p50, p99 = percentile(waits, 0.5), percentile(waits, 0.99)
        record(9, "transactions held open or prepared, rollbacks, subtransactions", delivery, faults=len(held), hits=hits, result=result,
               note=f"held {HOLD_SECONDS} s; others meanwhile: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms of {len(waits)} events")
        judge(delivery, len(held), hits, result, least=1)
        assert p99 < LATENCY_SECONDS


@pytest.mark.smoke
@pytest.mark.timeout(5400 if FULL else 200)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_hot_key_keeps_its_order(posthorn, database, kafka, delivery):
    """Faults are transactions whose id is older than that of the position before: a cursor over either would lose or reorder them."""
    seed, _ = new_rng()
    with Scene(posthorn, database, kafka, delivery) as scene:
        with Writers(database.dsn(), count=WRITERS, keys=100, seed=seed, hot=0.5, early_xid=0.3, early_position=0.2, rollback=0.1,
                     pause_seconds=0.002) as writers:
            time.sleep(WRITE_SECONDS)  # how long they write
        result = scene.finish(writers, timeout=600)
        turned = database.sql(TURNED)[0][0]
        hot = sum(a.outcome == OK and a.key == writers.keys[0] for a in writers.ledger)
        record(10, f"{WRITERS} writers, hot key, ids and positions drawn early", delivery, faults=turned, hits=turned, result=result,
               note=f"{WRITE_SECONDS} s, {hot} events of the hot key")
        judge(delivery, turned, turned, result)
        assert turned >= 100 and hot >= result.ok / 4, f"void: {turned} turned, {hot} hot"
