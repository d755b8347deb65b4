"""Parked rows and leases of a PostgreSQL pipeline, by the relay's own statements, run as it runs them."""

import json
import re

from schema_db import SQL, one

NOW = "clock_timestamp()"


def statement(name):
    """A statement of the relay as psycopg wants it: $1 is %(p1)s."""
    return re.sub(r"\$(\d)", r"%(p\1)s", (SQL / f"{name}.sql").read_text())


def ask(conn, name, *args, explain=""):
    return conn.execute(explain + statement(name), {f"p{n}": a for n, a in enumerate(args, 1)}, prepare=False)


def lease(conn, pipeline="p", shard=0, shards=1, owner="host:1", instance="a", lease_ms=10000):
    """The epoch, or None when it is another's."""
    row = ask(conn, "q_lease_claim", pipeline, shard, shards, owner, instance, lease_ms, 86400000).fetchone()
    return row and row[0]


def publish(conn, keys, deliver_after=None, **columns):
    """One event a key, in this order; their positions."""
    names, values = "".join(f", {n}" for n in columns), "".join(", %s" for _ in columns)
    return [one(conn, "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, deliver_after"
                      f"{names}) VALUES ('order', %s, 'Placed', %s, {deliver_after or 'NULL'}{values})"
                      " RETURNING position", k, json.dumps({"key": k}), *columns.values()) for k in keys]


def checkpoint(conn, position=10**9, epoch=1, pipeline="p", shard=0, tick=1):
    conn.execute("INSERT INTO posthorn.checkpoint (pipeline, shard, tick, position, timeline, epoch, snapshot,"
                 " base_snapshot, start_snapshot) VALUES (%s, %s, %s, %s, 1, %s, '3:3:', '3:3:', '3:3:')"
                 " ON CONFLICT (pipeline, shard) DO UPDATE SET tick = excluded.tick, position = excluded.position,"
                 " epoch = excluded.epoch", [pipeline, shard, tick, position, epoch])


def change(act, position, key=None, state="parked", wait_ms=None, attempts=1, passed=False, error="no such topic", tick=1):
    return {"act": act, "state": state, "tick": tick, "position": position, "key": key, "attempts": attempts,
            "wait_ms": wait_ms, "passed": passed, "error": error}


def park(conn, *changes, epoch=1, pipeline="p", shard=0):
    return ask(conn, "q_park", pipeline, shard, epoch, json.dumps(changes)).fetchone()[0]


def head(position, key, wait_ms=0, **more):
    return change("put", position, key, wait_ms=wait_ms, **more)


def behind(position, key, **more):
    return change("put", position, key, attempts=0, error=None, **more)


def parked(conn, key="%"):
    """[(position, state, attempts, seconds until the next attempt or None)] in order of position."""
    return conn.execute("SELECT position, state, attempts, round(extract(epoch FROM next_attempt_at - clock_timestamp()))::int"
                        " FROM posthorn.parked WHERE key LIKE %s OR key IS NULL ORDER BY position", [key]).fetchall()


def timed(conn):
    """The positions whose rows have a time for their next attempt."""
    return [r[0] for r in conn.execute("SELECT position FROM posthorn.parked WHERE next_attempt_at IS NOT NULL"
                                       " ORDER BY position").fetchall()]


def due(conn, events=1000, size=1 << 20, pipeline="p", shard=0):
    """(acts, ms until the next, the rows as dicts), as the relay asks."""
    got = ask(conn, "q_due", pipeline, shard, events, size)
    names, rows = [d.name for d in got.description], got.fetchall()
    assert rows, "acts and the wait come with at least one row"
    found = [dict(zip(names[2:], r[2:])) for r in rows]
    return rows[0][0], rows[0][1], [f for f in found if f["position"] is not None]


def positions(conn, **limits):
    return [r["position"] for r in due(conn, **limits)[2]]


def held(conn, pipeline="p", shard=0):
    """{key: (rows, the position of its gap or None)}"""
    return {r[0]: (r[1], r[4]) for r in ask(conn, "q_held", pipeline, shard).fetchall()}


def totals(conn, pipeline="p", shard=0):
    return ask(conn, "q_held_totals", pipeline, shard).fetchone()


QUEUES = """
    SELECT key, array_agg(position ORDER BY queue_tick, queue_position, deliver_after NULLS FIRST, position),
           array_agg(state = 'parked' AND next_attempt_at IS NOT NULL
                     ORDER BY queue_tick, queue_position, deliver_after NULLS FIRST, position),
           array_agg(state ORDER BY queue_tick, queue_position, deliver_after NULLS FIRST, position)
      FROM posthorn.parked WHERE key IS NOT NULL AND (state = 'parked' OR state = 'dead' AND NOT passed) GROUP BY key"""


def queues(conn):
    """{key: its positions in order}; each queue's head has a time if it is parked, and nobody else has."""
    rows = conn.execute(QUEUES).fetchall()
    for key, at, has_time, states in rows:
        assert has_time == [states[0] == "parked"] + [False] * (len(at) - 1), (key, at, has_time, states)
    return {key: at for key, at, _, _ in rows}
