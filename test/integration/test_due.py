"""What is due in PostgreSQL, in which order, within which limits, and what a look costs beside 100,000 other rows."""

import json

import pytest

from parking_rows import NOW, ask, behind, change, checkpoint, due, head, held, lease, park, parked, positions, publish, totals
from schema_db import install, one


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        lease(conn)
        yield conn


# -- what is due ----------------------------------------------------------------------------------


def test_due_says_when_the_next_row_comes(c):
    assert due(c) == (0, None, [])
    a, b = publish(c, ["1", "2"])
    s, = publish(c, ["3"], deliver_after=f"{NOW} + interval '5 s'")
    checkpoint(c)
    park(c, head(a, "1", 60000), head(b, "2", 30000))
    assert 29000 < due(c)[1] <= 30000
    park(c, change("put", s, "3", state="scheduled"))
    assert 4000 < due(c)[1] <= 5000
    park(c, change("failed", b, state="dead"), change("sent", s), change("failed", a, wait_ms=0))
    assert due(c)[1] == 0 and positions(c) == [a]
    park(c, change("failed", a, state="dead"))
    assert due(c) == (0, None, [])
    c.execute("UPDATE posthorn.pipeline SET acts = 7")
    assert due(c)[0] == 7 == totals(c)[0]


def test_due_tells_all_of_an_event(c):
    at, = publish(c, ["1"], headers='{"h": "\\u00e4"}')
    raw, = publish(c, ["2"], deliver_after="'2020-01-02 03:04:05.678901Z'")
    c.execute("UPDATE posthorn.outbox SET payload = NULL, payload_bytes = '\\x00ff', content_type = 'x/y' WHERE position = %s", [raw])
    checkpoint(c)
    park(c, head(at, "1", attempts=4), head(raw, "2"))
    first, second = due(c)[2]
    assert first["key"] == "1" and first["state"] == "parked" and first["attempts"] == 4 and not first["passed"]
    for row in (first, second):
        want = one(c, "SELECT event_id, aggregate_type, aggregate_id, event_type, headers::text, payload::text, payload_bytes,"
                      " content_type, (extract(epoch FROM created_at) * 1000000)::bigint,"
                      " (extract(epoch FROM deliver_after) * 1000000)::bigint FROM posthorn.outbox WHERE position = %s", row["position"])
        assert tuple(row[n] for n in ("event_id", "aggregate_type", "aggregate_id", "event_type", "headers", "payload",
                                      "payload_bytes", "content_type", "created_us", "deliver_after_us")) == want
    assert second["deliver_after_us"] == 1577934245678901


@pytest.mark.parametrize("column", ["created_at", "deliver_after"])
@pytest.mark.parametrize("value", ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "4713-01-01 00:00:00 BC"])
def test_a_strange_time_of_one_event_stops_no_other(c, column, value):
    at, = publish(c, ["1"])
    c.execute(f"UPDATE posthorn.outbox SET {column} = %s::timestamptz", [value])
    other, = publish(c, ["2"])
    checkpoint(c)
    park(c, head(at, "1"), head(other, "2"))
    assert sorted(positions(c)) == [at, other] and due(c)[1] == 0
    if column == "deliver_after":
        park(c, change("sent", at))
        park(c, change("put", at, "1", state="scheduled"))
        park(c, change("sent", other))
        assert due(c)[1] is not None and due(c)[1] >= 0


def test_due_waits_for_the_stored_checkpoint(c):
    a, b, d = publish(c, ["1", "1", "2"])
    checkpoint(c, position=0, tick=1)
    park(c, head(a, "1"), behind(b, "1"), head(d, "2"))
    assert positions(c) == [] and due(c)[1] == 0
    checkpoint(c, position=a)
    assert positions(c) == [a]
    checkpoint(c, position=b)
    assert positions(c) == [a, b]
    checkpoint(c, position=0, tick=2)  # a later tick has all of an earlier one
    assert positions(c) == [a, b, d]


def test_due_goes_by_time_and_key_within_its_limits(c):
    at = publish(c, ["1", "2", "1", "2", "1", "3"])
    late, = publish(c, ["3"], deliver_after=f"{NOW} - interval '1 hour'")
    checkpoint(c)
    park(c, head(at[1], "2"))
    park(c, head(at[0], "1"), behind(at[2], "1"), behind(at[3], "2"), behind(at[4], "1"), change("put", at[5], "3", state="dead"),
         change("put", late, "3", state="scheduled"))
    order = [late, at[1], at[3], at[0], at[2], at[4]]
    assert positions(c) == order
    for n in range(1, 6):
        assert positions(c, events=n) == order[:n]
    assert positions(c, size=1) == order[:1]
    one_row = one(c, "SELECT max(octet_length(headers::text) + octet_length(payload::text)) FROM posthorn.parked")
    assert positions(c, size=3 * one_row) == order[:3]
    assert due(c)[2] == due(c)[2], "asking changes nothing"


def test_due_stops_at_a_dead_row(c):
    at = publish(c, ["1"] * 4)
    checkpoint(c)
    park(c, head(at[0], "1"), behind(at[1], "1"), *[behind(p, "1") for p in at[2:]])
    c.execute("UPDATE posthorn.parked SET state = 'dead' WHERE position = %s", [at[2]])
    assert positions(c) == at[:2]


# -- 100,000 rows ---------------------------------------------------------------------------------


MANY = 100000


def fill(conn, shape, rows=MANY):
    """Rows as park() leaves them; statistics are those of an empty table."""
    shapes = {  # key, state, next_attempt_at
        "scheduled": ("'k' || n %% 100", "scheduled", f"{NOW} + n * interval '1 second' + interval '1 minute'"),
        "waiting heads": ("'k' || n", "parked", f"{NOW} + n * interval '1 ms' + interval '1 minute'"),
        "dead keys": ("'k' || n", "dead", "NULL::timestamptz"),
        "behind one dead head": ("'k'", "parked", "NULL::timestamptz"),
        "behind a waiting head": ("'k'", "parked", f"CASE WHEN n = 1 THEN {NOW} + interval '1 minute' END"),
    }
    key, state, at = shapes[shape]
    conn.execute("INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, key, state, next_attempt_at,"
                 " xid, created_at, event_id, aggregate_type, aggregate_id, event_type, payload)"
                 f" SELECT 'p', 1, n, 1, n, {key}, '{state}', {at}, '3', now(), gen_random_uuid(), 'order', '1', 'Placed',"
                 "        jsonb_build_object('pad', repeat('x', 100)) FROM generate_series(1, %s) n", [rows])
    if shape == "behind one dead head":
        conn.execute("UPDATE posthorn.parked SET state = 'dead' WHERE position = 1")
    one(conn, "SELECT setval('posthorn.outbox_position_seq', %s)", rows)


EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "


def pages(answer):
    """How many pages an explained statement looked at, its functions included."""
    plan = answer.fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def cost(conn):
    """The pages of a look at what is due, once plans and caches are there."""
    due(conn)
    return pages(ask(conn, "q_due", "p", 0, 1000, 1 << 20, explain=EXPLAIN))


@pytest.mark.parametrize("shape", ["scheduled", "waiting heads", "dead keys", "behind one dead head", "behind a waiting head"])
def test_rows_that_are_not_due_cost_nothing(c, shape):
    checkpoint(c)
    fill(c, shape)
    for _ in ("no statistics", "statistics"):
        assert cost(c) <= 40
        c.execute("ANALYZE posthorn.parked")
    assert positions(c) == []


def test_many_rows_that_are_due_are_read_once(c):
    """1,000 keys with 100 rows each, all due: a look reads about what it returns."""
    checkpoint(c)
    fill(c, "dead keys")
    c.execute("UPDATE posthorn.parked SET key = 'k' || position % 1000, state = 'parked',"
              " next_attempt_at = CASE WHEN position <= 1000 THEN now() END")
    c.execute("VACUUM posthorn.parked")
    for _ in ("no statistics", "statistics"):
        assert len(positions(c)) == 1000
        assert cost(c) < 4000, "100,000 rows are 100,000 pages' looks"
        c.execute("ANALYZE posthorn.parked")


@pytest.mark.parametrize("shape", ["waiting heads", "behind a waiting head", "dead keys"])
def test_parking_beside_many_rows_touches_few(c, shape):
    checkpoint(c)
    fill(c, shape)
    keys = ["k", "k2", "new"] * 100
    at = publish(c, keys)
    puts = [change("put", p, k) for p, k in zip(at, keys)]
    assert pages(ask(c, "q_park", "p", 0, 1, json.dumps(puts), explain=EXPLAIN)) < 300 * 60
    outcomes = [change("sent", p) for p in at[:100]] + [change("failed", p, wait_ms=1) for p in at[100:200]]
    outcomes += [change("told", p) for p in at[200:]]
    assert pages(ask(c, "q_park", "p", 0, 1, json.dumps(outcomes), explain=EXPLAIN)) < 300 * 60


def test_held_tells_many_keys(c):
    checkpoint(c)
    fill(c, "dead keys")
    assert len(held(c)) == MANY and totals(c) == (0, 0, MANY, 0)
