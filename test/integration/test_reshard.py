"""reshard: a stopped pipeline gets another number of shards, and the views and functions that tell of events and pipelines."""

import contextlib
import random

import pytest
from psycopg import errors

from command import answer, posthorn
from schema_db import EARLIEST, between, install, make_tick, one
from test_dead import acts, audit, check_queues, everything, park, publish, states


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        conn.execute("INSERT INTO posthorn.pipeline (pipeline) VALUES ('p')")
        yield conn


SLOT = "(hashtext(aggregate_id) & 4095)"


def slot(conn, key):
    return one(conn, "SELECT hashtext(%s) & 4095", key)


def checkpoint(conn, at, position, shard=0, epoch=7, pipeline="p"):
    """A checkpoint in the middle, or at the end, of tick number `at` (0, 1, ...) of all ticks."""
    ticks = conn.execute("SELECT tick, snapshot::text FROM posthorn.tick ORDER BY tick").fetchall()
    tick, snapshot = ticks[at]
    base = ticks[at - 1][1] if at else EARLIEST
    conn.execute("INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, epoch, timeline, snapshot, base_snapshot,"
                 " start_snapshot) VALUES (%s, %s, %s, %s, %s, 1, %s, %s, %s)",
                 [pipeline, shard, tick, position, epoch, snapshot, snapshot if position is None else base, EARLIEST]
                 if position is not None else
                 [pipeline, shard, tick, 0, epoch, snapshot, snapshot, EARLIEST])


def history(db, conn, ticks, seed):
    """Events of 12 keys in several ticks, with transactions that stay open over some of them. Returns what each tick brings:
    {tick: [(position, key)]} in the order of delivery."""
    rnd = random.Random(seed)
    keys = [f"k{i}" for i in range(12)]
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(db.connect(autocommit=False)) for _ in range(2)]
        for n in range(ticks):
            side = sides[n % 2]
            for key in rnd.sample(keys[:6], 4):
                publish(conn, key, count=rnd.randint(1, 3))
            for key in rnd.sample(keys[6 + 3 * (n % 2):9 + 3 * (n % 2)], 2):  # keys of this side alone
                publish(side, key)
            if rnd.random() < 0.6:
                side.commit()
            make_tick(conn, one(conn, "SELECT coalesce(max(tick), 0) FROM posthorn.tick"))
        for side in sides:
            side.commit()
    make_tick(conn, one(conn, "SELECT max(tick) FROM posthorn.tick"))
    got, prev = {}, EARLIEST
    for tick, snapshot in conn.execute("SELECT tick, snapshot::text FROM posthorn.tick ORDER BY tick").fetchall():
        got[tick] = [(position, key) for _, position, key in between(conn, prev, snapshot)]
        prev = snapshot
    return got


def unsettled(conn, got, shards):
    """What the checkpoints have not settled, as [(tick, position, key)], each shard in the order of delivery."""
    todo = []
    for shard, tick, position, whole in conn.execute(
            "SELECT shard, tick, position, snapshot = base_snapshot FROM posthorn.checkpoint WHERE pipeline = 'p'").fetchall():
        todo += [(t, at, key) for t, rows in got.items() for at, key in rows if slot(conn, key) % shards == shard
                 and (t > tick or t == tick and not whole and at > position)]
    return sorted(todo)


def rows(conn, state="parked"):
    return conn.execute("SELECT tick, position, aggregate_id, key, shard, queue_tick, queue_position FROM posthorn.parked"
                        " WHERE pipeline = 'p' AND state = %s ORDER BY queue_tick, queue_position", [state]).fetchall()


@pytest.mark.parametrize("seed", range(6))
def test_what_is_unsettled_on_any_shard_is_parked_in_order(db, c, seed):
    rnd = random.Random(seed)
    before, after = rnd.choice([(1, 4), (3, 2), (4, 1), (2, 5)])
    got = history(db, c, 6, seed)
    ticks = sorted(got)
    c.execute("UPDATE posthorn.pipeline SET shards = %s", [before])
    for shard in range(before):
        at = rnd.randrange(len(ticks))
        positions = [p for p, _ in got[ticks[at]]]
        checkpoint(c, at, rnd.choice(positions) if positions and rnd.random() < 0.7 else None, shard, epoch=7 + shard)
    goal = one(c, "SELECT max(tick) FROM posthorn.checkpoint")
    todo = unsettled(c, got, before)

    words = one(c, "SELECT shards_before, parked FROM posthorn.reshard('p', %s, 'ada@home', 'more of it')", after)

    now = [w for w in todo if w[0] <= goal]
    found = rows(c)
    assert words == (before, len(now))
    assert [(t, at, key) for t, at, key, *_ in found] == now, "lost, doubled, out of order, or in another tick"
    assert all(key == own and (t, at) == (qt, qp) and shard == slot(c, key) % after for t, at, key, own, shard, qt, qp in found)
    check_queues(c)
    assert unsettled(c, got, after) == [w for w in todo if w[0] > goal], "the new checkpoints settle what was parked, and only that"
    made = c.execute("SELECT shard, tick, position, epoch, snapshot = base_snapshot FROM posthorn.checkpoint ORDER BY shard").fetchall()
    assert [m[0] for m in made] == list(range(after))
    assert all(m[1:] == (goal, m[2], 7 + before, True) for m in made)
    assert all((t, at) <= (goal, made[0][2]) for t, at, *_ in found), "so that each row may come due"
    assert one(c, "SELECT shards FROM posthorn.pipeline") == after and acts(c) == 1
    assert audit(c) == [("ada@home", "reshard", "more of it", {
        "pipeline": "p", "shardsBefore": before, "shards": after, "parked": len(now), "tick": goal, "login": "postgres"})]


def test_rows_that_are_there_keep_their_state_and_place(db, c):
    got = history(db, c, 3, 1)
    ticks = sorted(got)
    first = got[ticks[0]]
    checkpoint(c, 1, None, 0)
    # Parked long ago under a key of its own, dead, scheduled, and one that the checkpoint has not passed yet.
    kept = {}
    for (position, key), state in zip(first, ("dead", "parked", "scheduled", "discarded", "skipped")):
        kept[position] = state
        c.execute("INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, key, state, next_attempt_at, xid,"
                  " created_at, event_id, aggregate_type, aggregate_id, event_type)"
                  " SELECT 'p', %s, position, %s, position, 'order/' || aggregate_id, %s, CASE WHEN %s IN ('parked', 'scheduled')"
                  " THEN now() + interval '1 hour' END, xid, created_at, event_id, aggregate_type, aggregate_id, event_type"
                  "   FROM posthorn.outbox WHERE position = %s", [ticks[0], ticks[0], state, state, position])
    later, _ = got[ticks[2]][0]
    c.execute("INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, key, state, next_attempt_at, xid,"
              " created_at, event_id, aggregate_type, aggregate_id, event_type)"
              " SELECT 'p', %s, position, %s, position, aggregate_id, 'parked', now() + interval '1 hour', xid, created_at, event_id,"
              " aggregate_type, aggregate_id, event_type FROM posthorn.outbox WHERE position = %s", [ticks[2], ticks[2], later])
    c.execute("DELETE FROM posthorn.checkpoint")
    checkpoint(c, 0, None, 0)
    c.execute("UPDATE posthorn.pipeline SET shards = 2")
    checkpoint(c, 2, None, 1)
    c.execute("UPDATE posthorn.parked SET shard = (hashtext(aggregate_id) & 4095) % 2")
    todo = [w for w in unsettled(c, got, 2) if w[0] <= ticks[2]]
    one(c, "SELECT posthorn.reshard('p', 3, 'ada@home')")
    now = states(c)
    assert {p: now[p] for p in kept} == kept
    assert sorted(now) == sorted({p for _, p, _ in todo} | set(kept) | {later})
    assert one(c, "SELECT bool_and(key = aggregate_id AND shard = (hashtext(aggregate_id) & 4095) % 3) FROM posthorn.parked")
    for position in kept:  # a head that waits an hour still does
        if now[position] in ("parked", "scheduled"):
            assert one(c, "SELECT next_attempt_at > now() + interval '50 minutes' FROM posthorn.parked WHERE position = %s", position)
    check_queues(c)


def test_events_whose_time_has_not_come_stay_scheduled(c):
    publish(c, "a", deliver_after="2099-01-01")
    publish(c, "b", deliver_after="2001-01-01")
    make_tick(c)
    checkpoint(c, 0, 0)
    one(c, "SELECT posthorn.reshard('p', 2, 'ada@home')")
    assert c.execute("SELECT key, state, next_attempt_at = deliver_after FROM posthorn.parked ORDER BY key").fetchall() == [
        ("a", "scheduled", True), ("b", "parked", False)]


def lease(conn, expires, shard=0, epoch=7):
    conn.execute("INSERT INTO posthorn.lease (pipeline, shard, owner, epoch, expires_at, retention)"
                 f" VALUES ('p', %s, 'host:42', %s, {expires}, '3 days')", [shard, epoch])


def test_refused_while_an_instance_owns_a_shard(db, c):
    publish(c)
    make_tick(c)
    checkpoint(c, 0, 0)
    lease(c, "clock_timestamp() + interval '1 minute'")
    before = everything(c)
    with pytest.raises(errors.ObjectInUse, match="shard 0 is owned by host:42 until .*Stop all its instances"):
        c.execute("SELECT posthorn.reshard('p', 2, 'ada@home')")
    said = posthorn("reshard", db.dsn(), "p", "--shards", "2", status=78).stderr
    assert "is running: shard 0 is owned by host:42 until" in said and "with shards set to 2" in said
    assert everything(c) == before
    c.execute("UPDATE posthorn.lease SET expires_at = clock_timestamp() - interval '1 second'")
    assert posthorn("reshard", db.dsn(), "p", "--shards", "2", "--reason", "x").stdout == (
        "pipeline p has 2 shards now, it had 1; 1 event is parked in order meanwhile\nstart its instances with shards set to 2\n")
    assert posthorn("reshard", db.dsn(), "p", "--shards", "2").stdout == "it was so already: pipeline p has 2 shards\n"


def test_refused_behind_a_crash_under_exactly_once(db, c):
    """The sink may hold more than the database knows; a lease that was given back in order says that it does not."""
    publish(c)
    make_tick(c)
    checkpoint(c, 0, 0)
    c.execute("UPDATE posthorn.checkpoint SET sink_tick = tick, sink_position = position")
    lease(c, "clock_timestamp() - interval '1 second'")
    for known in ("tick", "-2"):  # how far it was, or that it is still to be asked
        c.execute(f"UPDATE posthorn.checkpoint SET sink_tick = {known}, sink_position = {known}")
        before = everything(c)
        said = posthorn("reshard", db.dsn(), "p", "--shards", "2", status=78).stderr
        assert "shard 0 was not stopped in order" in said and "start it with shards set to 1, stop it" in said
        assert everything(c) == before
    c.execute("UPDATE posthorn.lease SET expires_at = '-infinity'")
    assert "pipeline p has 2 shards now" in posthorn("reshard", db.dsn(), "p", "--shards", "2").stdout


def test_what_adopt_made_void_is_no_crash_and_stays_void(db, c):
    """adopt says so of each checkpoint, also where no sink ever held one; where a sink does, it is overwritten by the new shards."""
    publish(c)
    make_tick(c)
    for shard in (0, 1):
        checkpoint(c, 0, 0, shard)
        lease(c, "clock_timestamp() - interval '1 second'", shard)
    c.execute("UPDATE posthorn.pipeline SET shards = 2")
    c.execute("UPDATE posthorn.checkpoint SET sink_tick = CASE WHEN shard = 0 THEN -1 END, sink_position = CASE WHEN shard = 0 THEN -1 END")
    assert "pipeline p has 3 shards now" in posthorn("reshard", db.dsn(), "p", "--shards", "3").stdout
    assert c.execute("SELECT sink_tick, sink_position FROM posthorn.checkpoint").fetchall() == [(-1, -1)] * 3
    c.execute("UPDATE posthorn.lease SET expires_at = '-infinity'")
    for before in (None, -2):  # it never held one; it was not asked yet
        c.execute("UPDATE posthorn.checkpoint SET sink_tick = %s, sink_position = %s", [before, before])
        c.execute("UPDATE posthorn.pipeline SET shards = 3")
        c.execute("SELECT posthorn.reshard('p', 2, 'ada@home')")
        assert c.execute("SELECT sink_tick, sink_position FROM posthorn.checkpoint").fetchall() == [(None, None)] * 2


def test_epochs_go_on_above_all_old_ones(c):
    publish(c)
    make_tick(c)
    checkpoint(c, 0, 0, epoch=3)
    lease(c, "'-infinity'", 0, 12)
    c.execute("SELECT posthorn.reshard('p', 3, 'ada@home')")
    assert c.execute("SELECT shard, epoch, expires_at < now(), retention = '3 days' FROM posthorn.lease ORDER BY shard").fetchall() == [
        (shard, 13, True, True) for shard in range(3)]
    assert one(c, "SELECT array_agg(DISTINCT epoch) FROM posthorn.checkpoint") == [13]
    c.execute("SELECT posthorn.reshard('p', 1, 'ada@home')")
    assert c.execute("SELECT shard, epoch FROM posthorn.lease").fetchall() == [(0, 14)]


def test_a_pipeline_that_has_not_begun_only_gets_the_number(c):
    publish(c)
    assert one(c, "SELECT shards_before, parked FROM posthorn.reshard('p', 3, 'ada@home')") == (1, 0)
    assert one(c, "SELECT shards, (SELECT count(*) FROM posthorn.lease), (SELECT count(*) FROM posthorn.checkpoint)"
                  "  FROM posthorn.pipeline") == (3, 0, 0)


def test_refused_beyond_the_bound(c):
    publish(c, "a", count=100001)
    make_tick(c)
    publish(c, "b")
    make_tick(c, 1)
    c.execute("UPDATE posthorn.pipeline SET shards = 2")
    behind = slot(c, "a") % 2
    checkpoint(c, 0, 0, behind)
    checkpoint(c, 1, None, 1 - behind)
    before = everything(c)
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="more than 100000 events .*let it deliver first"):
        c.execute("SELECT posthorn.reshard('p', 1, 'ada@home')")
    assert everything(c) == before
    c.execute("UPDATE posthorn.checkpoint SET position = 1 WHERE shard = %s", [behind])
    assert one(c, "SELECT parked FROM posthorn.reshard('p', 1, 'ada@home')") == 100000
    check_queues(c)


# -- what people ask -------------------------------------------------------------------------------


def test_counts_and_reasons(c):
    for key in "ab":
        park(c, key, state="dead", error="too large", attempts=20)
    park(c, "a"), park(c, "c", state="discarded", error="too large", kind="Paid"), park(c, "d", state="skipped", error="skipped")
    assert sorted(c.execute("SELECT pipeline, state, event_type, error, events FROM posthorn.parked_counts").fetchall(), key=str) == [
        ("p", "dead", "Placed", "too large", 2), ("p", "discarded", "Paid", "too large", 1), ("p", "parked", "Placed", None, 1),
        ("p", "skipped", "Placed", "skipped", 1)]
    assert c.execute("SELECT error, parked, dead, discarded, keys, event_types FROM posthorn.failure_reasons").fetchall() == [
        ("too large", 0, 2, 1, 3, ["Paid", "Placed"])]


def test_publish_latency(c):
    publish(c, kind="Slow", created_at="2020-01-01")
    publish(c, kind="Quick", count=100)
    make_tick(c)
    publish(c, kind="Unseen")
    got = {r[0]: r[1:] for r in c.execute(
        "SELECT event_type, events, p50 < '5 seconds', p99 >= p50, unknown, p50 > '1 year' FROM posthorn.publish_latency").fetchall()}
    assert got == {"Slow": (1, False, True, 0, True), "Quick": (100, True, True, 0, False), "Unseen": (1, None, None, 1, None)}


def test_oldest_unsettled_and_stuck(c):
    positions = publish(c, "a", count=3)
    make_tick(c)
    checkpoint(c, 0, positions[0])
    dead = park(c, "b", state="dead", error="too large")
    park(c, "b"), park(c, "b")
    oldest = {place: id for place, id in c.execute("SELECT place, event_id FROM posthorn.oldest_unsettled").fetchall()}
    assert oldest["log"] == one(c, "SELECT event_id FROM posthorn.outbox WHERE position = %s", positions[1])
    assert oldest["dead"] == one(c, "SELECT event_id FROM posthorn.outbox WHERE position = %s", dead)
    assert set(oldest) == {"log", "dead", "parked"}

    def stuck():
        return sorted(c.execute("SELECT what, key, waiting, detail FROM posthorn.stuck").fetchall())
    assert stuck() == [("dead head", "b", 2, "too large"), ("nobody owns it", None, None, None)]
    lease(c, "clock_timestamp() + interval '1 hour'")
    assert stuck() == [("dead head", "b", 2, "too large")]
    c.execute("UPDATE posthorn.checkpoint SET updated_at = now() - interval '2 minutes'")
    assert len(stuck()) == 1, "its events are younger"
    c.execute("UPDATE posthorn.outbox SET created_at = now() - interval '2 minutes'")
    c.execute("UPDATE posthorn.pipeline SET paused_at = now(), paused_by = 'ada', paused_reason = 'night'")
    assert stuck()[1] == ("stands still", None, None, "paused by ada: night")
    tick, snapshot = make_tick(c, 1)
    c.execute("UPDATE posthorn.checkpoint SET tick = %s, position = 0, snapshot = %s, base_snapshot = %s", [tick, snapshot, snapshot])
    assert len(stuck()) == 1 and "log" not in {p for (p,) in c.execute("SELECT place FROM posthorn.oldest_unsettled").fetchall()}


def test_history_and_correlation(c):
    mine = publish(c, "a", count=2)
    publish(c, "b")
    dead = park(c, "a", state="dead")
    c.execute("INSERT INTO posthorn.pipeline VALUES ('q')")
    gone = park(c, "a", state="discarded", pipeline="q")
    c.execute("DELETE FROM posthorn.outbox WHERE position = %s", [gone])  # as when its bucket was cleared
    got = c.execute("SELECT position, states, payload FROM posthorn.history('order', 'a')").fetchall()
    assert got == [(mine[0], {}, {"i": 1}), (mine[1], {}, {"i": 2}), (dead, {"p": "dead"}, {"i": 1}), (gone, {"q": "discarded"}, {"i": 1})]
    assert one(c, "SELECT count(*) FROM posthorn.correlation('c-1')") == 5
    assert one(c, "SELECT count(*) FROM posthorn.correlation('c-1', 'trace')") == 0
    assert one(c, "SELECT count(*) FROM posthorn.correlation(NULL)") == 0
    assert one(c, "SELECT count(*) FROM posthorn.history('order', NULL)") == 0


def test_rights(db, c):
    """The relay sees counts and rows; the acts are granted to an operator one by one."""
    posthorn("init", db.dsn(), "--roles")
    functions = ["redrive(text, text, text, text, text, timestamptz, text, uuid, numeric, boolean)",
                 "discard(text, text, text, text, text, timestamptz, text, uuid, boolean)", "pause(text, text, text)",
                 "resume(text, text, text)", "reshard(text, int, text, text)", "history(text, text)", "correlation(text, text)"]
    name = f"operator_{db.name}"
    c.execute(f"CREATE ROLE {name} LOGIN")
    try:
        c.execute(f"GRANT posthorn_relay TO {name}")
        park(c, "a", state="dead")
        for function in functions:
            assert not one(c, "SELECT has_function_privilege('posthorn_relay', 'posthorn.' || %s, 'EXECUTE')", function)
        assert answer("dead", "list", db.dsn(name))["events"]
        assert answer("status", db.dsn(name))["pipelines"] == []
        assert "permission denied" in posthorn("dead", "discard", db.dsn(name), "--all", status=78).stderr
        for function in functions:
            c.execute(f"GRANT EXECUTE ON FUNCTION posthorn.{function} TO {name}")
        assert posthorn("dead", "discard", db.dsn(name), "--all").stdout == "discarded 1 event\n"
        assert audit(c)[0][3]["login"] == name
        posthorn("pause", db.dsn(name), "p")
        posthorn("reshard", db.dsn(name), "p", "--shards", "2")
    finally:
        c.execute(f"DROP OWNED BY {name}")
        c.execute(f"DROP ROLE {name}")
