"""Row 8 of the matrix, the torn transaction: a request that the relay gave up arrives after all, when the next batch or transaction is open.

Under exactly-once the late request is the end of a transaction (EndTxn): the broker cannot tell it from the end of the next one, since
librdkafka goes on under the same epoch. It would commit the records that the next transaction has so far, without their checkpoint; when that
transaction then comes to nothing (here: the relay is killed inside it), consumers have seen records of an aborted transaction, and get them
again. The relay's hygiene (src/sink/kafka_txn.c) answers by a new epoch, which shuts the late request out. The last test switches the
hygiene off and expects the tear, so that what proves the defence is proven to see.

POSTHORN_FAULTS=full holds 200 of each, otherwise a smoke.
"""
import collections
import struct

import pytest

from matrix import DELIVERIES, EXACTLY_ONCE, FULL, amount, judge, record
from proxy import END_TXN, PRODUCE
from run import Run, Site
from servers import until

PRODUCES = amount(full=200, smoke=3)
COMMITS = amount(full=200, smoke=5)
TEARS = amount(full=20, smoke=2)
SOCKET_SECONDS = 2
GIVE_UP_SECONDS = 20
QUICK = {"sink.kafka.socket.timeout.ms": SOCKET_SECONDS * 1000}
CHECKPOINTS = b"posthorn.checkpoint."
SHUT_OUT = {47, 90}  # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
HYGIENE_OFF = {"POSTHORN_FAILPOINTS": "kafka.hygiene=off"}

needs_exactly_once = pytest.mark.skipif(EXACTLY_ONCE not in DELIVERIES, reason="this build knows at-least-once only")


@pytest.fixture(scope="module")
def site():
    with Site(proxied=True) as site:
        yield site


def is_commit(frame):
    """Whether a whole EndTxn request (version 0 to 2) commits."""
    assert struct.unpack_from(">h", frame, 6)[0] <= 2, "an EndTxn of a version that ends otherwise"
    return frame[-1] == 1


def error_code(answer):
    """Of an EndTxn answer (version 0 to 2): behind its length, correlation id and throttle time."""
    return struct.unpack_from(">h", answer, 12)[0]


class Late:
    """Holds a request of the relay until the relay has given it up and has something new open, and lets it arrive then."""

    def __init__(self, run):
        self.run, self.proxy = run, run.site.kafka_proxy
        self.codes = collections.Counter()

    def given_up(self, api_key, matching):
        """A request of that kind, held, whose sender has left."""
        hold = self.proxy.hold(api_key, matching)
        assert hold.wait(GIVE_UP_SECONDS), self.run.relay.log[-3000:]
        return hold

    def until_left(self, hold):
        until(lambda: hold.client_left, GIVE_UP_SECONDS, "the relay to give the held request up")

    def open_transaction(self):
        """A transaction whose events are written, and whose checkpoint is held on its way to the broker."""
        return self.proxy.hold(PRODUCE, lambda frame: CHECKPOINTS in frame)

    def commit(self):
        """One late commit, and the end of the relay inside the transaction that it met. Whether it was answered there."""
        hold = self.given_up(END_TXN, is_commit)
        inside = self.open_transaction()
        assert inside.wait(GIVE_UP_SECONDS), self.run.relay.log[-3000:]
        assert hold.client_left
        answer = hold.release()
        if answer is not None:
            self.codes[error_code(answer)] += 1
        self.run.relay.kill9()
        inside.drop()
        self.run.start()
        return answer is not None

    def produce(self):
        """One late request with events. Under exactly-once it arrives while a transaction is open."""
        topic = self.run.topic.encode()
        hold = self.given_up(PRODUCE, lambda frame: topic in frame)
        self.until_left(hold)
        self.run.mark()
        self.run.must_progress(GIVE_UP_SECONDS, "a held request")
        inside = self.open_transaction() if self.run.delivery == EXACTLY_ONCE else None
        assert inside is None or inside.wait(GIVE_UP_SECONDS)
        answer = hold.release()
        if inside is not None:
            inside.release()
        return answer is not None

    def many(self, kind, count):
        """How many of them were answered."""
        hits = 0
        for _ in range(count):
            hits += kind()
            self.run.mark()
            self.run.must_progress(GIVE_UP_SECONDS, "a late request")
        return hits


@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 240)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_late_produce(posthorn, site, delivery):
    with Run(posthorn, site, delivery, **QUICK) as run:
        run.must_progress(30, "the start")
        late = Late(run)
        hits = late.many(late.produce, PRODUCES)
        result = run.finish()
    record(8, "Produce held, released into the next batch or transaction", delivery, faults=PRODUCES, hits=hits, result=result)
    judge(delivery, PRODUCES, hits, result, least=0.9)


@needs_exactly_once
@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 240)
def test_a_late_commit_meets_a_new_epoch(posthorn, site):
    with Run(posthorn, site, EXACTLY_ONCE, **QUICK) as run:
        run.must_progress(30, "the start")
        late = Late(run)
        hits = late.many(late.commit, COMMITS)
        result = run.finish()
    note = "the relay is killed inside that transaction; no record of it was visible to read_committed"
    record(8, "EndTxn held, released into the next transaction", EXACTLY_ONCE, faults=COMMITS, hits=hits, result=result, note=note)
    judge(EXACTLY_ONCE, COMMITS, hits, result, least=0.9)
    assert set(late.codes) <= SHUT_OUT, late.codes


@needs_exactly_once
@pytest.mark.smoke
@pytest.mark.timeout(1200 if FULL else 240)
def test_without_hygiene_it_tears(faulty, site):
    with Run(faulty, site, EXACTLY_ONCE, env=HYGIENE_OFF, **QUICK) as run:
        run.must_progress(30, "the start")
        late = Late(run)
        hits = late.many(late.commit, TEARS)
        result = run.finish(verify=False)
    print(f"without hygiene: answers {dict(late.codes)} to {hits} late commits; {result}")
    assert late.codes[0] > 0, f"void: the broker refused each late commit: {late.codes}"
    assert result.duplicated, f"records of aborted transactions should have been visible: {result}"
