"""The relay as an operator sees it: who owns a pipeline, what a stop does, what is said when a server goes and comes back, a promotion,
refusals, memory."""
import json
import signal
import subprocess
import time

import pytest

from ledger import Writers, check, delivered_ndjson, read_ndjson
from proc import spawn
from servers import Postgres, until


def publish(db, count, key="a", kind="Placed"):
    db.sql(f"SELECT posthorn.publish('Order', '{key}', '{kind}', jsonb_build_object('i', i)) FROM generate_series(1, {count}) i")


def test_a_second_instance_stands_by_and_takes_over_after_kill9(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    sets = {"lease": "2s"}
    first = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'a.ndjson'}", settings=sets)
    first.wait_log("delivering from")
    second = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'b.ndjson'}", settings=sets)
    second.wait_log("standing by")
    publish(database, 10)
    posthorn.wait_drained(database.dsn())
    first.kill9()
    begun = time.monotonic()
    second.wait_log("delivering from", timeout=20)
    assert time.monotonic() - begun < 4, "take-over within two lease intervals"
    publish(database, 5)
    posthorn.wait_drained(database.dsn())
    assert second.stop() == 0
    assert len(list(read_ndjson(tmp_path / "b.ndjson"))) == 5


def test_a_clean_stop_hands_over_at_once(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    sets = {"lease": "30s"}
    first = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'a.ndjson'}", settings=sets)
    first.wait_log("delivering from")
    second = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'b.ndjson'}", settings=sets)
    second.wait_log("standing by")
    assert first.stop() == 0
    begun = time.monotonic()
    second.wait_log("delivering from", timeout=10)
    assert time.monotonic() - begun < 3
    assert second.stop() == 0


def test_a_paused_owner_is_fenced(posthorn, database, tmp_path):
    """It wakes late: it writes nothing more, says so, stands by."""
    posthorn.init(database.dsn())
    sets = {"lease": "1s"}
    first = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'a.ndjson'}", settings=sets)
    first.wait_log("delivering from")
    first.pause()
    second = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'b.ndjson'}", settings=sets)
    second.wait_log("delivering from", timeout=10)
    publish(database, 20)
    posthorn.wait_drained(database.dsn())
    first.resume()
    first.wait_log("fenced|standing by", timeout=10)
    publish(database, 20)
    posthorn.wait_drained(database.dsn())
    assert second.stop() == 0 and first.stop() == 0
    a, b = (len(list(read_ndjson(tmp_path / name))) if (tmp_path / name).exists() else 0 for name in ("a.ndjson", "b.ndjson"))
    assert b == 40 and a == 0


def test_clearing_that_hangs_costs_no_lease(posthorn, database, tmp_path):
    """It is given a share of the lease, by the server's own time limit; delivery goes on under the same epoch."""
    posthorn.init(database.dsn())
    database.sql("ALTER FUNCTION posthorn.fit_retention() RENAME TO fit_retention_in_time")
    database.sql("CREATE FUNCTION posthorn.fit_retention() RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(60)'")
    relay = posthorn.start_relay(database.dsn(), f"file:{tmp_path / 'out'}", settings={"lease": "2s", "maintain_interval": "1s"})
    for _ in range(3):
        relay.wait_log("clearing settled events failed.*statement timeout", start=len(relay.log))
    publish(database, 5)
    posthorn.wait_drained(database.dsn())
    assert posthorn.pipeline(database.dsn())["epoch"] == 1
    assert relay.stop() == 0 and relay.log.count("delivering from") == 1, relay.log


def test_sigterm_stores_the_checkpoint(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    path = tmp_path / "out.ndjson"
    for _ in range(5):
        relay = posthorn.start_relay(database.dsn(), f"file:{path}", settings={"batch_events": 50})
        publish(database, 2000)
        until(lambda: path.exists() and path.stat().st_size > 0, 20, "the first events")
        assert relay.stop() == 0
    posthorn.drain(database.dsn(), f"file:{path}")
    ids = [e["id"] for e in read_ndjson(path)]
    assert len(ids) == len(set(ids)) == 10000, "a clean stop repeats nothing"


def test_a_second_sigterm_ends_at_once(posthorn, database):
    posthorn.init(database.dsn())
    publish(database, 10)
    relay = posthorn.start_relay(database.dsn(), "kafka://127.0.0.1:1", settings={"drain_timeout": "60s"})
    relay.wait_log("the sink is down")
    relay.signal(signal.SIGTERM)
    relay.wait_log("stop|drain", timeout=10)
    relay.signal(signal.SIGTERM)
    begun = time.monotonic()
    assert relay.wait(20) != 0
    assert time.monotonic() - begun < 5


def test_the_database_goes_and_comes_back(posthorn, tmp_path):
    """kill -9 of the server: said once, said when it is back, nothing lost."""
    with Postgres(15) as pg, pg.fresh_database() as db:
        posthorn.init(db.dsn())
        path = tmp_path / "out.ndjson"
        relay = posthorn.start_relay(db.dsn(), f"file:{path}", settings={"lease": "2s"})
        with Writers(db.dsn(), count=4, keys=20, rate=400) as writers:
            writers.wait_ok(300)
            for _ in range(2):
                mark = len(relay.log)
                pg.kill9()
                relay.wait_log("interrupted", start=mark)
                pg.start()
                relay.wait_log("back after the interruption", start=mark)
                writers.wait_ok(writers.ledger.counts["ok"] + 300)
        posthorn.wait_drained(db.dsn())
        assert relay.stop() == 0
        assert relay.log.count("interrupted,") == 2, relay.log
        result = check(writers.ledger, delivered_ndjson(path))
        assert result.clean, result


@pytest.mark.parametrize("version", [15, 18])
def test_a_promoted_standby_goes_on(posthorn, tmp_path, version):
    with Postgres(version) as primary, primary.fresh_database() as db:
        posthorn.init(db.dsn())
        path = tmp_path / "out.ndjson"
        publish(db, 50)
        posthorn.drain(db.dsn(), f"file:{path}")
        standby = primary.make_standby()
        try:
            publish(db, 50)
            lsn = primary.sql("SELECT pg_current_wal_lsn()::text")[0][0]
            until(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")[0][0], 30, "replay")
            primary.kill9()
            standby.promote()
            relay = posthorn.drain(standby.dsn(db.name), f"file:{path}")
            assert "timeline changed from 1 to 2" in relay.log
            assert len(list(read_ndjson(path))) == 100
        finally:
            standby.close()
            primary.start()  # so that its database can be dropped


def test_a_standby_is_refused(posthorn, tmp_path):
    with Postgres(15) as primary, primary.fresh_database() as db:
        posthorn.init(db.dsn())
        standby = primary.make_standby()
        try:
            done = posthorn.run("run", "--from", standby.dsn(db.name), "--to", f"file:{tmp_path / 'x'}")
            assert done.returncode == 69 and "is a standby" in done.stderr
        finally:
            standby.close()


def test_a_restored_dump_is_refused(posthorn, pg15, database, tmp_path):
    posthorn.init(database.dsn())
    publish(database, 5)
    with pg15.fresh_database() as copy:
        done = posthorn.run("init", copy.dsn())
        assert done.returncode == 0
        copy.sql("UPDATE posthorn.meta SET database_oid = 1")
        done = posthorn.run("run", "--from", copy.dsn(), "--to", f"file:{tmp_path / 'x'}", "--once")
        assert done.returncode == 78 and "made in another database" in done.stderr


def test_events_from_the_future_are_refused(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    database.sql("INSERT INTO posthorn.outbox (xid, aggregate_type, aggregate_id, event_type) VALUES ('99999999999', 'a', 'b', 'c')")
    done = posthorn.run("run", "--from", database.dsn(), "--to", f"file:{tmp_path / 'x'}", "--once")
    assert done.returncode == 78 and "beyond the present" in done.stderr


def test_a_missing_schema_names_init(posthorn, database, tmp_path):
    done = posthorn.run("run", "--from", database.dsn(), "--to", f"file:{tmp_path / 'x'}", "--once")
    assert done.returncode == 78 and "posthorn init" in done.stderr


def test_a_newer_schema_is_refused(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    database.sql("UPDATE posthorn.meta SET schema_version = 99")
    done = posthorn.run("run", "--from", database.dsn(), "--to", f"file:{tmp_path / 'x'}", "--once")
    assert done.returncode == 78 and "version 99" in done.stderr


def test_large_events_stay_within_bounds(posthorn, database, tmp_path):
    """400 events of 1 MiB in one transaction behind small ones: read in pieces, memory bounded."""
    posthorn.init(database.dsn())
    publish(database, 3000, kind="Small")
    database.sql("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload_bytes) SELECT 'Blob', 'b', 'Big', "
                 "decode(repeat(md5(i::text), 32768), 'hex') || decode(repeat(md5(i::text), 32768), 'hex') FROM generate_series(1, 400) i")
    path = tmp_path / "out.ndjson"
    relay = posthorn.start_relay(database.dsn(), f"file:{path}")
    peak = 0

    def drained():
        nonlocal peak
        peak = max(peak, relay.rss_kib(peak=True))
        row = posthorn.pipeline(database.dsn())
        return row and row["lagEvents"] == 0
    until(drained, 90, "the large events to be delivered")
    assert relay.stop() == 0
    assert sum(1 for e in read_ndjson(path)) == 3400
    if "asan" not in str(posthorn.binary):
        assert peak < 128 * 1024, f"peak RSS {peak // 1024} MiB"


def test_once_to_a_full_stdout_ends(posthorn, database):
    """Whoever waits for --once is told; the events stay in the log."""
    posthorn.init(database.dsn())
    publish(database, 3)
    words = [str(posthorn.binary), "run", "--from", database.dsn(), "--to", "stdout:", "--once"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, env=posthorn.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    said = [line for line in done.stderr.splitlines() if "No space left on device" in line]
    assert done.returncode == 74 and len(said) == 1 and "stdout: " in said[0], done.stderr
    row = posthorn.pipeline(database.dsn())
    assert row["lagEvents"] == 3 and "No space left" in row["lastError"] and row["owner"] is None, row
    assert len(posthorn.drain(database.dsn(), "stdout:").output.splitlines()) == 3


def test_a_full_stdout_is_a_sink_that_is_down(posthorn, database, tmp_path):
    """Without --once it goes on trying, and says so once."""
    posthorn.init(database.dsn())
    publish(database, 3)
    log = tmp_path / "log"
    words = [posthorn.binary, "run", "--from", database.dsn(), "--to", "stdout:", "--set", "backoff_max=20ms", "--set", "drain_timeout=100ms",
             "--set", "lease=1s"]
    with open("/dev/full", "w") as full, open(log, "w") as err:
        child = spawn(words, env=posthorn.env, stdout=full, stderr=err)
    try:
        until(lambda: (posthorn.pipeline(database.dsn()) or {}).get("lastError"), 20, "the error in status")
        before = posthorn.pipeline(database.dsn())["expiresAt"]
        until(lambda: posthorn.pipeline(database.dsn())["expiresAt"] > before, 20, "a renewed lease")
        assert child.poll() is None and log.read_text().count("the sink is down") == 1, log.read_text()
        child.terminate()
        assert child.wait(20) == 0 and posthorn.pipeline(database.dsn())["lagEvents"] == 3
    finally:
        child.kill()


def test_status_shows_the_last_error(posthorn, database):
    posthorn.init(database.dsn())
    publish(database, 3)
    relay = posthorn.start_relay(database.dsn(), "kafka://127.0.0.1:1", settings={"lease": "1s"})
    relay.wait_log("the sink is down")
    until(lambda: (posthorn.pipeline(database.dsn()) or {}).get("lastError"), 15, "the error in status")
    row = posthorn.pipeline(database.dsn())
    assert row["lagEvents"] == 3 and row["owner"]
    relay.kill9()


def test_logs_as_json(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    relay = posthorn.drain(database.dsn(), f"file:{tmp_path / 'x'}", "--log-format", "json")
    lines = [json.loads(line) for line in relay.log.splitlines()]
    assert all({"ts", "level", "msg"} <= line.keys() for line in lines) and lines
