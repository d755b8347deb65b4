"""The relay is killed at each failpoint in turn: before and after it takes the lease, stores a tick, produces, commits, stores its
checkpoint and parks (row 2 of the fault matrix). What a build with failpoints is armed with is checked too, and that no other build
knows of them.

POSTHORN_FAULTS=full kills at each point 20 times; otherwise once. POSTHORN_SEED repeats a run's choices.
"""
import re
import signal
import sys
import threading
import time
import uuid
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "integration"))

from ledger import Writers  # noqa: E402
from servers import within  # noqa: E402

from matrix import AT_LEAST_ONCE, DELIVERIES, FULL, amount, judge, record  # noqa: E402
from scene import Scene, new_rng  # noqa: E402

ARMED = "POSTHORN_FAILPOINTS"
ROUNDS = amount(20, 1)
RATE = 100  # less than a relay delivers that is killed all the time, or a growing backlog would keep it from new ticks
POINTS = [name for name, rest in re.findall(r'\{\.name = "([^"]+)"([^}]*)\}', (ROOT / "src" / "base" / "failpoint.c").read_text())
          if "DEFENCE" not in rest]
TRANSACTIONS = ("kafka.commit.", "kafka.checkpoint.")  # reached under exactly-once alone
LATEST_HIT = {"lease.claim.before": 1, "lease.claim.after": 1, "kafka.produce.before": 100, "park.before": 2, "park.after": 2}
POISON = ("INSERT INTO posthorn.outbox (event_id, aggregate_type, aggregate_id, event_type, payload) "
          "VALUES (%s, 'Poison', %s, 'Large', jsonb_build_object('fill', repeat('x', 60000)))")


@pytest.mark.smoke
def test_no_failpoint_is_in_the_program(posthorn, faulty):
    assert ARMED.encode() not in posthorn.binary.read_bytes()
    assert ARMED.encode() in faulty.binary.read_bytes()
    posthorn.run("--version", env={ARMED: "no.such=kill"}, check=True)


@pytest.mark.smoke
@pytest.mark.parametrize("text", ["no.such=kill", "tick.before", "tick.before=off", "tick.before=kill@0", "kafka.hygiene=kill"])
def test_a_mistake_in_the_environment_is_an_error(faulty, text):
    done = faulty.run("--version", env={ARMED: text})
    assert done.returncode == 78 and done.stderr.startswith(f"posthorn: {ARMED}: {text}: "), done
    assert done.stdout == "" and done.stderr.count("\n") == 1


class Poisoner:
    """Commits events that are too large for their topic, each of a key of its own, so that rows are parked all the time."""

    def __init__(self, dsn):
        self.dsn, self.ids, self.ending = dsn, set(), threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.ending.set()
        self.thread.join(30)

    def work(self):
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while not self.ending.wait(0.4):
                event_id = uuid.uuid4()
                conn.execute(POISON, (event_id, f"poison-{event_id}"))
                self.ids.add(str(event_id))


def kill_at(scene, point, hit, log):
    """Lets the relay run into that hit of the point; whether it died there."""
    log.write_text("")
    relay = scene.start(env={ARMED: f"{point}=kill@{hit}", f"{ARMED}_LOG": str(log)})
    assert within(60, lambda: not relay.running()), f"{point} was not reached {hit} times, but {log.read_text().split()}"
    assert relay.status == -signal.SIGKILL, f"{point}: ended with {relay.status}\n{relay.log[-2000:]}"
    return f"{point}=kill@{hit}" in log.read_text().split()


@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 300)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_kill_at_each_point_loses_nothing(faulty, database, kafka, delivery, tmp_path):
    seed, rng = new_rng()
    points = [p for p in POINTS if delivery != AT_LEAST_ONCE or not p.startswith(TRANSACTIONS)] * ROUNDS
    rng.shuffle(points)
    hits, began = 0, time.monotonic()
    with Scene(faulty, database, kafka, delivery, topic_config={"max.message.bytes": "20000"}, start=False, batch_events=100) as scene:
        with Poisoner(database.dsn()) as poisoner, Writers(database.dsn(), count=8, keys=40, rate=RATE, seed=seed) as writers:
            for point in points:
                hits += kill_at(scene, point, rng.randint(1, LATEST_HIT.get(point, 5)), tmp_path / "points")
            print(f"{len(points)} kills in {time.monotonic() - began:.1f} s")
        scene.start()
        result = scene.finish(writers)
        dead = {str(row[0]) for row in database.sql("SELECT event_id FROM posthorn.parked WHERE state = 'dead'")}
        aborted = scene.aborted()
        record(2, "kill -9 at each failpoint", delivery, faults=len(points), hits=hits, result=result,
               note=f"{len(set(points))} points, each {ROUNDS} times; {len(dead)} events parked meanwhile, {aborted} records aborted")
        judge(delivery, len(points), hits, result, least=1)
        assert dead == poisoner.ids
        assert delivery == AT_LEAST_ONCE or aborted > 0, "void: no kill came inside a transaction"
