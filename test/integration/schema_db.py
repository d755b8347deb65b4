"""A fresh database with Posthorn's schema for one test, and the few things its tests share.

A server is what the fixtures pg15 and pg18 give: all that is asked of it is dsn(dbname), as a superuser.
"""

import contextlib
import time
import uuid
from pathlib import Path

import psycopg

SQL = Path(__file__).resolve().parents[2] / "sql" / "postgres"

# What became visible between two ticks: design.md section 5, word for word. A reader's only query.
BETWEEN = """
    SELECT event_id, position, aggregate_id FROM posthorn.outbox
     WHERE ((xid >= pg_snapshot_xmax(%(prev)s::pg_snapshot) AND xid < pg_snapshot_xmax(%(cur)s::pg_snapshot))
            OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(prev)s::pg_snapshot))))
       AND pg_visible_in_snapshot(xid, %(cur)s::pg_snapshot)
       AND NOT pg_visible_in_snapshot(xid, %(prev)s::pg_snapshot)
       AND position > %(last)s ORDER BY position"""
EARLIEST = "3:3:"


class Database:
    def __init__(self, server, name):
        self.server, self.name = server, name

    def dsn(self):
        return self.server.dsn(self.name)

    def connect(self, **kwargs):
        return psycopg.connect(self.dsn(), autocommit=True, **kwargs)


@contextlib.contextmanager
def make_database(server, schema=True):
    name = "schema_" + uuid.uuid4().hex[:12]
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        try:
            db = Database(server, name)
            if schema:
                with db.connect() as c:
                    install(c)
            yield db
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def install(conn):
    """As `posthorn init` does: the file is one transaction, and holds no BEGIN of its own."""
    with conn.transaction():
        conn.execute("SET LOCAL search_path = pg_catalog")
        conn.execute((SQL / "0001_init.sql").read_text())


def one(conn, sql, *args):
    """The first row; its value alone where there is only one column."""
    row = conn.execute(sql, args or None).fetchone()
    return row[0] if row is not None and len(row) == 1 else row


def make_tick(conn, known=0):
    return one(conn, "SELECT tick, snapshot FROM posthorn.make_tick(%s)", known)


def between(conn, prev, cur, last=0):
    return conn.execute(BETWEEN, dict(prev=prev, cur=cur, last=last)).fetchall()


def until(condition, seconds=20):
    """Waits for a condition, and fails where it does not come true."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return got


def waits_for_lock(watch, conn):
    pid = conn.info.backend_pid
    until(lambda: one(watch, "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid))
