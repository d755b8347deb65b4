"""SQLite, the embedded default: what the relay promises on a file that applications write to meanwhile."""

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from command import answer, posthorn, sanitized, tool
from proc import POLL_SECONDS, until
from sqlite_log import SqliteLog, Writer, first_deliveries, lines

KILLS = 20


@pytest.fixture
def log(tmp_path):
    return SqliteLog(tmp_path)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.ndjson"


def run_in(folder, *words, user=None, status=0):
    """The command in a folder, or as another user; what it said."""
    done = subprocess.run([tool().binary, *words], cwd=folder, env=tool().env, user=user, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def deliver(log, out, *words, **kwargs):
    return posthorn("run", "--from", log.uri, "--to", f"file:{out}", "--once", *words, **kwargs)


def verify(log, out):
    return answer("verify", "--from", log.uri, "--to", f"file:{out}")


# -- from nothing to a file -----------------------------------------------------------------------

def test_the_three_commands_of_a_newcomer(tmp_path):
    """init, one INSERT by the sqlite3 command, run --once; a relative path."""
    if not shutil.which("sqlite3"):
        pytest.fail("no sqlite3 command: run tools/deps.sh test")
    assert "installed" in run_in(tmp_path, "init", "sqlite:shop.db")
    assert "already at version" in run_in(tmp_path, "init", "sqlite:shop.db")
    subprocess.run(["sqlite3", "shop.db", """INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload)
                                             VALUES ('order', 'o-1', 'OrderPlaced', '{"total": 12.50}')"""],
                   cwd=tmp_path, check=True)
    run_in(tmp_path, "run", "--from", "sqlite:shop.db", "--to", "file:out.ndjson", "--once")
    got = lines(tmp_path / "out.ndjson")
    assert [(e["type"], e["aggregateId"], e["position"], e["payload"]) for e in got] == \
        [("OrderPlaced", "o-1", "1-1", {"total": 12.5})]


def test_status_publish_and_verify(log, out):
    published = posthorn("publish", log.uri, "--aggregate-type", "order", "--aggregate-id", "o-1", "--event-type", "placed",
                         "--payload", '{"a":1}', "--header", "trace=7").stdout.strip()
    deliver(log, out)
    assert [(e["id"], e["headers"], e["payload"]) for e in lines(out)] == [(published, {"trace": "7"}, {"a": 1})]
    row = answer("status", log.uri)["pipelines"][0]
    assert (row["position"], row["lagEvents"], row["epoch"], row["owner"]) == ("1-1", 0, 1, None)
    assert verify(log, out)["ok"]


@pytest.mark.parametrize("spoil, words", [
    (lambda p: None, ["there is no file", "posthorn init"]),
    (lambda p: p.mkdir(), ["not a file"]),
    (lambda p: p.write_bytes(b"not a database at all, but long enough to look like one" * 100), ["no SQLite database"]),
    (lambda p: sqlite3.connect(p).execute("CREATE TABLE t (x)"), ["no log of Posthorn", "posthorn init"]),
])
def test_what_is_no_log_is_named(tmp_path, spoil, words):
    spoil(tmp_path / "shop.db")
    for command in (["run", "--from", f"sqlite:{tmp_path}/shop.db", "--to", "file:/dev/null", "--once"],
                    ["status", f"sqlite:{tmp_path}/shop.db"]):
        said = posthorn(*command, status=78).stderr
        assert all(w in said for w in [*words, "shop.db"]), said


@pytest.mark.parametrize("uri", ["sqlite:", "sqlite::memory:", "sqlite://shop.db"])
def test_a_uri_without_a_file_is_refused(uri):
    for words in (["init", uri], ["run", "--from", uri, "--to", "stdout:", "--once"]):
        assert "sqlite:FILE" in posthorn(*words, status=78).stderr


def test_a_database_without_wal_is_refused_and_init_mends_it(log, out):
    db = log.connect()
    assert db.execute("PRAGMA journal_mode = delete").fetchone() == ("delete",)
    db.close()
    said = deliver(log, out, status=78).stderr
    assert "not in WAL mode" in said and "posthorn init" in said
    posthorn("init", log.uri)
    log.insert(1)
    deliver(log, out)
    assert len(lines(out)) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that may not write the file")
def test_a_file_that_may_not_be_written(log, out):
    os.chmod(log.path, 0o444)
    os.chmod(log.path.parent, 0o777)
    for parent in log.path.parent.parents:
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            os.chmod(parent, os.stat(parent).st_mode | 0o055)
    said = run_in("/", "run", "--from", log.uri, "--to", f"file:{out}", "--once", user="nobody", status=78)
    assert "may not be written" in said, said


def test_an_application_with_untrusted_schema_can_use_the_database(log):
    """SQLite 3.38 to 3.41 refuses the whole database when a CHECK of it uses json_valid()."""
    db = log.connect()
    db.execute("PRAGMA trusted_schema = off")
    db.execute("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')")


@pytest.mark.parametrize("columns, values, word", [
    ("aggregate_type, aggregate_id, event_type", "'', 'b', 'c'", "aggregate_type_is_a_text"),
    ("aggregate_type, aggregate_id, event_type", "'a', x'00', 'c'", "aggregate_id_is_a_text"),
    ("aggregate_type, aggregate_id, event_type, payload, payload_bytes", "'a', 'b', 'c', '1', x'00'", "payload_or_payload_bytes"),
    ("aggregate_type, aggregate_id, event_type, payload", "'a', 'b', 'c', x'31'", "payload_is_json"),
    ("aggregate_type, aggregate_id, event_type, headers", "'a', 'b', 'c', ''", "headers_is_a_json_object"),
    ("aggregate_type, aggregate_id, event_type, event_id", "'a', 'b', 'c', 'order-1'", "event_id_is_a_uuid"),
    ("aggregate_type, aggregate_id, event_type, created_at", "'a', 'b', 'c', 'today'", "created_at_is_in_milliseconds"),
    ("aggregate_type, aggregate_id, event_type, position", "'a', 'b', 'c', 1", "leave position to SQLite"),
    ("aggregate_type, aggregate_id, event_type, position", "'a', 'b', 'c', -1", "position_is_positive"),
])
def test_a_wrong_insert_is_refused(log, columns, values, word):
    log.insert(5)
    db = log.connect()
    db.execute("DELETE FROM posthorn_outbox")
    with pytest.raises(sqlite3.IntegrityError, match=word):
        db.execute(f"INSERT INTO posthorn_outbox ({columns}) VALUES ({values})")


# -- order and loss -------------------------------------------------------------------------------

def test_rollbacks_and_several_writers(log, out, posthorn):
    """Four programs write while the relay runs; what they confirmed arrives once, in order, and nothing else."""
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    writers = [Writer(log, f"w{i}", synchronous=("off", "normal", "full")[i % 3]) for i in range(4)]
    until(lambda: min(w.commits() for w in writers) > 100, what="100 commits of each")
    for w in writers:
        w.kill9()
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    order, again = first_deliveries(out)
    assert order == log.ids() and again == 0
    for w in writers:
        committed = w.committed()
        assert committed and set(committed) <= set(order)
        mine = set(committed)
        assert [i for i in order if i in mine] == committed
    assert verify(log, out)["ok"]


def test_cleanup_then_new_inserts_lose_nothing(log, out):
    """Without AUTOINCREMENT the next row of an emptied table would be number 1 again, far behind the reader."""
    log.insert(50)
    deliver(log, out)
    db = log.connect()
    db.execute("DELETE FROM posthorn_outbox")
    db.close()
    log.insert(3)
    deliver(log, out)
    assert [e["position"] for e in lines(out)][-3:] == ["1-51", "1-52", "1-53"]


def test_a_full_retention_round(log, out, posthorn):
    """Settled events go once they are old; what another pipeline has not settled stays."""
    slow = out.with_name("slow.ndjson"), "--name", "slow", "--set", "source.retention=1s"
    log.insert(5000)
    deliver(log, out)
    deliver(log, *slow)
    log.insert(300)
    settings = {"source.retention": "1s", "maintain_interval": "200ms"}
    relay = posthorn.start_relay(log.uri, f"file:{out}", settings=settings)
    until(lambda: log.one("SELECT count(*) FROM posthorn_outbox") == 300, what="5,000 settled events cleared")
    posthorn.wait_drained(log.uri, "default")
    time.sleep(1.5)  # the 300 are old by now, and slow has not read them
    assert log.one("SELECT count(*) FROM posthorn_outbox") == 300
    deliver(log, *slow)
    until(lambda: log.one("SELECT count(*) FROM posthorn_outbox") == 0, what="all events cleared")
    log.insert(10)
    posthorn.wait_drained(log.uri, "default")
    assert relay.stop() == 0
    assert [e["position"] for e in lines(out)] == [f"1-{i}" for i in range(1, 5311)]
    assert verify(log, out)["ok"]


# -- kills ----------------------------------------------------------------------------------------

def test_kill_9_of_the_relay_while_a_writer_commits(log, out, posthorn):
    random.seed(7)
    writer, hits = Writer(log, "w"), 0
    for _ in range(KILLS):
        relay = posthorn.start_relay(log.uri, f"file:{out}", settings={"lease": "500ms", "batch_events": 50})
        before = len(out.read_bytes()) if out.exists() else 0
        until(lambda: out.exists() and out.stat().st_size > before, what="progress")
        time.sleep(random.random() * 0.05)  # a random place of the flow
        hits += relay.running()
        relay.kill9()
    writer.kill9()
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    order, again = first_deliveries(out)
    assert hits == KILLS
    assert order == log.ids(), "lost, phantom or reordered events"
    got = verify(log, out)
    assert got["ok"] and (got["missing"], got["phantom"], got["outOfOrder"]) == (0, 0, 0), got
    committed = writer.committed()
    assert set(committed) <= set(order)
    print(f"{len(order)} events, {hits} kills hit, lost 0, phantom 0, reordered 0, {again} duplicates")


def test_a_writer_killed_inside_its_transaction(log, out, posthorn):
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    log.insert(1)
    child = subprocess.Popen([sys.executable, "-c", f"""
import sqlite3, time
db = sqlite3.connect({str(log.path)!r}, isolation_level=None)
db.execute("PRAGMA cache_size = 5")  # so that pages of the open transaction spill into the WAL
db.execute("BEGIN IMMEDIATE")
db.executemany("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('a', 'never', 'c', ?)",
               (('"' + 'x' * 900 + '"',) for _ in range(2000)))
print("open", flush=True)
time.sleep(600)
"""], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "open\n"
    assert log.wal_bytes() > 1_000_000
    child.kill()
    child.wait()
    log.insert(5, key="after")
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    assert [e["aggregateId"] for e in lines(out)] == ["o-0"] + ["after"] * 5
    assert [e["position"] for e in lines(out)] == [f"1-{i}" for i in range(1, 7)]


# -- living together ------------------------------------------------------------------------------

def test_a_second_relay_takes_over(log, out, tmp_path, posthorn):
    settings = {"lease": "1s"}
    first = posthorn.start_relay(log.uri, f"file:{out}", settings=settings)
    first.wait_log("delivering from")
    second = posthorn.start_relay(log.uri, f"file:{tmp_path / 'second.ndjson'}", settings=settings)
    second.wait_log("another instance owns this pipeline")
    log.insert(100)
    posthorn.wait_drained(log.uri)
    first.kill9()
    log.insert(50)
    begun = time.monotonic()
    second.wait_log("delivering from 1-100 under epoch 2")
    assert time.monotonic() - begun < 5
    posthorn.wait_drained(log.uri)
    assert second.stop() == 0
    third = posthorn.start_relay(log.uri, f"file:{out}", settings={"lease": "600s"})
    third.wait_log("delivering from 1-150 under epoch 3")  # at once: the clean stop let it go
    assert third.stop() == 0
    assert len(lines(out)) == 100 and len(lines(tmp_path / "second.ndjson")) == 50


def test_a_paused_owner_is_fenced(log, out, tmp_path, posthorn):
    settings = {"lease": "1s", "settle_interval": "10ms"}
    first = posthorn.start_relay(log.uri, f"file:{out}", settings=settings)
    first.wait_log("delivering from")
    first.pause()
    second = posthorn.start_relay(log.uri, f"file:{tmp_path / 'second.ndjson'}", settings=settings)
    second.wait_log("delivering from .* under epoch 2")
    first.resume()
    log.insert(20)
    posthorn.wait_drained(log.uri)
    first.wait_log("another instance owns this pipeline")
    assert first.stop() == 0 and second.stop() == 0
    assert len(lines(tmp_path / "second.ndjson")) == 20


def test_a_lease_of_an_earlier_boot_has_no_owner(log, out):
    log.insert(1)
    db = log.connect()
    db.execute("""INSERT INTO posthorn_lease (pipeline, shard, owner, epoch, boot_id, expires_boot_us, retention_ms)
                  VALUES ('default', 0, 'gone', 41, 'another boot', 9e18, 1)""")
    db.close()
    deliver(log, out)
    assert log.one("SELECT epoch FROM posthorn_lease") == 42


def test_the_wal_stays_bounded(log, out, posthorn):
    """Read transactions are short, so that the writer's checkpoints can begin the WAL anew."""
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    db, largest = log.connect(), 0
    db.execute("PRAGMA synchronous = normal")
    for _ in range(20000):
        db.execute("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload) VALUES ('a', 'b', 'c', ?)",
                   (json.dumps("x" * 3000),))
        largest = max(largest, log.wal_bytes())
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    written = os.path.getsize(log.path)
    assert written > 60_000_000
    assert largest < written / 2, f"the WAL grew to {largest} bytes of {written}"


def test_a_long_write_transaction_loses_nothing(log, out, posthorn):
    """While another program holds the write lock the relay can neither settle nor renew; it goes on behind it."""
    relay = posthorn.start_relay(log.uri, f"file:{out}", settings={"lease": "1s"})
    relay.wait_log("delivering from")
    log.insert(10)
    db = log.connect()
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type) VALUES ('a', 'late', 'c')")
    time.sleep(3)  # three leases
    assert relay.running()
    db.execute("COMMIT")
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    order, _ = first_deliveries(out)
    assert order == log.ids()
    assert verify(log, out)["ok"]


def test_an_application_that_shuts_the_file(log, out):
    """PRAGMA locking_mode = exclusive keeps everybody else out; that is said, and waited for by a daemon."""
    db = log.connect()
    db.execute("PRAGMA locking_mode = exclusive")
    db.execute("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type) VALUES ('a', 'b', 'c')")
    assert "locked by another program" in deliver(log, out, status=69).stderr
    db.close()
    deliver(log, out)
    assert len(lines(out)) == 1


# -- places ---------------------------------------------------------------------------------------

def test_start_latest_and_start_at_a_time(log, out):
    log.insert(5)
    db = log.connect()
    db.execute("UPDATE posthorn_outbox SET created_at = 1000000000000 + position * 1000")
    deliver(log, out, "--set", "start=latest")
    assert not out.exists() or lines(out) == []
    timed = out.with_name("timed.ndjson")
    deliver(log, timed, "--name", "timed", "--set", "start=2001-09-09T01:46:44Z")  # 1000000004
    assert [e["position"] for e in lines(timed)] == ["1-4", "1-5"]


def test_a_malformed_row_is_dead_and_the_others_flow(log, out):
    log.insert(2)
    db = log.connect()
    db.execute("""INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload)
                  VALUES ('a', 'b', 'c', '{not json')""")
    log.insert(2)
    said = deliver(log, out, status=65).stderr
    assert "1 events are dead" in said and "not json" not in said
    assert [e["position"] for e in lines(out)] == ["1-1", "1-2", "1-4", "1-5"]
    row = db.execute("SELECT state, position, attempts, last_error, payload FROM posthorn_parked").fetchone()
    assert row[:3] == ("dead", 3, 1) and "payload is no JSON" in row[3] and row[4] == "{not json"
    got = verify(log, out)
    assert got["ok"] and got["skipped"] == 1


@pytest.mark.parametrize("columns, values, match, flaw", [
    ("event_type, headers", "'Placed', '{bad'", "match.header.priority=high", "headers is no JSON object"),
    ("event_type, headers", "'Placed', '{\"priority\": \"high\"'", "match.header.priority=high", "headers is no JSON object"),
    ("event_type", "CAST(x'506c61636564ff' AS TEXT)", "match.event_type=Placed*", "event_type is no text"),
])
def test_a_row_that_match_cannot_judge_is_refused_and_not_passed_over(log, out, columns, values, match, flaw):
    log.connect().execute(f"INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, {columns}) VALUES ('a', 'b', {values})")
    deliver(log, out, "--name", "another", "--set", "match.aggregate_type=other")  # which can be judged
    deliver(log, out, "--set", match, status=65)
    assert flaw in log.one("SELECT last_error FROM posthorn_parked WHERE state = 'dead'")
    assert not out.exists() or lines(out) == []


def test_a_dead_row_behind_one_that_does_not_match(log, out):
    """The checkpoint passes what does not match, and the dead row; only the rows of its key wait."""
    for key, headers in (("a", "{}"), ("a", "{}"), ("a", "{bad"), ("b", '{"priority": "high"}'), ("a", '{"priority": "high"}')):
        log.connect().execute("INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, headers) "
                              "VALUES ('a', ?, 'c', ?)", [key, headers])
    deliver(log, out, "--set", "match.header.priority=high", status=65)
    assert [e["position"] for e in lines(out)] == ["1-4"]
    assert log.one("SELECT group_concat(position || state) FROM posthorn_parked") == "3dead,5parked"
    assert log.one("SELECT position FROM posthorn_checkpoint") == 5


def test_a_log_that_ends_in_front_of_its_reader_is_refused(log, out):
    log.insert(10)
    deliver(log, out)
    db = log.connect()
    db.execute("DELETE FROM posthorn_outbox")
    db.execute("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'posthorn_outbox'")
    db.close()
    said = deliver(log, out, status=78).stderr
    assert "has read up to position 10" in said and "ends at 3" in said


def test_another_file_in_its_place_is_noticed(log, out, tmp_path, posthorn):
    """A copy that was put back: the relay opens it, and goes on at the copy's own checkpoint."""
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    log.insert(10)
    posthorn.wait_drained(log.uri)
    db = log.connect()
    db.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    log.insert(5)
    posthorn.wait_drained(log.uri)
    assert relay.stop() == 0
    db.close()
    copy = sqlite3.connect(tmp_path / "copy.db")
    assert copy.execute("PRAGMA journal_mode = wal").fetchone() == ("wal",)
    copy.close()
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    relay.wait_log("delivering from 1-15")
    os.replace(tmp_path / "copy.db", log.path)
    for end in ("-wal", "-shm"):
        log.path.with_name(log.path.name + end).unlink(missing_ok=True)
    relay.wait_log("another file was put in the place")
    relay.wait_log("delivering from 1-10")
    log.insert(1)
    until(lambda: len(lines(out)) == 16, what="the copy's new event")
    assert relay.stop() == 0
    assert lines(out)[-1]["position"] == "1-11"


def test_a_copy_restored_into_the_open_file_is_noticed(log, out, posthorn):
    """sqlite3's .restore writes into the same file; its new events must not be taken for settled ones."""
    log.insert(10)
    deliver(log, out)
    copy, db = sqlite3.connect(":memory:"), log.connect()
    db.backup(copy)
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    log.insert(20)
    posthorn.wait_drained(log.uri)
    relay.wait_log("delivering from 1-10")
    copy.backup(db)
    relay.wait_log("was read up to position 30 and now ends at 10")
    relay.wait_log("delivering from 1-10 under epoch", start=len(relay.log.partition("now ends at 10")[0]))
    log.insert(3)
    until(lambda: len(lines(out)) == 33, what="the copy's new events")
    assert relay.stop() == 0
    assert [e["position"] for e in lines(out)][-3:] == ["1-11", "1-12", "1-13"]


@pytest.mark.parametrize("sql, word", [
    ("INSERT OR REPLACE INTO posthorn_outbox (position, aggregate_type, aggregate_id, event_type) VALUES (5, 'a', 'b', 'c')",
     "leave position to SQLite"),
    ("DELETE FROM posthorn_outbox; INSERT INTO posthorn_outbox (position, aggregate_type, aggregate_id, event_type)"
     " VALUES (5, 'a', 'b', 'c')", "leave position to SQLite"),
    ("UPDATE posthorn_outbox SET position = 9 WHERE position = 2", "a position does not change"),
    ("UPDATE OR REPLACE posthorn_outbox SET position = 1 WHERE position = 5", "a position does not change"),
])
def test_a_position_is_given_once_and_stays(log, sql, word):
    """A settled number with another event behind it would never be sent."""
    log.insert(5)
    with pytest.raises(sqlite3.IntegrityError, match=word):
        log.connect().executescript(sql)


def test_payloads_of_every_kind(log, out):
    db = log.connect()
    big = json.dumps("y" * 9_000_000)
    rows = [(None, None, None), ('{"a":\n [1,\r\n2]}', None, None), (big, None, None), (None, b"\0\1\2", "image/png"),
            (None, b"", None), ('"ä€😀"', None, None)]
    db.executemany("""INSERT INTO posthorn_outbox (aggregate_type, aggregate_id, event_type, payload, payload_bytes, content_type)
                      VALUES ('a', 'b', 'c', ?, ?, ?)""", rows)
    deliver(log, out)
    got = lines(out)
    assert [e.get("payload", "none") for e in got] == [None, {"a": [1, 2]}, json.loads(big), "none", "none", "ä€😀"]
    assert [(e["contentType"], e["payloadBase64"]) for e in got[3:5]] == [("image/png", "AAEC"), ("application/octet-stream", "")]


def test_a_relay_waits_for_nothing_it_need_not(log, out, posthorn):
    """Idle, it looks 20 times a second; an event committed then arrives soon."""
    if sanitized():
        pytest.skip("times mean nothing under a sanitizer")
    relay = posthorn.start_relay(log.uri, f"file:{out}")
    relay.wait_log("delivering from")
    time.sleep(1)
    waits = []
    for i in range(20):
        log.insert(1)
        begun, size = time.monotonic(), i
        while not out.exists() or len(lines(out)) <= size:
            assert time.monotonic() - begun < 5
            time.sleep(POLL_SECONDS / 10)
        waits.append(time.monotonic() - begun)
    assert relay.stop() == 0
    assert sorted(waits)[10] < 0.5, waits
