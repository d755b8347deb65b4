"""Row 12 of the matrix: a disk is full, of the tables that the relay writes, of PostgreSQL's data and WAL, of the broker's log. The relay says
so, waits, and goes on when there is room again; a server that ended for it is started again, as its supervisor would.

POSTHORN_FAULTS=full makes 60, otherwise a smoke of 3.
"""
import contextlib
import time

import psycopg
import pytest

from conftest import missing
from matrix import DELIVERIES, FULL, amount, judge, record
from run import Run, Site
from servers import ServerMissing, until
from small_disk import NoMount, SmallKafka, SmallPostgres

FAULTS = amount(full=60, smoke=3)
DISK_MIB = amount(full=1024, smoke=192)
FULL_SECONDS = 1.5
NO_SPACE = "No space left on device"
TICKS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'posthorn.tick'::regclass"


@pytest.fixture(scope="module")
def site():
    try:
        site = Site(pg=SmallPostgres(DISK_MIB), broker=SmallKafka(DISK_MIB))
    except NoMount as why:
        pytest.skip(str(why))  # in CI too: a container may lack the right, and nothing that could be installed gives it
    except ServerMissing as why:
        missing(why)
    with site:
        yield site


class Disks:
    """The three disks. Each method fills one until it hurts, and returns what the relay must have said of it."""

    def __init__(self, run):
        self.run, self.site = run, run.site
        self.move_ticks()

    def move_ticks(self):
        """The table that each batch needs a row in goes to a disk of its own, so that only the relay meets its end."""
        pg, db = self.site.pg, self.run.db
        if not pg.sql("SELECT 1 FROM pg_tablespace WHERE spcname = 'small'"):
            pg.sql(f"CREATE TABLESPACE small LOCATION '{pg.small_folder}'")
        for (table,) in db.sql(TICKS):
            db.sql(f"ALTER TABLE {table} SET TABLESPACE small")

    def hurts(self, server, disk, start, ended=lambda: False):
        """Waits, with the disk kept full, until the server says that it is."""
        def said():
            disk.fill()
            return NO_SPACE in server.log[start:] or ended()
        until(said, 60, f"{server.name} to find its disk full")

    def tables(self):
        pg = self.site.pg
        self.hurts(pg, pg.table_disk, len(pg.log))
        self.run.relay.wait_log(NO_SPACE, 30, self.start)
        pg.table_disk.free()

    def wal(self):
        """PostgreSQL ends when it cannot write its WAL, and cannot recover before there is room."""
        pg, start = self.site.pg, len(self.site.pg.log)
        pg.disk.fill()
        with contextlib.suppress(psycopg.Error):  # it may end before it answers
            pg.sql("SELECT pg_switch_wal()")
        self.hurts(pg, pg.disk, start)
        until(lambda: pg.disk.fill() or not pg.running() or "PANIC" in pg.log[start:], 60, "PostgreSQL to end")
        self.run.relay.wait_log("PostgreSQL", 30, self.start)
        time.sleep(FULL_SECONDS)  # how long the fault lasts
        pg.disk.free()

    def log(self):
        """A broker whose only log folder failed ends."""
        broker = self.site.broker
        self.hurts(broker, broker.disk, len(broker.log), lambda: not broker.running())
        self.run.relay.wait_log("the sink is down", 30, self.start)
        until(lambda: broker.disk.fill() or not broker.running(), 60, "the broker to end")
        time.sleep(FULL_SECONDS)  # how long the fault lasts
        broker.disk.free()
        broker.start()

    def full(self, kind):
        self.start = len(self.run.relay.log)
        getattr(self, kind)()
        until(self.database_is_back, 60, "PostgreSQL to be back")

    def database_is_back(self):
        """It recovers by itself, or ended in the attempt."""
        pg = self.site.pg
        if not pg.running():
            pg.start()
        return pg.answers()


@pytest.mark.smoke
@pytest.mark.timeout(7200 if FULL else 240)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_disk_full(posthorn, site, delivery):
    hits = 0
    with Run(posthorn, site, delivery, rate=100) as run:
        run.must_progress(30, "the start")
        disks = Disks(run)
        for i in range(FAULTS):
            kind = ("tables", "wal", "log")[i % 3]
            disks.full(kind)
            hits += 1
            run.mark()
            run.must_progress(60, f"a full disk of the {kind}")
        result = run.finish()
    record(12, "disk full: the relay's tables, PostgreSQL's WAL, the broker's log, in turn", delivery, faults=FAULTS, hits=hits, result=result)
    judge(delivery, FAULTS, hits, result, least=1)
