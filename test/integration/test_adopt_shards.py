"""adopt of pipelines with several shards: each has a place of its own, whatever becomes of the ticks between them."""

import contextlib

import pytest

from conftest import started
from schema_db import make_tick, one
from servers import Postgres, newest_debian
from test_adopt import adopt, burn, far, log, near, restore  # noqa: F401


def crowd(db, ticks, keys=8):
    """An event of each key in each tick: position = keys * tick + key + 1, both from 0."""
    with db.connect() as conn:
        for _ in range(ticks):
            conn.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload)"
                         " SELECT 't', 'k' || i, 'T', '{}' FROM generate_series(0, %s) i", [keys - 1])
            make_tick(conn, one(conn, "SELECT coalesce(max(tick), 0) FROM posthorn.tick"))


def stand(db, shard, at, position, name="q"):
    """A checkpoint in the middle of tick number `at` of all."""
    db.sql("INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, timeline, snapshot, base_snapshot, start_snapshot)"
           " SELECT %s, %s, t.tick, %s, 1, t.snapshot, t.before, '3:3:' FROM (SELECT tick, snapshot, lag(snapshot, 1, '3:3:')"
           " OVER (ORDER BY tick) AS before FROM posthorn.tick) t ORDER BY t.tick OFFSET %s LIMIT 1", name, shard, position, at)


def waiting(db, name="q"):
    """Positions that a pipeline has not settled, shard by shard."""
    return db.sql("SELECT w.shard, array_agg(w.position ORDER BY w.position) FROM posthorn.pending w JOIN posthorn.pipeline l USING (pipeline)"
                  " WHERE pipeline = %s AND (hashtext(w.aggregate_id) & 4095) %% l.shards = w.shard GROUP BY w.shard ORDER BY w.shard", name)


@pytest.mark.parametrize("slow, fast", [(1, 4), (2, 2)])
def test_reshard_behind_adopt(posthorn, log, far, slow, fast):  # noqa: F811
    """The ticks between two shards are gone, or both stand at one number: what one of them has not reached is parked all the same."""
    crowd(log, 6)
    log.sql("INSERT INTO posthorn.pipeline (pipeline, shards) VALUES ('p', 1), ('q', 2)")
    stand(log, 0, slow, 8 * slow + 1)
    stand(log, 1, fast, 8 * fast + 7)
    db = restore(log, far)
    adopt(posthorn, db, "p", "--all")
    before = waiting(db)
    assert before == waiting(log) and [shard for shard, _ in before] == [0, 1]
    posthorn.run("reshard", db.dsn(), "q", "--shards", "3", check=True)
    parked = db.sql("SELECT position FROM posthorn.parked WHERE pipeline = 'q' AND state = 'parked' ORDER BY queue_tick, queue_position")
    assert parked and parked == sorted(parked), "in the order of the log"
    assert sorted([at for at, in parked] + [at for _, ats in waiting(db) for at in ats]) == sorted(at for _, ats in before for at in ats)


def test_a_second_restore(posthorn, log, far):  # noqa: F811
    """Two shards that stood in one tick are whole at one number behind adopt; another restore still tells them apart."""
    crowd(log, 6)
    log.sql("INSERT INTO posthorn.pipeline (pipeline, shards) VALUES ('p', 1), ('q', 2), ('r', 1)")
    stand(log, 0, 2, 17)
    stand(log, 1, 2, 23)
    stand(log, 0, 2, 17, name="r")
    burn(far, 2000)
    db = restore(log, far)
    adopt(posthorn, db, "p", "--all")
    crowd(db, 2)
    before = waiting(db)
    assert all(min(ats) < 49 <= max(ats) for _, ats in before), "old ones and new ones"
    with contextlib.closing(started(lambda servers: Postgres(newest_debian(), fsync=False, fresh=True))) as third:
        copy = restore(db, third)
        assert adopt(posthorn, copy, "p", "--all")["rebased"] and waiting(copy) == before
        copy = restore(db, third)
        tick = log.sql("SELECT max(tick) FROM posthorn.tick")[0][0]
        copy.sql("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot, base_snapshot, start_snapshot)"
                 " SELECT 'm' || i, %s, i, 1, '5:5:', '4:4:', '3:3:' FROM generate_series(1, 3000) i", tick)
        assert "3003 different places" in posthorn.json("adopt", copy.dsn(), "p", "--all")["refused"]
        copy, tick = restore(db, third), db.sql("SELECT max(tick) FROM posthorn.checkpoint WHERE pipeline = 'q'")[0][0]
        adopt(posthorn, copy, "q", "--shard", "0", "--from-position", f"{tick}-20")
        assert waiting(copy, "r") == waiting(db, "r") and waiting(copy)[1] == before[1]
        assert {at for at in before[0][1] if at > 20} <= set(waiting(copy)[0][1]) <= set(before[0][1])


@pytest.mark.parametrize("restored", [True, False])
def test_shards_are_adopted_one_after_the_other(posthorn, log, far, restored):  # noqa: F811
    """A position is one shard's: each is moved alone, also where the first adopt gives the log new transaction ids. A tick that is whole
    for one shard is not for another."""
    crowd(log, 6)
    log.sql("INSERT INTO posthorn.pipeline (pipeline, shards) VALUES ('q', 2)")
    stand(log, 0, 1, 9)
    stand(log, 1, 1, 9)
    ticks = [tick for tick, in log.sql("SELECT tick FROM posthorn.tick ORDER BY tick")]
    db = restore(log, far) if restored else log
    behind = [ats for _, ats in waiting(log)]

    def refused_with(*words, status=78):
        done = posthorn.run("adopt", db.dsn(), *words)
        assert done.returncode == status and not done.stdout, done
        return done.stderr

    for name in ((), ("q",)):
        said = refused_with(*name, "--from-position", f"{ticks[4]}-33")
        assert "pipeline q has 2 shards, and each shard has a place of its own: adopt q with --shard N (0 to 1), one after the other" in said
    assert "--shard N (0 to 1)" in refused_with("q", "--shard", "2", "--from-position", f"{ticks[4]}-33")
    for words in (("--shard", "1", "--from-position", "1-1"), ("q", "--shard", "1", "--all")):
        assert "--shard goes with PIPELINE and --from-position" in refused_with(*words, status=64)

    said = adopt(posthorn, db, "q", "--shard", "0", "--from-position", f"{ticks[4]}-33")
    assert said["rebased"] is restored and said["q", 0]["moved"] and (not said["q", 1]["moved"] if restored else ("q", 1) not in said)
    assert waiting(db) == [(0, [at for at in behind[0] if at > 33]), (1, behind[1])]
    if not restored:
        said = adopt(posthorn, db, "q", "--shard", "1", "--from-position", f"{ticks[3]}-25")
        assert waiting(db)[1] == (1, [at for at in behind[1] if at > 25]) and said["q", 1]["skipped"] > 0
        db.sql("UPDATE posthorn.checkpoint SET base_snapshot = snapshot WHERE shard = 0")
    else:  # the ticks in between are gone: some come again, and none is left out
        adopt(posthorn, db, "q", "--shard", "1", "--from-position", f"{ticks[3]}-25")
        assert {at for at in behind[1] if at > 25} <= set(waiting(db)[1][1]) <= set(behind[1])
    assert not adopt(posthorn, db, "q", "--shard", "1", "--from-position", f"{ticks[4]}-33")["rebased"]
    assert waiting(db)[1] == (1, [at for at in behind[1] if at > 33])


def test_shards_that_have_not_begun(posthorn, log):  # noqa: F811
    """The one that is named moves; the others stand at the beginning, wherever a new pipeline would begin."""
    crowd(log, 3)
    log.sql("INSERT INTO posthorn.pipeline (pipeline, shards) VALUES ('q', 2)")
    tick = log.sql("SELECT tick FROM posthorn.tick ORDER BY tick OFFSET 1 LIMIT 1")[0][0]
    assert "none is moved" in posthorn.run("adopt", log.dsn(), "--from-position", f"{tick}-12", check=True).stdout
    adopt(posthorn, log, "q", "--shard", "1", "--from-position", f"{tick}-12")
    found = dict(waiting(log))
    assert min(found[1]) > 12 and max(found[0] + found[1]) == 24
    assert sorted(found[0] + found[1]) == sorted(set(found[0]) | set(found[1])) and min(found[0]) <= 8
