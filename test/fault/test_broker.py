"""Row 4 of the matrix: the broker is killed -9 and stopped by SIGTERM, in turn, at random moments. A fault counts only when something
was delivered since the one before.

POSTHORN_FAULTS=full makes 200, otherwise a smoke of 2. POSTHORN_SEED repeats a run's choices.
"""
import time

import pytest

from matrix import DELIVERIES, FULL, amount, judge, record
from run import Run, Site

FAULTS = amount(full=200, smoke=2)
MOMENT_SECONDS = 0.5


@pytest.fixture(scope="module")
def site():
    with Site() as site:
        yield site


@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 180)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_broker_killed_and_stopped(posthorn, site, delivery):
    hits = 0
    with Run(posthorn, site, delivery) as run:
        for i in range(FAULTS):
            hits += run.progressed()
            time.sleep(run.rng.random() * MOMENT_SECONDS)  # the moment of the fault is the random variable
            if i % 2 == 0:
                site.broker.kill9()
            else:
                site.broker.stop()
            run.mark()
            site.broker.start()
        run.must_progress(60, "the last fault")
        result = run.finish()
    record(4, "broker killed -9 and SIGTERM, in turn", delivery, faults=FAULTS, hits=hits, result=result)
    judge(delivery, FAULTS, hits, result)
