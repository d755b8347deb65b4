"""The test servers themselves: each starts, keeps what it was given through kill -9, and leaves nothing."""

import os
import signal
import subprocess
import sys
import textwrap
import uuid

import pytest

from proc import ROOT, start_ticks
from servers import Kafka, PgBouncer, Postgres, until

# -- PostgreSQL -----------------------------------------------------------------------------------


def test_a_database_answers_on_each_version(each_database):
    assert each_database.sql("SELECT current_database()") == [(each_database.name,)]
    version = int(each_database.sql("SHOW server_version_num")[0][0]) // 10000
    assert version == each_database.server.version
    assert each_database.server.sql("SHOW max_prepared_transactions") == [("20",)]


def test_a_database_is_dropped_with_its_prepared_transactions(pg15):
    with pg15.fresh_database() as db:
        with db.connect() as conn:
            conn.execute("CREATE TABLE t ()")
            conn.execute("BEGIN")
            conn.execute("INSERT INTO t DEFAULT VALUES")
            conn.execute("PREPARE TRANSACTION 'left'")
    assert pg15.sql("SELECT count(*) FROM pg_database WHERE datname = %s", db.name) == [(0,)]


@pytest.mark.parametrize("version", [15, 18])
def test_postgres_keeps_what_committed_through_kill9(version):
    with Postgres(version) as server:
        server.sql("CREATE TABLE t (i int)")
        server.sql("INSERT INTO t VALUES (1)")
        unfinished = server.connect()
        unfinished.execute("BEGIN")
        unfinished.execute("INSERT INTO t VALUES (2)")
        old = server.pid
        server.kill9()
        assert start_ticks(old) is None and not server.running()
        server.start()
        assert server.sql("SELECT i FROM t") == [(1,)]
        server.restart()
        assert server.sql("SELECT i FROM t") == [(1,)]


@pytest.mark.parametrize("version", [15, 18])
def test_a_standby_follows_and_is_promoted(version):
    with Postgres(version, fsync=False) as primary, primary.make_standby() as standby:
        assert standby.sql("SELECT pg_is_in_recovery()") == [(True,)]
        primary.sql("CREATE TABLE t (i int)")
        primary.sql("INSERT INTO t VALUES (1)")
        until(lambda: standby.sql("SELECT count(*) FROM pg_class WHERE relname = 't'") == [(1,)]
              and standby.sql("SELECT i FROM t") == [(1,)], 30, "the standby")
        primary.kill9()
        standby.promote()
        standby.sql("INSERT INTO t VALUES (2)")
        assert standby.sql("SELECT i FROM t ORDER BY i") == [(1,), (2,)]


def test_fresh_servers_have_identities_of_their_own():
    identity = "SELECT system_identifier FROM pg_control_system()"
    with Postgres(15, fsync=False) as one, Postgres(15, fsync=False, fresh=True) as other:
        assert one.sql(identity) != other.sql(identity)


def test_pgbouncer_pools_by_transaction_and_comes_back(pg15, database):
    with PgBouncer(pg15, {"default_pool_size": 1}) as bouncer:
        import psycopg

        with psycopg.connect(bouncer.dsn(database.name), autocommit=True, prepare_threshold=None) as one, \
                psycopg.connect(bouncer.dsn(database.name), autocommit=True, prepare_threshold=None) as two:
            pids = {c.execute("SELECT pg_backend_pid()").fetchone() for c in (one, two)}
            assert len(pids) == 1  # one server connection for both
        bouncer.kill9()
        bouncer.start()
        with psycopg.connect(bouncer.dsn(database.name)) as again:
            assert again.execute("SELECT 1").fetchone() == (1,)


# -- Kafka ----------------------------------------------------------------------------------------


def produce(kafka, topic, count, start=0):
    import confluent_kafka

    producer = confluent_kafka.Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    for n in range(start, start + count):
        producer.produce(topic, key=f"k{n % 7}", value=str(n), headers={"id": str(n).encode()})
    assert producer.flush(30) == 0


def test_kafka_gives_back_what_was_produced(kafka):
    topic = kafka.create_topic(f"t-{uuid.uuid4().hex}", partitions=3)
    produce(kafka, topic, 100)
    records = kafka.consume_all(topic)
    assert sorted(int(r.value) for r in records) == list(range(100))
    assert all(r.header("id") == r.value and r.header("none") is None for r in records)
    assert {r.partition for r in records} <= {0, 1, 2} and kafka.count(topic) == 100


def test_kafka_java_producer_chooses_partitions(kafka):
    keys = [f"key-{n}" for n in range(20)]
    topic = kafka.create_topic(f"java-{uuid.uuid4().hex}", partitions=5)
    chosen = kafka.java_partitions(topic, keys)
    assert set(chosen) == set(keys) and len(set(chosen.values())) > 1


def test_kafka_keeps_records_through_kill9():
    with Kafka() as kafka:
        topic = kafka.create_topic("kept")
        produce(kafka, topic, 50)
        kafka.kill9()
        kafka.start()
        produce(kafka, topic, 50, start=50)
        assert sorted(int(r.value) for r in kafka.consume_all(topic)) == list(range(100))


# -- what a killed test program leaves ------------------------------------------------------------


def test_a_killed_test_program_leaves_nothing():
    program = textwrap.dedent("""
        import os, sys, signal
        sys.path.insert(0, sys.argv[1])
        from servers import Postgres
        server = Postgres(15, fsync=False).start()
        print(server.pid, server.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", program, str(ROOT / "test" / "integration")], text=True,
                          capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid, folder = done.stdout.split()
    until(lambda: start_ticks(int(pid)) is None and not os.path.exists(folder), 30, "the reaper")
