"""Instances of one configuration share the shards of a pipeline while they are killed, paused longer than their lease and stopped at
random; and an owner that is stopped (SIGSTOP) inside its work and goes on when another has taken over is fenced (row 5 of the fault
matrix). A fault counts only when something was delivered since the one before.

POSTHORN_FAULTS=full runs 100 faults for two and for four instances, and 200 stopped owners, most of them for 2 to 5 s and every tenth
for up to 120 s; otherwise a smoke. POSTHORN_SEED repeats a run's choices.
"""
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Writers  # noqa: E402
from servers import until  # noqa: E402

from matrix import AT_LEAST_ONCE, DELIVERIES, FULL, amount, judge, record  # noqa: E402
from scene import Scene, new_rng  # noqa: E402

FAULTS, PAUSES = amount(100, 8), amount(200, 4)
SHARDS, LEASE = 4, 1.0
OWNERS = "SELECT instance, count(*) FROM posthorn.lease WHERE expires_at > clock_timestamp() GROUP BY 1"


class Instances:
    """Several relays of one pipeline, and faults at one of them."""

    def __init__(self, scene, count, rng):
        self.scene, self.rng = scene, rng
        self.relays = [scene.new_relay() for _ in range(count)]
        self.faults, self.hits, self.seen = Counter(), 0, 0

    def shares(self):
        return sorted(count for _, count in self.scene.db.sql(OWNERS))

    def fault(self):
        self.hits += self.scene.reader.reaches(self.seen + 1)
        time.sleep(self.rng.random() * LEASE)  # the moment of the fault is the random variable
        self.seen = self.scene.reader.count
        kind, index = self.rng.choice(["kill", "pause", "pause", "stop"]), self.rng.randrange(len(self.relays))
        self.faults[kind] += 1
        relay = self.relays[index]
        if kind == "pause":
            relay.pause()
            time.sleep(LEASE * (0.5 + 2.5 * self.rng.random()))  # how long it is away, shorter or longer than its lease
            relay.resume()
        else:
            relay.kill9() if kind == "kill" else relay.stop()
            self.relays[index] = self.scene.new_relay()
        assert all(r.running() for r in self.relays), self.scene.posthorn.logs()

    def stop(self):
        assert all(relay.stop() == 0 for relay in self.relays)


# two and four instances with the guarantee that matters most to each; a full run has all pairs
PAIRS = [(n, d) for n in (2, 4) for d in DELIVERIES if FULL or len(DELIVERIES) == 1 or (n == 4) == (d == AT_LEAST_ONCE)]


@pytest.mark.smoke
@pytest.mark.timeout(3600 if FULL else 400)
@pytest.mark.parametrize("instances, delivery", PAIRS)
def test_instances_share_the_work(posthorn, database, kafka, instances, delivery):
    seed, rng = new_rng()
    with Scene(posthorn, database, kafka, delivery, start=False, shards=SHARDS, lease=f"{int(LEASE * 1000)}ms", batch_events=100) as scene:
        all_of_them = Instances(scene, instances, rng)
        fair = [SHARDS // instances] * instances
        until(lambda: all_of_them.shares() == fair, 10 * LEASE + 10, "even shares")
        with Writers(database.dsn(), count=8, keys=40, rate=300, seed=seed) as writers:
            for _ in range(FAULTS):
                all_of_them.fault()
            assert scene.reader.reaches(all_of_them.seen + 1, 60), "nothing was delivered after the last fault"
        until(lambda: all_of_them.shares() == fair, 10 * LEASE + 10, "even shares again")
        result = scene.compare(writers)
        all_of_them.stop()
        fenced = sum("fenced:" in relay.log for relay in posthorn.relays)
        record(5, f"{instances} instances of {SHARDS} shards killed, paused and stopped", delivery, faults=FAULTS, hits=all_of_them.hits,
               result=result, note=f"{dict(all_of_them.faults)}, {fenced} fenced")
        judge(delivery, FAULTS, all_of_them.hits, result)


def away(rng):
    """How long an owner is stopped behind the moment when the other has taken over."""
    if not FULL:
        return rng.random()
    return rng.uniform(5, 118) if rng.random() < 0.1 else rng.uniform(1, 4)


@pytest.mark.smoke
@pytest.mark.timeout(10800 if FULL else 200)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_stopped_owner_is_fenced(posthorn, database, kafka, delivery):
    """It wakes when another delivers: its next write is refused, its log says so, and it stands by until it is its turn again."""
    seed, rng = new_rng()
    hits = 0
    with Scene(posthorn, database, kafka, delivery, batch_events=100) as scene:
        owner = scene.relay
        owner.wait_log("delivering from")
        other = scene.new_relay()
        other.wait_log("standing by")
        with Writers(database.dsn(), count=8, keys=40, rate=300, seed=seed) as writers:
            for _ in range(PAUSES):
                assert scene.reader.reaches(scene.reader.count + 1)
                time.sleep(rng.random() * 0.3)  # the moment of the stop is the random variable
                mine, its = len(owner.log), len(other.log)
                owner.pause()
                other.wait_log("delivering from", start=its)
                hits += scene.reader.reaches(scene.reader.count + 1)
                time.sleep(away(rng))  # how long it is away
                owner.resume()
                owner.wait_log("fenced: .*", start=mine)
                owner.wait_log("standing by", start=mine)
                owner, other = other, owner
        result = scene.compare(writers)
        assert owner.stop() == 0 and other.stop() == 0
        fenced = sum(relay.log.count("fenced:") for relay in (owner, other))
        record(5, "owner stopped (SIGSTOP), continued under a new owner", delivery, faults=PAUSES, hits=hits, result=result,
               note=f"fenced {fenced} times, each in its log")
        judge(delivery, PAUSES, hits, result, least=1)
