"""Row 13 of the matrix: the relay's wall clock jumps by an hour forth and back, and by ten seconds back, by libfaketime. Leases, timers and
time limits live by a clock that does not jump (CLOCK_BOOTTIME, and the database's own for expiry), so nothing of it may show: the relay keeps
its lease, and goes on delivering at once. The exception is librdkafka, which waits by the wall clock: a jump back inside such a wait makes it as
much longer, and holds a transaction up until the time limit of its messages ends it. Such jumps are counted, and must be few and bounded.

c/clock_shim.c adds what libfaketime lacks: librdkafka's waits until a wall clock time, which a jump shortens or stretches.
POSTHORN_FAULTS=full makes 50 jumps, otherwise a smoke of 8. POSTHORN_SEED repeats a run's choices.
"""
import datetime
import re
import subprocess
import time
from pathlib import Path

import pytest

from matrix import DELIVERIES, FULL, amount, judge, record
from run import Run, Site
from servers import ServerMissing

JUMPS = amount(full=50, smoke=8)
HOUR = 3600
FEW = max(2, JUMPS // 4)
STEPS = [HOUR, -HOUR, -10]
LEASE_SECONDS = 1
PAUSE_SECONDS = 0.8  # a jump is followed by more than half a lease
QUIET_SECONDS = 5     # far below what a timer that jumped would wait
HELD_UP_SECONDS = 40  # the time limit of messages in a transaction, and a new producer
OWNER = "SELECT epoch FROM posthorn.lease"
STAMP = re.compile(r"^ts=(\S+)", re.MULTILINE)


class FakeClock:
    """A file that says by how much the clock of a process is off; read anew at each question."""

    def __init__(self, folder):
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            raise ServerMissing("no libfaketime here: run tools/deps.sh test")
        shim = folder / "clock_shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, Path(__file__).parent / "c" / "clock_shim.c"], check=True)
        self.file, self.offset = folder / "clock", 0
        self.env = {"LD_PRELOAD": f"{shim}:{found[0]}", "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        self.jump(0)

    def jump(self, seconds):
        self.offset += seconds
        new = self.file.with_suffix(".new")
        new.write_text(f"{self.offset:+d}s\n")
        new.rename(self.file)  # never half written


@pytest.fixture(scope="module")
def site():
    with Site() as site:
        yield site


def shown_offset(log):
    """By how much the clock of the log's last line is off, in seconds."""
    stamp = datetime.datetime.fromisoformat(STAMP.findall(log)[-1].replace("Z", "+00:00"))
    return (stamp - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 180)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_clock_jumps(posthorn, site, delivery, tmp_path):
    clock, hits, held_up = FakeClock(tmp_path), 0, []
    with Run(posthorn, site, delivery, env=clock.env, lease=f"{LEASE_SECONDS}s") as run:
        run.must_progress(30, "the start")
        epochs = run.db.sql(OWNER)
        for i in range(JUMPS):
            clock.jump(STEPS[i % len(STEPS)])
            began = time.monotonic()
            run.mark()
            run.must_progress(HELD_UP_SECONDS, f"a clock that is off by {clock.offset} s")
            if time.monotonic() - began > QUIET_SECONDS:
                held_up.append(time.monotonic() - began)
            hits += 1
            time.sleep(PAUSE_SECONDS * (0.5 + run.rng.random()))  # how long the clock stays so
        assert run.db.sql(OWNER) == epochs, f"the lease changed its owner: {run.relay.log[-3000:]}"
        result = run.finish()
        said = run.relay.log
    assert abs(shown_offset(said) - clock.offset) < 60, f"void: the relay did not see its clock jump by {clock.offset} s"
    warned = [line for line in said.splitlines() if "level=info" not in line]
    assert all("the sink is down" in line for line in warned), "\n".join(warned)
    assert max(len(held_up), len(warned)) <= FEW, f"held up for {held_up} s: {warned}"
    note = ("by libfaketime on the relay; the lease kept its epoch. librdkafka held up "
            f"{len(held_up)} times, at most {max(held_up, default=0):.0f} s")
    record(13, "clock jumps of +1 h, -1 h and -10 s", delivery, faults=JUMPS, hits=hits, result=result, note=note)
    judge(delivery, JUMPS, hits, result)
