"""Row 15 of the matrix: a standby is promoted, without the last transactions or with all of them, while Kafka holds the newer checkpoint.

Under exactly-once the pipeline stops, names both positions and adopt, and sends nothing until a person has decided; under at-least-once
it goes on from the database's checkpoint by itself. Events that the database lost are lost for it, whatever the sink has: they are left
out of the count. POSTHORN_FAULTS=full makes 10 promotions of each kind, otherwise one.
"""
import re
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from ledger import Ledger, Writers, check, delivered_kafka  # noqa: E402
from matrix import DELIVERIES, EXACTLY_ONCE, FULL, amount, judge, record, settings  # noqa: E402
from servers import Database, Postgres, until  # noqa: E402

PLACE = "SELECT tick, position FROM posthorn.checkpoint"


class Failover:
    """A primary with an asynchronous standby, a pipeline from it to a topic, and writers."""

    def __init__(self, posthorn, kafka, delivery):
        self.posthorn, self.kafka = posthorn, kafka
        self.name = f"p-{uuid.uuid4().hex[:8]}"  # one broker holds the checkpoints of all
        self.topic = kafka.create_topic(f"failover-{uuid.uuid4().hex[:8]}", partitions=4)
        self.settings = settings(delivery, **{"route.topic": self.topic})
        self.primary = Postgres(15, fsync=False).start()
        self.db = Database(self.primary, "postgres")
        posthorn.init(self.db.dsn())
        self.standby = self.primary.make_standby()
        self.copy = Database(self.standby, "postgres")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.standby.close()
        self.primary.close()

    def start(self, db):
        return self.posthorn.start_relay(db.dsn(), self.kafka.uri, name=self.name, settings=self.settings)

    def records(self):
        return self.kafka.consume_all(self.topic, **{"isolation.level": "read_committed"})

    def replicated(self):
        lsn = self.primary.sql("SELECT pg_current_wal_flush_lsn()::text")[0][0]
        until(lambda: self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")[0][0], 30, "replay")

    def cut(self):
        """The standby hears no more of its primary."""
        self.standby.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.standby.sql("SELECT pg_reload_conf()")
        until(lambda: not self.standby.sql("SELECT 1 FROM pg_stat_wal_receiver"), 30, "the receiver's end")

    def fail_over(self, lost):
        """Events are delivered and the primary dies; what was committed behind the cut, and delivered, the standby never had. Returns
        the ledger of what it has."""
        relay = self.start(self.db)
        with Writers(self.db.dsn(), count=4, keys=20, rate=400, name="before", raw=1) as writers:
            until(lambda: self.db.sql("SELECT 1 FROM posthorn.checkpoint WHERE tick > 20"), what="a checkpoint")
            if lost:
                self.replicated()
                self.cut()
                writers.wait_ok(len(writers.ledger.ids()) + 200)
        self.posthorn.wait_drained(self.db.dsn(), self.name)
        if not lost:
            self.replicated()
        relay.kill9()
        self.primary.kill9()
        self.standby.promote()
        here = {str(i) for i, in self.copy.sql("SELECT event_id FROM posthorn.outbox")}
        survived = Ledger()
        survived.append(a for a in writers.ledger if a.event_id in here)
        gone = writers.ledger.ids() - here
        assert bool(gone) == lost, f"{len(gone)} events are not on the standby"
        return survived

    def finish(self, ledger):
        """Compares what the promoted server has with what its sink has."""
        self.posthorn.wait_drained(self.copy.dsn(), self.name)
        here = {a.event_id for a in ledger}
        return check(ledger, [d for d in delivered_kafka(self.records()) if d[0] in here])


def stopped(run):
    """The positions that the refusal names: the sink's and the database's."""
    before = len(run.records())
    relay = run.start(run.copy)
    assert relay.wait(60) == 78 and len(run.records()) == before, "nothing is sent"
    said = re.search(r"the sink holds position (\d+)-(\d+).* the database is at (\d+)-(\d+).*posthorn adopt DB-URI " + run.name + " --keep", relay.log)
    assert said, relay.log
    found = tuple(map(int, said.groups()))
    assert run.copy.sql(PLACE) == [found[2:]]
    return found[:2], found[2:]


def lost_tail(posthorn, kafka, delivery):
    """(result, whether the fault hit): new events have positions that the sink takes for settled."""
    with Failover(posthorn, kafka, delivery) as run:
        ledger = run.fail_over(lost=True)
        with Writers(run.copy.dsn(), count=4, keys=20, rate=800, name="after", raw=1, ledger=ledger) as writers:
            writers.wait_ok(len(ledger.ids()) + 50)
        if delivery == EXACTLY_ONCE:
            sink, database = stopped(run)
            hit = sink > database and bool(run.copy.sql(
                "SELECT 1 FROM posthorn.outbox WHERE aggregate_id LIKE 'after%%' AND position <= %s", sink[1]))
            assert posthorn.run("adopt", run.copy.dsn(), run.name, "--from-position", "%d-%d" % sink).returncode == 78
            posthorn.run("adopt", run.copy.dsn(), run.name, "--keep", "--yes", check=True)
            relay = run.start(run.copy)
            relay.wait_log("delivering from %d-%d" % database)
        else:
            relay, hit = run.start(run.copy), True
            relay.wait_log("timeline changed from 1 to 2")
        result = run.finish(ledger)
        assert relay.stop() == 0
        if delivery == EXACTLY_ONCE:  # it holds from here on
            relay = run.start(run.copy)
            relay.wait_log("delivering from")
            assert relay.stop() == 0
        return result, hit


def add(total, result):
    for name, count in (("events", result.ok), ("lost", len(result.lost)), ("phantom", len(result.phantom)),
                        ("reordered", len(result.reordered)), ("duplicates", len(result.duplicated))):
        total[name] = total.get(name, 0) + count


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 180)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_a_promotion_that_lost_its_tail(posthorn, kafka, delivery):
    faults, hits, total = amount(full=10, smoke=1), 0, {}
    for _ in range(faults):
        result, hit = lost_tail(posthorn, kafka, delivery)
        hits += hit
        add(total, result)
    record(15, "failover with a lost tail", delivery, faults=faults, hits=hits, result=total,
           note="duplicates: what the sink had behind the database's checkpoint, sent again as adopt --keep says")
    duplicates = total.pop("duplicates")
    judge(delivery, faults, hits, total)
    assert duplicates < total["events"], "only what lies behind the database's checkpoint comes again"


@pytest.mark.smoke
@pytest.mark.timeout(1800 if FULL else 180)
def test_a_promotion_that_lost_nothing(posthorn, kafka):
    """Nobody can tell, so exactly-once stops here, too; whoever knows says the sink's position, and nothing comes twice."""
    faults, hits, total = amount(full=10, smoke=1), 0, {}
    for _ in range(faults):
        with Failover(posthorn, kafka, EXACTLY_ONCE) as run:
            ledger = run.fail_over(lost=False)
            sink, database = stopped(run)
            hits += sink >= database
            posthorn.run("adopt", run.copy.dsn(), run.name, "--from-position", "%d-%d" % sink, "--yes", check=True)
            with Writers(run.copy.dsn(), count=4, keys=20, rate=400, name="after", raw=1, ledger=ledger) as writers:
                relay = run.start(run.copy)
                writers.wait_ok(len(ledger.ids()) + 50)
            add(total, run.finish(ledger))
            assert relay.stop() == 0
    record(15, "failover that lost nothing, adopted at the sink's place", EXACTLY_ONCE, faults=faults, hits=hits, result=total)
    judge(EXACTLY_ONCE, faults, hits, total)
