"""docs/postgres.md: every SQL block of the page runs, and what the page says of hosting and files that no other test shows."""

import re
from contextlib import contextmanager

import pytest

from command import answer, posthorn, tool
from ledger import read_ndjson
from schema_db import install, make_tick, one
from servers import ROOT, Postgres, until

PAGE = (ROOT / "docs" / "postgres.md").read_text()
BLOCKS = re.findall(r"^```sql\n(.*?)^```", PAGE, re.M | re.S)
LOGINS = sorted(set(re.findall(r"\bshop_\w+", " ".join(BLOCKS))))
EVENT = "SELECT posthorn.publish('customer', '4711', 'Placed', '{\"name\": \"Ada Lovelace\"}', '{\"mail\": \"ada\"}')"


@contextmanager
def logins(conn):
    try:
        for name in LOGINS:
            conn.execute(f"CREATE ROLE {name} LOGIN")
        yield
    finally:
        for name in LOGINS:
            conn.execute(f"DROP OWNED BY {name}")
            conn.execute(f"DROP ROLE {name}")


def statements(block):
    return [s for s in re.split(r";[^\n]*\n", block) if s.strip()]


def test_the_sql_of_the_page_runs(each_database, tmp_path):
    db = each_database
    posthorn("init", db.dsn(), "--roles")
    with db.connect() as c, logins(c):
        c.execute(EVENT)
        posthorn("run", "--from", db.dsn(), "--to", f"file:{tmp_path}/out", "--once")
        assert len(LOGINS) == 5 and len(BLOCKS) >= 8
        for block in BLOCKS:
            for statement in statements(block):
                c.execute(statement)
        assert one(c, "SELECT payload->>'erased' FROM posthorn.outbox") == "true"
        dsn = {name: db.dsn(user=name) for name in LOGINS}
        event = ["--aggregate-type", "a", "--aggregate-id", "b", "--event-type", "c", "--payload", "1"]
        posthorn("publish", dsn["shop_service"], *event)
        assert posthorn("erase", dsn["shop_privacy"], *event[:4], "--yes").stdout == "erased 1 row\n"
        posthorn("run", "--from", dsn["shop_relay"], "--to", f"file:{tmp_path}/out", "--once")
        assert "20 parts" in posthorn("cleanup", dsn["shop_operator"]).stdout
        for view in ("pending", "outbox_status", "checkpoint", "lease", "meta"):
            c.execute("SET ROLE shop_monitor")
            c.execute(f"SELECT * FROM posthorn.{view}")
            c.execute("RESET ROLE")


def test_tests_named_by_the_page_are_there():
    named = set(re.findall(r"`(test_\w+)\*?`", PAGE))
    text = "".join(p.read_text() for p in (ROOT / "test").rglob("test_*.py"))
    assert len(named) > 25
    assert [n for n in named if not re.search(rf"def {n}", text)] == []


def test_commands_through_pgbouncer(pgbouncer, database, tmp_path):
    install(database)
    through = pgbouncer.dsn(database.name)
    assert posthorn("init", through).stdout.startswith("already at version")
    with database.connect() as c:
        c.execute(EVENT)
    lines = '{"aggregateType":"a","aggregateId":"b","eventType":"c","payload":1}\n' * 3
    assert "published 3 events" in posthorn("publish", through, "--ndjson", "-", stdin=lines).stdout
    posthorn("run", "--from", through, "--to", f"file:{tmp_path}/out", "--once", "--name", "p")
    assert posthorn("erase", through, "--aggregate-type", "customer", "--aggregate-id", "4711", "--yes").stdout == "erased 1 row\n"
    assert answer("verify", "--from", through, "--to", f"file:{tmp_path}/out", "--name", "p")["ok"]
    assert "would clear 0 of 20" in posthorn("cleanup", through, "--dry-run").stdout
    assert "cleared 0 of 20" in posthorn("cleanup", through).stdout
    assert [p["name"] for p in answer("status", through)["pipelines"]] == ["p"]
    assert posthorn("forget", through, "p").stdout == "forgot pipeline p\n"


@pytest.mark.parametrize("version", [15, 18])
def test_what_works_on_a_standby(version, tmp_path):
    with Postgres(version) as primary, primary.fresh_database() as db:
        install(db)
        with db.connect() as c:
            c.execute(EVENT)
        posthorn("run", "--from", db.dsn(), "--to", f"file:{tmp_path}/out", "--once", "--name", "p")
        standby = primary.make_standby()
        try:
            dsn = standby.dsn(db.name)
            until(lambda: [p["name"] for p in answer("status", dsn)["pipelines"]] == ["p"], what="the standby to follow")
            for words in (["cleanup", dsn], ["cleanup", dsn, "--dry-run"], ["forget", dsn, "p"],
                          ["erase", dsn, "--aggregate-type", "a", "--aggregate-id", "b", "--yes"],
                          ["publish", dsn, "--aggregate-type", "a", "--aggregate-id", "b", "--event-type", "c", "--payload", "1"]):
                done = tool().run(*words)
                assert done.returncode == 69 and re.search("standby|read-only|recovery", done.stderr), (words, done.stderr)
        finally:
            standby.close()


def test_erased_content_leaves_the_file_with_vacuum_full(each_database):
    db = install(each_database)
    with db.connect() as c:
        c.execute(EVENT)
        bucket = one(c, "SELECT tableoid::regclass::text FROM posthorn.outbox")
        in_file = "SELECT position('Ada Lovelace'::bytea IN pg_read_binary_file(pg_relation_filepath(%s))) > 0"
        c.execute("CHECKPOINT")
        assert one(c, in_file, bucket)
        posthorn("erase", db.dsn(), "--aggregate-type", "customer", "--aggregate-id", "4711", "--yes")
        c.execute("CHECKPOINT")
        assert one(c, in_file, bucket)  # the old row version
        c.execute(f"VACUUM FULL {bucket}")
        c.execute("CHECKPOINT")
        assert not one(c, in_file, bucket)
        assert one(c, "SELECT payload FROM posthorn.outbox") == {"erased": True}
        make_tick(c)


def test_a_rewritten_partition_is_read_as_before(each_database, tmp_path):
    """VACUUM FULL between two runs moves every row, and no reader notices."""
    db, path = install(each_database), tmp_path / "out"
    with db.connect() as c:
        for _ in range(2):
            c.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload)"
                      " SELECT 'a', (i % 7)::text, 'b', '{}' FROM generate_series(1, 500) i")
            posthorn("run", "--from", db.dsn(), "--to", f"file:{path}", "--once")
            posthorn("erase", db.dsn(), "--aggregate-type", "a", "--aggregate-id", "3", "--yes")
            c.execute("VACUUM FULL posthorn.outbox")
    assert len(read_ndjson(path)) == 1000
    assert answer("verify", "--from", db.dsn(), "--to", f"file:{path}", "--strict")["ok"]
