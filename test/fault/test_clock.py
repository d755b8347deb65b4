"""Row 13 of the matrix: the relay's wall clock jumps by an hour forth and back, and by ten seconds back, by libfaketime. Leases, timers and
time limits live by a clock that does not jump (CLOCK_BOOTTIME, and the database's own for expiry), so nothing of it may show: the relay keeps
its lease, and goes on delivering at once.

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
STEPS = [HOUR, -HOUR, -10]
LEASE_SECONDS = 1
PAUSE_SECONDS = 0.8  # a jump is followed by more than half a lease
QUIET_SECONDS = 5    # far below what a timer that jumped would wait
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
    clock, hits = FakeClock(tmp_path), 0
    with Run(posthorn, site, delivery, env=clock.env, lease=f"{LEASE_SECONDS}s") as run:
        run.must_progress(30, "the start")
        epochs = run.db.sql(OWNER)
        for i in range(JUMPS):
            clock.jump(STEPS[i % len(STEPS)])
            run.mark()
            run.must_progress(QUIET_SECONDS, f"a clock that is off by {clock.offset} s")
            hits += 1
            time.sleep(PAUSE_SECONDS * (0.5 + run.rng.random()))  # how long the clock stays so
        assert run.db.sql(OWNER) == epochs, f"the lease changed its owner: {run.relay.log[-3000:]}"
        result = run.finish()
        said = run.relay.log
    assert abs(shown_offset(said) - clock.offset) < 60, f"void: the relay did not see its clock jump by {clock.offset} s"
    assert "level=warn" not in said and "level=error" not in said, said
    note = "by libfaketime on the relay; the lease kept its epoch and nothing was logged"
    record(13, "clock jumps of +1 h, -1 h and -10 s", delivery, faults=JUMPS, hits=hits, result=result, note=note)
    judge(delivery, JUMPS, hits, result)
