"""kill -9 during a drain, again and again, and what a consumer then holds twice or not at all; for bench/peers.py and `large`."""
import time

from bench import Progress, until
from latency import Arrivals

QUIET_S = 60  # without a record so long, what is missing is lost


def kill_drain(stage, topic, start, events, kills):
    """Kills what start() started (it has kill9()) each time the topic has grown enough, and lets the last one finish; counts by event
    id in a read_committed consumer. A kill hits when the backlog is not yet all there."""
    count, step, hits = Progress(stage, topic), max(1, events // (2 * kills)), 0
    with Arrivals(stage, topic) as arrivals:
        for _ in range(kills):
            before, relay = count(), start()
            until(lambda: count() >= before + step or len(arrivals.times) == events, 300, "progress before a kill")
            relay.kill9()
            hits += count() < events
        start()
        wait_for_all(arrivals, events)
    assert hits >= (kills + 1) // 2, f"void: only {hits} of {kills} kills came before the end of the drain"
    distinct = len(arrivals.times)
    return {"kills": kills, "hits": hits, "events": events, "duplicates": arrivals.records - distinct, "lost": events - distinct}


def wait_for_all(arrivals, events):
    """Until every event was seen once; or until nothing has come for so long that the rest is lost."""
    seen, changed = -1, time.monotonic()
    while len(arrivals.times) < events and time.monotonic() < changed + QUIET_S:
        if arrivals.records != seen:
            seen, changed = arrivals.records, time.monotonic()
        time.sleep(0.1)
