"""Rows 6 and 7 of the matrix, by the proxy in front of PostgreSQL and of the broker: connections cut at a random byte; delays, half-open
connections and a black hole that lasts longer than any time limit of the relay.

POSTHORN_FAULTS=full makes 2,000 cuts and 500 of the others, otherwise a smoke. POSTHORN_SEED repeats a run's choices.
"""
import math
import time

import pytest

from matrix import DELIVERIES, FULL, amount, judge, record
from proxy import CLIENT, DOWN, SERVER, UP
from run import Run, Site
from servers import within

CUTS = amount(full=2000, smoke=24)
FAULTS = amount(full=500, smoke=6)
CUT_BYTES_MAX = 20_000
# librdkafka's limit for an answer; PostgreSQL's are the relay's own, 10 s to connect and 30 s for an answer.
SOCKET_SECONDS, CONNECT_SECONDS, ANSWER_SECONDS = 5, 10, 30
BACK_SECONDS = ANSWER_SECONDS + CONNECT_SECONDS + 10
QUICK = {"sink.kafka.socket.timeout.ms": SOCKET_SECONDS * 1000}


@pytest.fixture(scope="module")
def site():
    with Site(proxied=True) as site:
        yield site


def spread(rng, least, most):
    """A number of any size between the two."""
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def cut(site, rng):
    """Cuts a connection of either side at a random byte of either direction; how many were cut in time (0 or 1)."""
    proxy, direction = rng.choice(site.proxies), rng.choice([UP, DOWN])
    before = proxy.counts["cuts"]
    proxy.cut(direction, int(spread(rng, 1, CUT_BYTES_MAX)), reset=rng.random() < 0.5)
    within(5, lambda: not proxy.armed(direction))
    proxy.heal()
    return proxy.counts["cuts"] - before


@pytest.mark.smoke
@pytest.mark.timeout(14400 if FULL else 240)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_cut_at_a_random_byte(posthorn, site, delivery):
    """One to three cuts in a row, so that greetings and recoveries are cut too; then the relay must deliver again."""
    made = 0
    with Run(posthorn, site, delivery) as run:
        tries = 0
        while tries < CUTS:
            burst = min(run.rng.choice([1, 1, 2, 3]), CUTS - tries)
            run.must_progress(BACK_SECONDS, f"cut {tries}")
            made += sum(cut(site, run.rng) for _ in range(burst))
            tries += burst
            run.mark()
        run.must_progress(BACK_SECONDS, "the last cut")
        assert "another attempt follows" not in run.relay.log, "a lost connection was charged to an event"
        result = run.finish()
    record(6, "connection cut at a random byte, to PostgreSQL and to the broker", delivery, faults=CUTS, hits=made, result=result)
    judge(delivery, CUTS, made, result)


class Trouble:
    """Faults of row 7, each on relays at work. Each returns whether the relay met it."""

    def __init__(self, site, rng):
        self.site, self.rng = site, rng

    def grown(self, name, proxies):
        """A count of the proxies, all together."""
        return sum(proxy.counts[name] for proxy in proxies)

    def delay(self, seconds, proxies):
        """All that comes is late for a while; beyond a time limit the relay may do nothing but try again."""
        before = self.grown("delayed", proxies)
        for proxy in proxies:
            proxy.delay(seconds, self.rng.choice([UP, DOWN, None]))
        time.sleep(0.5 + 1.5 * seconds)  # how long the fault lasts
        self.site.heal()
        return self.grown("delayed", proxies) > before

    def half_open(self, dead, proxies):
        """One side of all connections is gone, and the other is not told."""
        before = self.grown("half_open", proxies)
        links = sum(proxy.half_open(dead) for proxy in proxies)
        return within(5, lambda: self.grown("half_open", proxies) > before) and links > 0

    def black_hole(self, seconds, proxies):
        """Nothing passes, old connections and new ones swallow all. The old ones stay silent for ever."""
        before = self.grown("bytes_swallowed", proxies)
        for proxy in proxies:
            proxy.black_hole()
        time.sleep(seconds)  # how long the fault lasts
        self.site.heal()
        return self.grown("bytes_swallowed", proxies) > before


def planned(site):
    """The smoke: each kind of fault once."""
    pg, kafka = site.proxies
    return [("delay", 0.001, [pg, kafka]), ("delay", 0.03, [pg, kafka]), ("delay", 1.0, [kafka]), ("half_open", CLIENT, [pg, kafka]),
            ("half_open", SERVER, [kafka]), ("black_hole", CONNECT_SECONDS + 2, [pg, kafka])]


def drawn(site, rng, count):
    """The full run: kinds, sizes and sides at random."""
    for _ in range(count):
        proxies = rng.choice([[site.pg_proxy], [site.kafka_proxy], site.proxies])
        kind = rng.choices(["delay", "half_open", "black_hole"], [6, 3, 1])[0]
        size = {"delay": spread(rng, 0.001, 10), "half_open": rng.choice([CLIENT, SERVER]), "black_hole": spread(rng, 1, BACK_SECONDS)}[kind]
        yield kind, size, proxies


@pytest.mark.smoke
@pytest.mark.timeout(36000 if FULL else 300)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_delay_half_open_and_black_hole(posthorn, site, delivery):
    """Each time the relay delivers again within its time limits, and it says what it waits for."""
    hits, slowest = 0, 0
    with Run(posthorn, site, delivery, lease="3s", **QUICK) as run:
        trouble = Trouble(site, run.rng)
        for kind, size, proxies in drawn(site, run.rng, FAULTS) if FULL else planned(site):
            hits += getattr(trouble, kind)(size, proxies)
            began = time.monotonic()
            run.mark()
            run.must_progress(BACK_SECONDS, f"{kind} {size}")
            slowest = max(slowest, time.monotonic() - began)
            print(f"{kind} {size}: back after {time.monotonic() - began:.1f} s")
        result = run.finish()
        said = run.relay.log
    for words in ("the sink is down, going on when it is back: Kafka: ", f"cannot connect to PostgreSQL within {CONNECT_SECONDS} s"):
        assert words in said, said[-4000:]
    note = f"back at work at most {slowest:.0f} s behind the end of a fault; the limit for an answer of PostgreSQL is {ANSWER_SECONDS} s"
    record(7, "delays of 1 ms to 10 s, half-open connections, black hole", delivery, faults=FAULTS, hits=hits, result=result, note=note)
    judge(delivery, FAULTS, hits, result, least=0.8)
