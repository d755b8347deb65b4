"""adopt and reshard over random logs with transactions that stay open: wherever shards stand, and however often the log is restored,
what is not moved settles the same events as before, what is moved leaves nothing out behind its place, and reshard parks the rest."""

import random
import re

import pytest

from schema_db import EARLIEST, install, make_tick, one
from test_reshard import check_queues, checkpoint, history, slot

AHEAD = 1000000000
SHARDS = {"p": 1, "q": 3, "r": 2}


@pytest.fixture
def c(each_database):
    with install(each_database).connect() as conn:
        for name, shards in SHARDS.items():
            conn.execute("INSERT INTO posthorn.pipeline (pipeline, shards) VALUES (%s, %s)", [name, shards])
        yield conn


def ahead(snapshot):
    return snapshot if snapshot == EARLIEST else re.sub(r"\d+", lambda m: str(int(m[0]) + AHEAD), snapshot)


def come_from_elsewhere(conn):
    """The log as a dump of a server that is far ahead brings it."""
    conn.execute("UPDATE posthorn.meta SET system_identifier = 1")
    conn.execute("UPDATE posthorn.outbox SET xid = (xid::text::bigint + %s)::text::xid8", [AHEAD])
    for tick, snapshot in conn.execute("SELECT tick, snapshot::text FROM posthorn.tick").fetchall():
        conn.execute("UPDATE posthorn.tick SET snapshot = %s WHERE tick = %s", [ahead(snapshot), tick])
    for name, shard, *snapshots in conn.execute(
            "SELECT pipeline, shard, snapshot, base_snapshot, start_snapshot FROM posthorn.checkpoint").fetchall():
        conn.execute("UPDATE posthorn.checkpoint SET snapshot = %s, base_snapshot = %s, start_snapshot = %s"
                     " WHERE pipeline = %s AND shard = %s", [*map(ahead, snapshots), name, shard])


def unsettled(conn):
    """{(pipeline, shard): positions that it has not settled}."""
    left = {(name, shard): set() for name, shards in SHARDS.items() for shard in range(shards)}
    for name, shard, position in conn.execute(
            "SELECT c.pipeline, c.shard, o.position FROM posthorn.outbox o, posthorn.checkpoint c JOIN posthorn.pipeline l USING (pipeline)"
            " WHERE (hashtext(o.aggregate_id) & 4095) % l.shards = c.shard AND NOT posthorn.settles("
            "c.base_snapshot::pg_snapshot, c.snapshot::pg_snapshot, c.position, o.xid, o.position)").fetchall():
        left[name, shard].add(position)
    return left


def stand_anywhere(conn, rnd, got):
    ticks = sorted(got)
    for name, shards in SHARDS.items():
        for shard in range(shards):
            at = rnd.choice([3, rnd.randrange(len(ticks))])  # often in one tick
            positions = [position for position, _ in got[ticks[at]]]
            checkpoint(conn, at, rnd.choice(positions) if positions and rnd.random() < 0.7 else None, shard, pipeline=name)


def move_one(conn, rnd, at, slots):
    """Adopts a shard at a place somewhere in the log; its name, and what lies behind that place."""
    name = rnd.choice(sorted(SHARDS))
    shard = rnd.randrange(SHARDS[name])
    newest = one(conn, "SELECT max(tick) FROM (SELECT tick FROM posthorn.tick UNION SELECT tick FROM posthorn.checkpoint) t")
    own = one(conn, "SELECT tick, position FROM posthorn.checkpoint WHERE pipeline = %s AND shard = %s", name, shard)
    tick, position = own
    while (tick, position) == own:  # a place of its own keeps what it means, as any stored checkpoint
        tick, position = min(newest, rnd.choice(sorted(at.values()))[0]), rnd.choice(sorted(at))
    conn.execute("SELECT posthorn.adopt(%s, 'from', 'ada', tick => %s, \"position\" => %s, shard => %s)", [name, tick, position, shard])
    return (name, shard), {p for p in at if slots[p] % SHARDS[name] == shard and at[p] > (tick, position)}


@pytest.mark.parametrize("seed", range(6))
def test_places_mean_the_same_wherever_the_log_wakes_up(each_database, c, seed):
    rnd = random.Random(seed)
    got = history(each_database, c, 6, seed)
    at = {position: (tick, position) for tick, rows in got.items() for position, _ in rows}
    slots = {position: slot(c, key) for rows in got.values() for position, key in rows}
    stand_anywhere(c, rnd, got)
    for _ in range(3):
        before = unsettled(c)
        come_from_elsewhere(c)
        moved, behind = None, set()
        if rnd.random() < 0.3:
            c.execute("SELECT posthorn.adopt(NULL, 'keep', 'ada')")
        else:
            moved, behind = move_one(c, rnd, at, slots)
        after = unsettled(c)
        assert {k: v for k, v in after.items() if k != moved} == {k: v for k, v in before.items() if k != moved}
        assert moved is None or behind <= after[moved], "left out"
        if rnd.random() < 0.5:
            make_tick(c, one(c, "SELECT max(tick) FROM posthorn.tick"))
    shards, before = rnd.choice([1, 2, 4]), unsettled(c)
    c.execute("SELECT posthorn.reshard('q', %s, 'ada')", [shards])
    parked = [position for position, in c.execute("SELECT position FROM posthorn.parked").fetchall()]
    left = [position for position, in c.execute(
        "SELECT w.position FROM posthorn.pending w JOIN posthorn.pipeline l USING (pipeline)"
        " WHERE pipeline = 'q' AND (hashtext(w.aggregate_id) & 4095) % l.shards = w.shard").fetchall()]
    assert sorted(parked + left) == sorted(set().union(*(before["q", shard] for shard in range(SHARDS["q"]))))
    check_queues(c)
