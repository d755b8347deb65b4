"""The schema of sql/postgres: what may be written and read, by whom, and what its views say.

Each test gets a database of its own with the schema in it, on PostgreSQL 15 and on 18.
"""

import threading
import uuid

import pytest
from psycopg import errors

from schema_db import EARLIEST, MIGRATIONS, SQL, VERSION, install, make_tick, one, waits_for_lock

PUBLISH = "SELECT posthorn.publish('order', %s, 'created', '{}')"


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def roles(db):
    with db.connect() as c:
        c.execute((SQL / "roles.sql").read_text())
    return db


# -- installation ---------------------------------------------------------------------------------


def test_installs_in_one_transaction(db):
    with db.connect() as c:
        for table in ("outbox", "tick"):
            parts = c.execute(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass",
                [f"posthorn.{table}"]).fetchall()
            assert {p[0] for p in parts} == {f"posthorn.{table}_{n}" for n in range(10)}
        assert one(c, "SELECT schema_version, ring_width_seconds FROM posthorn.meta") == (VERSION, 86400)
        assert one(c, "SELECT cache_size FROM pg_sequences WHERE sequencename = 'tick_tick_seq'") == 1
        assert one(c, "SELECT cache_size FROM pg_sequences WHERE sequencename = 'outbox_position_seq'") == 1
        with pytest.raises(errors.UniqueViolation):
            c.execute("INSERT INTO posthorn.meta SELECT * FROM posthorn.meta")


def test_identity_names_this_database(db):
    with db.connect() as c:
        got = c.execute("SELECT * FROM posthorn.identity()", prepare=False)
        row = dict(zip([d.name for d in got.description], got.fetchone()))
        assert row["system_identifier"] == row["installed_system_identifier"]
        assert row["database_oid"] == row["installed_database_oid"]
        assert (row["timeline"], row["in_recovery"], row["schema_version"]) == (1, False, VERSION)
        assert (row["future_rows"], row["server_encoding"]) == (0, "UTF8")
        assert one(c, "SELECT posthorn.timeline()") == 1


def test_identity_counts_rows_of_a_restored_dump(db):
    with db.connect() as c:
        c.execute("INSERT INTO posthorn.outbox (xid, aggregate_type, aggregate_id, event_type)"
                  " SELECT (900000000000 + n)::text::xid8, 'order', '1', 'created'"
                  " FROM generate_series(1, 3) n")
        assert one(c, "SELECT future_rows FROM posthorn.identity()") == 3
        with c.transaction():  # an event of the asking transaction itself is not from the future
            c.execute(PUBLISH, ["1"])
            assert one(c, "SELECT future_rows FROM posthorn.identity()") == 3


def test_bucket_is_the_time_of_insert(db):
    with db.connect() as c:
        c.execute("SELECT posthorn.set_ring_width(1)")
        for _ in range(20):
            c.execute(PUBLISH, ["1"])
        # Two looks at the clock, microseconds apart: equal, or the edge of a second lay between.
        late = one(c, "SELECT array_agg(DISTINCT (bucket - date_part('epoch', created_at)::bigint % 10 + 10)"
                      " % 10) FROM posthorn.outbox")
        assert 0 in late and set(late) <= {0, 1}


def test_checkpoints_stay_small_and_well_formed(db):
    with db.connect() as c:
        insert = ("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot,"
                  " base_snapshot, start_snapshot) VALUES ('p', 0, 0, 1, %s, '3:3:', '3:3:')")
        for broken in ("nonsense", "5:4:", "3:5:9"):
            with pytest.raises(errors.InvalidTextRepresentation):
                c.execute(insert, [broken])
        c.execute(insert, ["3:3:"])
        for n in range(2000):
            c.execute("UPDATE posthorn.checkpoint SET position = %s, updated_at = clock_timestamp()", [n])
        assert one(c, "SELECT pg_relation_size('posthorn.checkpoint')") <= 6 * 8192  # not HOT: more than 20 pages


# -- rights ---------------------------------------------------------------------------------------

EVENT = "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type"
ROW = "VALUES ('order', '1', 'created'"
CHECKPOINT = ("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot,"
              " base_snapshot, start_snapshot) VALUES ('p', 0, 0, 1, '3:3:', '3:3:', '3:3:')")

MAY = {
    "posthorn_writer": [
        f"{EVENT}) {ROW}) RETURNING event_id",
        f"{EVENT}, event_id, payload, headers, created_at)"
        f" {ROW}, gen_random_uuid(), '{{}}', '{{}}', now())",
        f"{EVENT}, payload_bytes, content_type) {ROW}, 'x', 'text/plain')",
        f"{EVENT}, deliver_after) {ROW}, now())",
        "SELECT posthorn.publish('order', '1', 'created', '{}')",
        "SELECT posthorn.publish('order', '1', 'created', NULL, payload_bytes => 'x', strict => true)",
        "SELECT event_id FROM posthorn.outbox",
    ],
    "posthorn_relay": [
        "SELECT * FROM posthorn.outbox", "SELECT * FROM posthorn.tick", "SELECT * FROM posthorn.meta",
        "SELECT * FROM posthorn.pending", "SELECT * FROM posthorn.outbox_status",
        "SELECT pg_current_snapshot(), (SELECT last_value FROM posthorn.tick_tick_seq)",
        "SELECT * FROM posthorn.make_tick(0)", "SELECT * FROM posthorn.maintain()",
        "SELECT posthorn.fit_retention()", "SELECT * FROM posthorn.identity()",
        "SELECT posthorn.timeline()", "SELECT * FROM posthorn.maintain_plan()",
        "INSERT INTO posthorn.audit (who, act) VALUES ('me', 'test')", "SELECT * FROM posthorn.audit",
        CHECKPOINT + " ON CONFLICT (pipeline, shard) DO UPDATE SET tick = 1 RETURNING 1",
        "INSERT INTO posthorn.lease (pipeline, epoch, expires_at, owner) VALUES ('p', 1, now(), 'me')"
        " ON CONFLICT (pipeline, shard) DO UPDATE SET epoch = 2 RETURNING epoch",
        "INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, state, xid, created_at,"
        " event_id, aggregate_type, aggregate_id, event_type) VALUES"
        " ('p', 1, 1, 1, 1, 'dead', '3', now(), gen_random_uuid(), 'order', '1', 'created')",
        "SELECT posthorn.park('p', 0, 1, '[]')", "SELECT * FROM posthorn.claim_lease('q', 0, 2, 'me', 'us', 1000, 1000)",
        "SELECT * FROM posthorn.renew_lease('q', 0, 2, 'me', 'us', 1, 1000, NULL)", "DELETE FROM posthorn.parked",
    ],
}
MAY_NOT = {
    "posthorn_writer": [
        f"{EVENT}, xid) {ROW}, '5')", f"{EVENT}, bucket) {ROW}, 3)",
        f"{EVENT}, position) OVERRIDING SYSTEM VALUE {ROW}, 3)",
        f"{EVENT}) {ROW}) RETURNING position",
        "INSERT INTO posthorn.outbox_3 (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')",
        "SELECT * FROM posthorn.outbox", "SELECT payload FROM posthorn.outbox",
        "SELECT event_id FROM posthorn.outbox_3",
        "UPDATE posthorn.outbox SET event_id = event_id", "DELETE FROM posthorn.outbox",
        "TRUNCATE posthorn.outbox", "SELECT * FROM posthorn.tick", "SELECT * FROM posthorn.checkpoint",
        "SELECT * FROM posthorn.parked", "SELECT * FROM posthorn.meta", "SELECT * FROM posthorn.pending",
        "SELECT nextval('posthorn.outbox_position_seq')", "SELECT nextval('posthorn.tick_tick_seq')",
        "SELECT * FROM posthorn.make_tick(0)", "SELECT * FROM posthorn.maintain()",
        "SELECT posthorn.fit_retention()", "SELECT * FROM posthorn.identity()",
        "CREATE TABLE posthorn.mine ()",
    ],
    "posthorn_relay": [
        f"{EVENT}) {ROW})", "SELECT posthorn.publish('order', '1', 'created', '{}')",
        "UPDATE posthorn.outbox SET bucket = 1", "DELETE FROM posthorn.outbox",
        "TRUNCATE posthorn.outbox", "TRUNCATE posthorn.outbox_3",
        "INSERT INTO posthorn.tick (snapshot) VALUES (pg_current_snapshot())",
        "UPDATE posthorn.tick SET snapshot = '3:3:'", "DELETE FROM posthorn.tick",
        "DELETE FROM posthorn.checkpoint", "DELETE FROM posthorn.lease", "DELETE FROM posthorn.pipeline",
        "UPDATE posthorn.meta SET schema_version = 2", "SELECT nextval('posthorn.tick_tick_seq')",
        "SELECT posthorn.forget('p', 'me')", "SELECT posthorn.erase('order', '1', 'me')",
        "UPDATE posthorn.audit SET who = 'him'", "DELETE FROM posthorn.audit",
        "SELECT posthorn.set_ring_width(1)", "SELECT posthorn.bucket_held_by('outbox', 1, now())",
        "CREATE TABLE posthorn.mine ()",
    ],
}


@pytest.mark.parametrize("role", ["posthorn_writer", "posthorn_relay"])
def test_what_a_role_may_do(roles, role):
    with roles.connect() as c:
        for sql in MAY[role]:
            c.execute("BEGIN")
            c.execute(f"SET LOCAL ROLE {role}")
            c.execute(sql)
            c.execute("COMMIT")
        allowed = []
        for sql in MAY_NOT[role]:
            c.execute("BEGIN")
            c.execute(f"SET LOCAL ROLE {role}")
            try:
                c.execute(sql)
                allowed.append(sql)
            except errors.InsufficientPrivilege:
                pass
            c.execute("ROLLBACK")
        assert allowed == []


def test_public_may_nothing(roles):
    with roles.connect() as c:
        name = "nobody_" + uuid.uuid4().hex[:8]
        c.execute(f"CREATE ROLE {name}")
        try:
            for sql in MAY["posthorn_writer"] + MAY["posthorn_relay"]:
                c.execute("BEGIN")
                c.execute(f"SET LOCAL ROLE {name}")
                with pytest.raises(errors.InsufficientPrivilege):
                    c.execute(sql)
                c.execute("ROLLBACK")
            # With the schema opened to it, it still reaches no function of the relay's.
            c.execute(f"GRANT USAGE ON SCHEMA posthorn TO {name}")
            public = c.execute(
                "SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'posthorn'::regnamespace"
                " AND has_function_privilege(%s, p.oid, 'EXECUTE')", [name]).fetchall()
            assert public == [("publish",)]
        finally:
            c.execute(f"DROP OWNED BY {name}")
            c.execute(f"DROP ROLE {name}")


def test_all_belongs_to_the_owner_and_a_second_run_changes_nothing(roles):
    everything = """
        SELECT k.oid::regclass::text, k.relowner::regrole::text, k.relacl::text FROM pg_class k
         WHERE k.relnamespace = 'posthorn'::regnamespace
        UNION ALL SELECT p.oid::regprocedure::text, p.proowner::regrole::text, p.proacl::text FROM pg_proc p
         WHERE p.pronamespace = 'posthorn'::regnamespace ORDER BY 1"""
    with roles.connect() as c:
        before = c.execute(everything).fetchall()
        assert {owner for _, owner, _ in before} == {"posthorn_owner"}
        c.execute("BEGIN")
        c.execute((SQL / "roles.sql").read_text())
        locks = c.execute("SELECT relation::regclass::text FROM pg_locks WHERE pid = pg_backend_pid()"
                          " AND mode = 'AccessExclusiveLock'").fetchall()
        c.execute("COMMIT")
        assert c.execute(everything).fetchall() == before
        assert locks == []


def test_security_definer_functions_pin_their_search_path(db):
    with db.connect() as c:
        loose = c.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'posthorn'::regnamespace AND prosecdef"
            " AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)").fetchall()
        assert loose == []
        c.execute("CREATE SCHEMA evil")
        c.execute("CREATE FUNCTION evil.pg_current_snapshot() RETURNS pg_snapshot LANGUAGE sql"
                  " AS $$ SELECT '3:3:'::pg_snapshot $$")
        c.execute("CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
                  " AS $$ SELECT 'epoch'::timestamptz $$")
        c.execute("SET search_path = evil, pg_catalog")
        c.execute(PUBLISH, ["1"])
        assert one(c, "SELECT snapshot FROM posthorn.make_tick(0)") != "3:3:"
        assert one(c, "SELECT count(*) FROM posthorn.outbox, posthorn.tick"
                      " WHERE created_at = 'epoch' OR made_at = 'epoch'") == 0


def test_installs_without_a_superuser(each_database):
    """An owner with CREATEROLE installs all of it; its relay works through granted roles alone."""
    installer = "installer_" + uuid.uuid4().hex[:8]
    with each_database.connect() as c:
        c.execute((SQL / "roles.sql").read_text().split("-- Everything belongs")[0])
        c.execute(f"CREATE ROLE {installer} CREATEROLE")
        c.execute(f"GRANT posthorn_owner TO {installer} WITH ADMIN OPTION")
        c.execute(f"GRANT CREATE ON DATABASE {each_database.name} TO {installer}")
        try:
            c.execute(f"SET ROLE {installer}")
            for path in (*MIGRATIONS, SQL / "roles.sql"):
                c.execute(path.read_text())
            c.execute("RESET ROLE")
            c.execute("SET ROLE posthorn_relay")
            assert one(c, "SELECT tick FROM posthorn.make_tick(0)") == 1
            c.execute("SELECT * FROM posthorn.maintain()")
        finally:
            c.execute("RESET ROLE")
            c.execute(f"DROP OWNED BY {installer}")
            c.execute(f"DROP ROLE {installer}")


# -- publish --------------------------------------------------------------------------------------


def test_publish_stores_what_it_was_given(db):
    with db.connect() as c:
        eid = uuid.uuid4()
        assert one(c, "SELECT posthorn.publish('order', 'o-1', 'created', '{\"a\": 1}',"
                      " headers => '{\"source\": \"shop\"}', event_id => %s)", eid) == eid
        row = c.execute("SELECT aggregate_type, aggregate_id, event_type, payload, headers,"
                        " payload_bytes, content_type FROM posthorn.outbox WHERE event_id = %s", [eid]).fetchone()
        assert row == ("order", "o-1", "created", {"a": 1}, {"source": "shop"}, None, None)

        made = one(c, "SELECT posthorn.publish('order', 'o-1', 'deleted', NULL, headers => NULL)")
        row = c.execute("SELECT payload, payload_bytes, headers, event_id FROM posthorn.outbox"
                        " WHERE event_type = 'deleted'").fetchone()
        assert row == (None, None, {}, made)  # a tombstone

        c.execute("SELECT posthorn.publish('order', 'o-1', 'drawn', NULL, payload_bytes => %s,"
                  " content_type => 'image/png')", [b"\x00\xff"])
        assert one(c, "SELECT payload_bytes, content_type FROM posthorn.outbox"
                      " WHERE event_type = 'drawn'") == (b"\x00\xff", "image/png")


def test_publish_follows_its_transaction(db):
    with db.connect() as c:
        c.execute("BEGIN")
        xid = one(c, "SELECT pg_current_xact_id()::text")
        c.execute(PUBLISH, ["kept"])
        c.execute("SAVEPOINT s")
        c.execute(PUBLISH, ["dropped"])
        c.execute("ROLLBACK TO s")
        c.execute("SAVEPOINT t")
        c.execute(PUBLISH, ["kept too"])
        c.execute("COMMIT")
        assert c.execute("SELECT aggregate_id, xid::text FROM posthorn.outbox ORDER BY position").fetchall() \
            == [("kept", xid), ("kept too", xid)]  # also below a savepoint: the top transaction's xid


@pytest.mark.parametrize("argument", ["aggregate_type", "aggregate_id", "event_type"])
@pytest.mark.parametrize("value", ["''", "NULL"])
def test_publish_names_an_empty_argument(db, argument, value):
    given = dict(aggregate_type="'t'", aggregate_id="'i'", event_type="'e'", payload="NULL")
    given[argument] = value
    with db.connect() as c, pytest.raises(errors.InvalidParameterValue, match=f": {argument} must not"):
        c.execute("SELECT posthorn.publish(%s)" % ", ".join(f"{k} => {v}" for k, v in given.items()))


def test_publish_refuses_what_no_reader_could_send(db):
    with db.connect() as c:
        for never in ("infinity", "-infinity"):
            with pytest.raises(errors.InvalidParameterValue, match="deliver_after must be a time"):
                c.execute("SELECT posthorn.publish('t', 'i', 'e', '{}', deliver_after => %s)", [never])
        with pytest.raises(errors.InvalidParameterValue, match="not both"):
            c.execute("SELECT posthorn.publish('t', 'i', 'e', '{}', payload_bytes => 'x')")
        with pytest.raises(errors.InvalidParameterValue, match="headers must be"):
            c.execute("SELECT posthorn.publish('t', 'i', 'e', '{}', '[1]')")
        with pytest.raises(errors.GeneratedAlways):
            c.execute("INSERT INTO posthorn.outbox (position, aggregate_type, aggregate_id, event_type)"
                      " VALUES (1, 't', 'i', 'e')")
        assert one(c, "SELECT count(*) FROM posthorn.outbox") == 0


def test_strict_orders_a_key_by_commit(db):
    strict = "SELECT posthorn.publish('order', %s, 'created', '{}', strict => true)"
    with db.connect() as a, db.connect() as b, db.connect() as watch:
        a.execute("BEGIN")
        a.execute(strict, ["k"])
        second = threading.Thread(target=b.execute, args=(strict, ["k"]))
        second.start()
        waits_for_lock(watch, b)
        watch.execute(PUBLISH, ["k"])  # without strict nothing waits, and nothing is promised
        drawn = one(watch, "SELECT last_value FROM posthorn.outbox_position_seq")
        a.execute("COMMIT")
        second.join(10)
        assert drawn == 2  # the waiting writer had not drawn its position
        assert one(watch, "SELECT max(position) FROM posthorn.outbox") == 3


def test_strict_takes_few_locks_in_a_key_space_of_its_own(db):
    with db.connect() as c:
        c.execute("BEGIN")
        c.execute("SELECT posthorn.publish('order', n::text, 'created', '{}', strict => true)"
                  " FROM generate_series(1, 20000) n")
        locks = c.execute("SELECT classid::bigint, objid::bigint, objsubid FROM pg_locks"
                          " WHERE locktype = 'advisory' AND pid = pg_backend_pid()").fetchall()
        c.execute("ROLLBACK")
        assert 3500 < len(locks) <= 4096
        assert {(classid, sub) for classid, _, sub in locks} == {(1886352244, 2)}
        assert max(key for _, key, _ in locks) <= 4095
        c.execute("BEGIN")
        c.execute("SELECT posthorn.make_tick(0)")
        assert one(c, "SELECT objsubid FROM pg_locks WHERE locktype = 'advisory'"
                      " AND pid = pg_backend_pid()") == 1  # the one-key form: cannot collide
        c.execute("ROLLBACK")


# -- views ----------------------------------------------------------------------------------------


def checkpoint(conn, name, tick, position, snapshot, base):
    conn.execute("INSERT INTO posthorn.checkpoint (pipeline, tick, position, timeline, snapshot,"
                 " base_snapshot, start_snapshot) VALUES (%s, %s, %s, 1, %s, %s, '3:3:')",
                 [name, tick, position, snapshot, base])


def test_pending_is_what_a_pipeline_has_not_settled(db):
    with db.connect() as c, db.connect() as slow:
        slow.execute("BEGIN")
        slow.execute(PUBLISH, ["a"])  # open at the first tick, with the least position
        for key in "bcd":
            c.execute(PUBLISH, [key])
        tick1, first = make_tick(c)
        slow.execute("COMMIT")
        for key in "ef":
            c.execute(PUBLISH, [key])
        tick2, second = make_tick(c, tick1)
        c.execute(PUBLISH, ["g"])
        slow.execute("BEGIN")
        slow.execute(PUBLISH, ["still open"])
        position = dict(c.execute("SELECT aggregate_id, position FROM posthorn.outbox").fetchall())
        assert position["a"] == min(position.values())

        checkpoint(c, "new", 0, 0, EARLIEST, EARLIEST)
        checkpoint(c, "in the first", tick1, position["c"], first, EARLIEST)
        checkpoint(c, "behind the first", tick1, position["d"], first, first)
        checkpoint(c, "in the second", tick2, position["e"], second, first)
        checkpoint(c, "behind the second", tick2, position["f"], second, second)
        got = {}
        for name, key, tick in c.execute("SELECT pipeline, aggregate_id, tick FROM posthorn.pending"
                                         " ORDER BY position").fetchall():
            got.setdefault(name, []).append((key, tick))
        assert got == {
            "new": [(k, None) for k in "abcdefg"],
            # a is not visible in the first tick: its low position does not make it settled
            "in the first": [("a", None), ("d", tick1), ("e", None), ("f", None), ("g", None)],
            "behind the first": [("a", None), ("e", None), ("f", None), ("g", None)],
            "in the second": [("f", tick2), ("g", None)],
            "behind the second": [("g", None)],
        }
        assert one(c, "SELECT bool_and(age > '0' AND age < '1 minute') FROM posthorn.pending")


@pytest.mark.parametrize("analyzed", [True, False])
def test_views_do_not_read_the_settled_log(db, analyzed):
    with db.connect() as c, db.connect() as slow:
        slow.execute("BEGIN")
        slow.execute(PUBLISH, ["slow"])
        for n in range(300):
            c.execute("INSERT INTO posthorn.outbox (bucket, aggregate_type, aggregate_id, event_type)"
                      " SELECT %s, 'order', n::text, 'created' FROM generate_series(1, 400) n", [n // 100])
        if analyzed:
            c.execute("ANALYZE posthorn.outbox")
        tick, snapshot = make_tick(c)
        checkpoint(c, "p", tick, 1000000, snapshot, snapshot)
        slow.execute("COMMIT")
        c.execute(PUBLISH, ["late"])
        c.execute("SET jit = off")
        assert one(c, "SELECT array_agg(aggregate_id ORDER BY position) FROM posthorn.pending") \
            == ["slow", "late"]
        pages = one(c, "SELECT sum(pg_relation_size(inhrelid)) / 8192 FROM pg_inherits"
                       " WHERE inhparent = 'posthorn.outbox'::regclass")
        for view in ("pending", "outbox_status"):
            plan = one(c, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM posthorn.{view}")
            read = plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]
            assert read < 400 < pages / 3, f"{view}: {read} of {pages} pages"


def test_status_is_one_row(db):
    with db.connect() as c:
        def status():
            got = c.execute("SELECT * FROM posthorn.outbox_status")
            rows = got.fetchall()
            assert len(rows) == 1
            return dict(zip([d.name for d in got.description], rows[0]))
        empty = status()
        assert (empty["rows_estimate"], empty["buckets_in_use"], empty["newest_tick"]) == (0, 0, None)
        assert (empty["oldest_bucket"], empty["prepared_transactions"]) == (None, 0)
        c.execute("INSERT INTO posthorn.outbox (bucket, aggregate_type, aggregate_id, event_type)"
                  " SELECT 4, 'order', n::text, 'created' FROM generate_series(1, 5000) n")
        c.execute("ANALYZE posthorn.outbox")
        tick, _ = make_tick(c)
        with db.connect() as other:
            other.execute("BEGIN")
            xid = one(other, "SELECT pg_current_xact_id()::text::bigint")
            got = status()
            assert int(got["oldest_open_xid"]) <= xid
            assert got["oldest_transaction_age"].total_seconds() > 0
        assert got["rows_estimate"] == 5000 and got["bytes"] > 5000 * 60
        assert (got["buckets_in_use"], got["oldest_bucket"], got["newest_tick"]) == (1, 4, tick)
        assert 0 <= got["newest_tick_age"].total_seconds() < 60
