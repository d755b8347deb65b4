"""park() in PostgreSQL: what each change does to the rows of a pipeline, who excludes whom, erase and forget.

What a key's queue is, and which row of it has a time, is in src/core/park.h; queues() looks after both.
"""

import collections
import random
import threading

import pytest
from psycopg import errors

from parking_rows import NOW, ask, behind, change, checkpoint, due, head, held, lease, park, parked, positions, publish, queues, timed, totals
from schema_db import SQL, install, one, waits_for_lock


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        lease(conn)
        yield conn


# -- what each change does ------------------------------------------------------------------------


def test_put_copies_the_row_of_the_log(c):
    at, = publish(c, ["1"], deliver_after="'2020-01-01'", headers='{"h": "1"}', content_type="text/plain")
    checkpoint(c)
    assert park(c, head(at, "1", 90000)) is True
    same = "xid, created_at, event_id, aggregate_type, aggregate_id, event_type, headers, payload::text, payload_bytes, content_type, deliver_after"
    assert one(c, f"SELECT {same} FROM posthorn.parked") == one(c, f"SELECT {same} FROM posthorn.outbox")
    assert one(c, "SELECT pipeline, shard, tick, position, queue_tick, queue_position, key, last_error, passed, gap_due,"
                  " redriven_at, first_failed_at > now() - interval '1 minute' FROM posthorn.parked") == (
        "p", 0, 1, at, 1, at, "1", "no such topic", False, False, None, True)
    assert parked(c) == [(at, "parked", 1, 90)]


def test_put_behind_others_of_its_key_waits_for_them(c):
    a, b, other = publish(c, ["1", "1", "2"])
    checkpoint(c)
    park(c, head(a, "1", 60000))
    park(c, behind(b, "1"), behind(other, "2"))
    assert parked(c) == [(a, "parked", 1, 60), (b, "parked", 0, None), (other, "parked", 0, 0)]
    assert one(c, "SELECT last_error IS NULL FROM posthorn.parked WHERE position = %s", b)
    assert queues(c) == {"1": [a, b], "2": [other]}


def test_put_again_changes_nothing(c):
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, head(a, "1", 60000, attempts=3), behind(b, "1"))
    before = c.execute("SELECT * FROM posthorn.parked ORDER BY position").fetchall()
    assert park(c, head(a, "1", 1, attempts=1), behind(b, "1"))
    assert c.execute("SELECT * FROM posthorn.parked ORDER BY position").fetchall() == before
    c.execute("TRUNCATE posthorn.outbox")  # also when the log's own row is gone meanwhile
    assert park(c, head(a, "1"))


def test_put_of_an_event_that_is_nowhere_fails_as_a_whole(c):
    at, = publish(c, ["1"])
    checkpoint(c)
    with pytest.raises(errors.NoDataFound, match="position 4711"):
        park(c, head(at, "1"), head(4711, "1"))
    assert parked(c) == []


def test_put_dead_stops_its_key_or_lets_it_pass(c):
    a, b, c1, d = publish(c, ["hold", "hold", "skip", "skip"])
    checkpoint(c)
    park(c, change("put", a, "hold", state="dead"), behind(b, "hold"),
         change("put", c1, "skip", state="dead", passed=True), behind(d, "skip"))
    assert timed(c) == [d]
    assert held(c) == {"hold": (2, None), "skip": (1, c1)}
    assert positions(c) == [d]


def test_put_scheduled_waits_for_its_time_alone(c):
    a, = publish(c, ["1"], deliver_after=f"{NOW} + interval '30 s'")
    b, = publish(c, ["1"])
    checkpoint(c)
    park(c, change("put", a, "1", state="scheduled", attempts=0, error=None))
    assert parked(c) == [(a, "scheduled", 0, 30)] and held(c) == {}
    park(c, behind(b, "1"))  # no row is in front of it
    assert timed(c) == [a, b] and positions(c) == [b]


def test_sent_removes_the_row_and_the_next_comes_due(c):
    a, b, d = publish(c, ["1"] * 3)
    checkpoint(c)
    park(c, head(a, "1", 60000), behind(b, "1"), behind(d, "1"))
    park(c, change("sent", a))
    assert parked(c) == [(b, "parked", 0, 0), (d, "parked", 0, None)]
    park(c, change("sent", b), change("sent", d))
    assert parked(c) == []
    assert park(c, change("sent", d))  # told twice


def test_failed_waits_longer_dies_or_passes(c):
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, head(a, "1", 1000), behind(b, "1"))
    park(c, change("failed", a, wait_ms=300000, attempts=2, error="timed out"))
    assert parked(c) == [(a, "parked", 2, 300), (b, "parked", 0, None)]
    assert one(c, "SELECT last_error FROM posthorn.parked WHERE position = %s", a) == "timed out"
    park(c, change("failed", a, state="dead", attempts=3))
    assert parked(c) == [(a, "dead", 3, None), (b, "parked", 0, None)] and held(c) == {"1": (2, None)}
    park(c, change("failed", a, state="dead", attempts=3, passed=True))
    assert parked(c) == [(a, "dead", 3, None), (b, "parked", 0, 0)] and held(c) == {"1": (1, a)}


def test_failed_head_and_sent_follower_of_one_batch(c):
    """What a due batch with on_dead skip gives back: the head is passed, the next was delivered, the third failed."""
    a, b, d, e = publish(c, ["1"] * 4)
    checkpoint(c)
    park(c, head(a, "1"), *[behind(p, "1") for p in (b, d, e)])
    park(c, change("failed", a, state="dead", passed=True), change("sent", b), change("failed", d, wait_ms=60000))
    assert parked(c) == [(a, "dead", 1, None), (d, "parked", 1, 60), (e, "parked", 0, None)]
    assert queues(c) == {"1": [d, e]}


def test_told_ends_the_gap(c):
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, *[change("put", p, "1", state="dead", passed=True) for p in (a, b)])
    assert held(c) == {"1": (0, b)}  # the newest gap
    park(c, change("told", b))
    assert held(c) == {"1": (0, a)}
    park(c, change("told", a))
    assert held(c) == {} and totals(c) == (0, 0, 2, 0)


def test_a_scheduled_row_that_fails_joins_its_keys_queue(c):
    late, = publish(c, ["1"], deliver_after=NOW)
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, change("put", late, "1", state="scheduled"))
    park(c, head(a, "1", 1000), behind(b, "1"))  # while it was under way
    park(c, change("failed", late, wait_ms=60000))
    assert queues(c) == {"1": [late, a, b]}
    park(c, change("sent", late))
    assert queues(c) == {"1": [a, b]} and timed(c) == [a]


def test_a_scheduled_row_whose_key_waits_goes_to_its_end(c):
    later, sooner = (publish(c, ["1"], deliver_after=f"{NOW} - interval '{s} s'")[0] for s in (1, 2))
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, *[change("put", p, "1", state="scheduled") for p in (later, sooner)])
    park(c, head(a, "1", 60000), behind(b, "1"))
    assert positions(c) == [sooner, later]
    park(c, change("queue", sooner), change("queue", later))
    assert queues(c) == {"1": [a, b, sooner, later]} and positions(c) == []
    after, = publish(c, ["1"])
    park(c, behind(after, "1"))
    assert queues(c) == {"1": [a, b, sooner, later, after]}


def test_a_scheduled_row_whose_queue_is_empty_comes_due(c):
    at, = publish(c, ["1"], deliver_after=NOW)
    checkpoint(c)
    park(c, change("put", at, "1", state="scheduled"))
    park(c, change("queue", at))
    assert parked(c) == [(at, "parked", 1, 0)] and queues(c) == {"1": [at]}


def test_queue_behind_a_put_of_the_same_list(c):
    late, = publish(c, ["1"], deliver_after=NOW)
    a, = publish(c, ["1"])
    checkpoint(c)
    park(c, change("put", late, "1", state="scheduled"))
    park(c, head(a, "1", 60000), change("queue", late))
    assert queues(c) == {"1": [a, late]} and timed(c) == [a]


def test_rows_without_a_key_are_alone(c):
    a, b, d = publish(c, ["1", "1", "1"])
    s, = publish(c, ["1"], deliver_after=NOW)
    checkpoint(c)
    park(c, head(a, None, 60000), change("put", b, None), change("put", d, None, state="dead"),
         change("put", s, None, state="scheduled"))
    assert parked(c) == [(a, "parked", 1, 60), (b, "parked", 1, 0), (d, "dead", 1, None), (s, "scheduled", 1, 0)]
    assert held(c) == {} and positions(c) == [b, s] or positions(c) == [s, b]
    park(c, change("queue", s), change("sent", b))
    assert parked(c)[-1] == (s, "parked", 1, 0) and positions(c) == [s]


def test_keys_that_are_long_hostile_or_alike(c):
    keys = ["k" * 100000, "'; DROP SCHEMA posthorn; --", '"\\\u2028\x01', "Ä", "A\u0308", " ", "%", "null", ""]
    at = publish(c, keys[:-1] + ["x"])
    more = publish(c, keys[:-1] + ["x"])
    checkpoint(c)
    park(c, *[head(p, k, 60000) for p, k in zip(at, keys)])
    park(c, *[behind(p, k) for p, k in zip(more, keys)])
    assert queues(c) == {k: [p, q] for k, p, q in zip(keys, at, more)}
    park(c, *[change("sent", p) for p in at])
    assert queues(c) == {k: [q] for k, q in zip(keys, more)} and {r["key"] for r in due(c)[2]} == set(keys)


def test_pipelines_and_shards_do_not_meet(c):
    a, b = publish(c, ["1", "1"])
    for pipeline, shard in (("p", 0), ("p", 1), ("it's", 0)):
        lease(c, pipeline)
        checkpoint(c, pipeline=pipeline, shard=shard)
        park(c, head(a, "1", 60000), behind(b, "1"), pipeline=pipeline, shard=shard)
    park(c, change("sent", a), pipeline="it's")
    assert one(c, "SELECT count(*) FROM posthorn.parked WHERE next_attempt_at < now() + interval '1 s'") == 1
    assert [held(c, *p) for p in (("p", 0), ("p", 1), ("it's", 0))] == [{"1": (2, None)}, {"1": (2, None)}, {"1": (1, None)}]
    assert positions(c, pipeline="it's") == [b] and positions(c) == positions(c, shard=1) == []


@pytest.mark.parametrize("seed", range(6))
def test_queues_stay_right_whatever_becomes_of_their_rows(c, seed):
    """Lists of changes as the core makes them, from one seed, against a model; those of one list go to their
    queues' ends behind what the list puts there."""
    rng, keys = random.Random(seed), [f"k{n}" for n in range(4)] + [None]
    checkpoint(c)
    rows, scheduled = collections.defaultdict(list), {}  # key: its queue; position: key

    def puts():
        for _ in range(rng.randrange(4)):
            key, wait = rng.choice(keys), rng.choice([0, 60000])
            if rng.random() < 0.25:
                at, = publish(c, [key or "none"], deliver_after=NOW)
                scheduled[at] = key
                yield change("put", at, key, state="scheduled")
                continue
            at, = publish(c, [key or "none"])
            dead, passed = rng.random() < 0.15, rng.random() < 0.5
            if dead and passed:
                yield change("put", at, key, state="dead", passed=True)
                continue
            if dead and rows[key]:
                dead = False
            if key is not None:
                rows[key].append(at)
            yield (change("put", at, key, state="dead") if dead else
                   behind(at, key) if key and rows[key][0] != at else head(at, key, wait))

    def outcomes():
        for row in due(c, events=rng.randrange(1, 8))[2]:
            at, key = row["position"], row["key"]
            fate = rng.random()
            if row["state"] == "scheduled":
                del scheduled[at]
                if rows[key] and key is not None:
                    queued.append((key, at))
                    yield change("queue", at)
                elif fate < 0.5:
                    yield change("sent", at)
                else:
                    rows[key].insert(0, at) if key else None
                    yield change("failed", at, wait_ms=0)
            elif key is None:
                yield change("sent", at) if fate < 0.5 else change("failed", at, wait_ms=0)
            elif row["state"] == "dead" or rows[key][0] != at:
                continue  # the one in front of it failed, so it was not submitted
            elif fate < 0.6:
                rows[key].remove(at)
                yield change("sent", at)
            elif fate < 0.8:
                yield change("failed", at, wait_ms=0)
                rows[key].insert(0, rows[key].pop(0))
                return
            else:
                rows[key].remove(at)
                yield change("failed", at, state="dead", passed=True)

    for _ in range(60):
        queued = []
        changes = [*outcomes(), *puts()]
        for key, at in queued:
            rows[key].append(at)
        assert park(c, *changes)
        assert queues(c) == {k: r for k, r in rows.items() if r and k is not None}


# -- who may, and who excludes whom ---------------------------------------------------------------


def test_an_older_epoch_changes_nothing(c):
    a, b = publish(c, ["1", "1"])
    checkpoint(c, epoch=5)
    assert park(c, head(a, "1"), epoch=5) is True
    assert park(c, change("sent", a), head(b, "1"), epoch=4) is False
    assert parked(c) == [(a, "parked", 1, 0)]
    assert park(c, change("sent", a), epoch=6) is True
    c.execute("DELETE FROM posthorn.checkpoint")  # forgotten
    assert park(c, head(b, "1"), epoch=9) is False and parked(c) == []


def test_an_epoch_claimed_while_park_waits_fences_it(db, c):
    at, = publish(c, ["1"])
    checkpoint(c)
    with db.connect() as newer, db.connect() as late:
        newer.execute("BEGIN")
        ask(newer, "q_checkpoint_claim", "p", 0, 2)
        said = []
        going = threading.Thread(target=lambda: said.append(park(late, head(at, "1"))))
        going.start()
        waits_for_lock(c, late)
        newer.execute("COMMIT")
        going.join(20)
    assert said == [False] and parked(c) == []


def test_park_waits_for_a_person_and_sees_what_was_done(db, c):
    """A head is discarded while the follower's put waits: the follower must come due, not wait for it."""
    a, b = publish(c, ["1", "1"])
    checkpoint(c)
    park(c, change("put", a, "1", state="dead"))
    with db.connect() as person, db.connect() as relay:
        person.execute("BEGIN")
        person.execute("SELECT FROM posthorn.pipeline WHERE pipeline = 'p' FOR UPDATE")
        person.execute("UPDATE posthorn.parked SET state = 'discarded' WHERE position = %s", [a])
        going = threading.Thread(target=lambda: park(relay, behind(b, "1")))
        going.start()
        waits_for_lock(c, relay)
        person.execute("COMMIT")
        going.join(20)
    assert timed(c) == [b] == positions(c)


def test_park_of_one_pipeline_waits_for_no_other(db, c):
    at, = publish(c, ["1"])
    checkpoint(c)
    lease(c, "q")
    with db.connect() as person:
        person.execute("BEGIN")
        person.execute("SELECT FROM posthorn.pipeline WHERE pipeline = 'q' FOR UPDATE")
        c.execute("SET lock_timeout = '5s'")
        assert park(c, head(at, "1"))


def test_the_relays_role_may_do_all_of_it(db, c):
    c.execute((SQL / "roles.sql").read_text())
    a, b = publish(c, ["1", "1"])
    s, = publish(c, ["2"], deliver_after=NOW)
    checkpoint(c)
    c.execute("SET ROLE posthorn_relay")
    park(c, head(a, "1"), behind(b, "1"), change("put", s, "2", state="scheduled"))
    assert sorted(positions(c)) == [a, b, s] and held(c) == {"1": (2, None)} and totals(c) == (0, 2, 0, 1)
    park(c, change("sent", a), change("failed", s, wait_ms=0), change("told", b))
    assert lease(c, shard=1, shards=2) == 1 and lease(c, shard=1, shards=2) == 2


# -- erase and forget -----------------------------------------------------------------------------


def test_erase_covers_parked_rows_and_keeps_their_places(c):
    a, b = publish(c, ["1", "1"], headers='{"mail": "ada"}')
    checkpoint(c)
    park(c, head(a, "1"), behind(b, "1"))
    assert one(c, "SELECT events, copies FROM posthorn.erase('order', '1', 'me')") == (2, 2)
    assert queues(c) == {"1": [a, b]}
    assert [(r["position"], r["payload"], r["headers"]) for r in due(c)[2]] == [(p, '{"erased": true}', "{}") for p in (a, b)]


def test_what_is_parked_behind_an_erasure_is_erased(db, c):
    at, = publish(c, ["1"])
    checkpoint(c)
    with db.connect() as eraser, db.connect() as relay:
        park(relay, change("sent", 1))  # its plans are made
        eraser.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        eraser.execute("SELECT posthorn.erase('order', '1', 'me')")
        going = threading.Thread(target=lambda: park(relay, head(at, "1")))
        going.start()
        waits_for_lock(c, relay)
        eraser.execute("COMMIT")
        going.join(20)
    assert one(c, "SELECT payload FROM posthorn.parked") == {"erased": True}


def test_erase_waits_for_what_is_being_parked(db, c):
    at, = publish(c, ["1"])
    checkpoint(c)
    with db.connect() as relay, db.connect() as eraser:
        relay.execute("BEGIN")
        park(relay, head(at, "1"))
        said = []
        going = threading.Thread(target=lambda: said.append(one(eraser, "SELECT copies FROM posthorn.erase('order', '1', 'me')")))
        going.start()
        waits_for_lock(c, eraser)
        relay.execute("COMMIT")
        going.join(20)
    assert said == [1] and one(c, "SELECT payload FROM posthorn.parked") == {"erased": True}


@pytest.mark.parametrize("state", ["parked", "dead", "scheduled"])
def test_forget_asks_before_it_loses_events(c, state):
    at, = publish(c, ["1"], deliver_after=f"{NOW} + interval '1 day'")
    checkpoint(c)
    lease(c, "q")
    park(c, change("put", at, "1", state=state))
    c.execute("UPDATE posthorn.lease SET expires_at = '-infinity'")
    c.execute("INSERT INTO posthorn.member VALUES ('p', 'a', now()), ('q', 'a', now())")
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="1 .*events"):
        c.execute("SELECT posthorn.forget('p', 'me')")
    assert one(c, "SELECT posthorn.forget('p', 'me', discard_parked => true)")
    for table in ("parked", "checkpoint", "lease", "member", "pipeline"):
        assert one(c, f"SELECT count(*) FROM posthorn.{table} WHERE pipeline = 'p'") == 0
    assert one(c, "SELECT count(*) FROM posthorn.pipeline") == one(c, "SELECT count(*) FROM posthorn.member") == 1
    assert one(c, "SELECT posthorn.forget('p', 'me')") is False


def test_forget_and_a_late_park_end_in_either_order(db, c):
    """An instance that slept through its lease parks while its pipeline is forgotten: neither is a deadlock's victim."""
    at, = publish(c, ["1"])
    checkpoint(c)
    c.execute("UPDATE posthorn.lease SET expires_at = '-infinity'")
    with db.connect() as late, db.connect() as person:
        late.execute("BEGIN")
        late.execute("SELECT FROM posthorn.pipeline WHERE pipeline = 'p' FOR UPDATE")  # park()'s first step
        said = []
        going = threading.Thread(target=lambda: said.append(one(person, "SELECT posthorn.forget('p', 'me', discard_parked => true)")))
        going.start()
        waits_for_lock(c, person)
        assert park(late, head(at, "1")) is True
        late.execute("COMMIT")
        going.join(20)
    assert said == [True] and one(c, "SELECT count(*) FROM posthorn.parked") == 0
    with db.connect() as late, db.connect() as person:
        lease(c)
        checkpoint(c)
        c.execute("UPDATE posthorn.lease SET expires_at = '-infinity'")
        person.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        assert one(person, "SELECT posthorn.forget('p', 'me')")
        said = []
        going = threading.Thread(target=lambda: said.append(park(late, head(at, "1"))))
        going.start()
        waits_for_lock(c, late)
        person.execute("COMMIT")
        going.join(20)
    assert said == [False] and one(c, "SELECT count(*) FROM posthorn.parked") == 0


# -- publish and the migration --------------------------------------------------------------------


def test_publish_takes_deliver_after(c):
    c.execute("SELECT posthorn.publish('order', '1', 'x', '{}', deliver_after => '2030-01-02')")
    assert one(c, "SELECT deliver_after = '2030-01-02' FROM posthorn.outbox")
    for never in ("infinity", "-infinity"):
        with pytest.raises(errors.InvalidParameterValue, match="deliver_after"):
            c.execute("SELECT posthorn.publish('order', '1', 'x', '{}', deliver_after => %s)", [never])


def test_rows_of_version_2_stay(each_database):
    install(each_database, 2)
    with each_database.connect() as c:
        publish(c, ["1", "2"])
        c.execute("INSERT INTO posthorn.parked (pipeline, tick, position, state, xid, created_at, event_id, aggregate_type,"
                  " aggregate_id, event_type) SELECT 'p', 3, position, CASE aggregate_id WHEN '1' THEN 'skipped' ELSE 'sent' END,"
                  " xid, created_at, event_id, aggregate_type, aggregate_id, event_type FROM posthorn.outbox")
        c.execute("INSERT INTO posthorn.lease (pipeline, owner, epoch, expires_at) VALUES ('q', 'me', 1, now())")
        c.execute((SQL / "0003_parking.sql").read_text())
        assert one(c, "SELECT position, state, queue_tick, queue_position, next_attempt_at FROM posthorn.parked") == (
            1, "skipped", 3, 1, None)
        assert c.execute("SELECT pipeline, shards, acts FROM posthorn.pipeline ORDER BY 1").fetchall() == [("p", 1, 0), ("q", 1, 0)]
        assert held(c) == {} and totals(c) == (0, 0, 0, 0)
