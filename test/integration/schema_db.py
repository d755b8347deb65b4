"""Posthorn's schema in a test's own database, and the few things its tests share.

    @pytest.fixture
    def db(each_database):
        return install(each_database)
"""

from servers import ROOT, until

SQL = ROOT / "sql" / "postgres"

# What became visible between two ticks: design.md section 5, word for word. A reader's only query.
BETWEEN = """
    SELECT event_id, position, aggregate_id FROM posthorn.outbox
     WHERE ((xid >= pg_snapshot_xmax(%(prev)s::pg_snapshot) AND xid < pg_snapshot_xmax(%(cur)s::pg_snapshot))
            OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(prev)s::pg_snapshot))))
       AND pg_visible_in_snapshot(xid, %(cur)s::pg_snapshot)
       AND NOT pg_visible_in_snapshot(xid, %(prev)s::pg_snapshot)
       AND position > %(last)s ORDER BY position"""
EARLIEST = "3:3:"


MIGRATIONS = sorted(SQL.glob("0*.sql"))
VERSION = len(MIGRATIONS)


def install(database, version=VERSION):
    """As `posthorn init` does: all files are one transaction, and hold no BEGIN of their own."""
    with database.connect() as conn, conn.transaction():
        conn.execute("SET LOCAL search_path = pg_catalog")
        for path in MIGRATIONS[:version]:
            conn.execute(path.read_text())
        conn.execute("UPDATE posthorn.meta SET schema_version = %s", [version])
    return database


def one(conn, sql, *args):
    """The first row; its value alone where there is only one column."""
    row = conn.execute(sql, args or None).fetchone()
    return row[0] if row is not None and len(row) == 1 else row


def make_tick(conn, known=0):
    return one(conn, "SELECT tick, snapshot FROM posthorn.make_tick(%s)", known)


def between(conn, prev, cur, last=0):
    return conn.execute(BETWEEN, dict(prev=prev, cur=cur, last=last)).fetchall()


def waits_for_lock(watch, conn):
    pid = conn.info.backend_pid
    until(lambda: one(watch, "SELECT count(*) FROM pg_locks WHERE pid = %s AND NOT granted", pid),
          what="a session to wait for a lock")
