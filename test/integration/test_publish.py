"""posthorn publish: one event, many lines, what is refused, and what is said when an answer is missing."""

import json
import subprocess
import uuid

import pytest

from command import Door, posthorn, sanitized, start
from schema_db import install, one
from servers import until

ONE = ["--aggregate-type", "order", "--aggregate-id", "1", "--event-type", "Placed"]


@pytest.fixture(params=["pg15", "pg18"])
def db(request):
    with request.getfixturevalue(request.param).fresh_database("publish") as database:
        yield install(database)


@pytest.fixture
def conn(db):
    with db.connect() as c:
        yield c


def line(i, **more):
    return json.dumps({"aggregateType": "order", "aggregateId": str(i % 7), "eventType": "Placed", "payload": {"i": i}, **more})


def publish(db, content, status=0, path=None):
    if path:
        path.write_text(content)
    return posthorn("publish", db.dsn(), "--ndjson", str(path) if path else "-", status=status,
                    stdin=None if path else content)


def order(conn):
    return [i for (i,) in conn.execute("SELECT (payload->>'i')::int FROM posthorn.outbox ORDER BY position")]


# One event.

def test_one_event(db, conn):
    said = posthorn("publish", db.dsn(), *ONE, "--payload", '{"a": 1.500, "b": "é"}', "--header", "traceparent=00-x=y",
                    "--header", 'q="\\ é').stdout
    event = one(conn, "SELECT event_id, aggregate_type, aggregate_id, event_type, payload::text, headers FROM posthorn.outbox")
    assert said == f"{event[0]}\n"
    assert event[1:4] == ("order", "1", "Placed")
    assert event[4] == '{"a": 1.500, "b": "é"}'
    assert event[5] == {"traceparent": "00-x=y", "q": '"\\ é'}


def test_a_tombstone(db, conn):
    posthorn("publish", db.dsn(), *ONE, "--payload", " null ")
    assert one(conn, "SELECT payload IS NULL AND payload_bytes IS NULL FROM posthorn.outbox")


def test_a_payload_from_a_file(db, conn, tmp_path):
    (tmp_path / "p.json").write_text('\n{"big": "%s"}\n' % ("x" * 1000000))
    posthorn("publish", db.dsn(), *ONE, "--payload", f"@{tmp_path}/p.json")
    assert one(conn, "SELECT length(payload->>'big') FROM posthorn.outbox") == 1000000
    assert "No such file" in posthorn("publish", db.dsn(), *ONE, "--payload", f"@{tmp_path}/q", status=74).stderr


@pytest.mark.parametrize("words, status, says", [
    ([*ONE, "--payload", "{"], 65, "--payload: JSON, byte 1"),
    ([*ONE, "--payload", ""], 65, "--payload: JSON"),
    ([*ONE, "--payload", '"\\u0000"'], 65, "Unicode escape"),
    ([*ONE], 64, "--payload is missing"),
    ([*ONE[2:], "--payload", "1"], 64, "--aggregate-type is missing"),
    ([*ONE[:-1], "", "--payload", "1"], 64, "--event-type must not be empty"),
    ([*ONE, "--payload", "1", "--header", "x"], 64, "NAME=VALUE"),
    ([*ONE, "--payload", "1", "--header", "x=1", "--header", "x=2"], 64, "--header x was given twice"),
])
def test_one_event_refused(db, conn, words, status, says):
    done = posthorn("publish", db.dsn(), *words, status=status)
    assert says in done.stderr and done.stdout == ""
    assert one(conn, "SELECT count(*) FROM posthorn.outbox") == 0


def test_a_writer_may_publish_and_nothing_else(db, conn):
    posthorn("init", db.dsn(), "--roles")
    env = {"PGOPTIONS": "-c role=posthorn_writer"}
    posthorn("publish", db.dsn(), *ONE, "--payload", "1", env=env)
    posthorn("publish", db.dsn(), "--ndjson", "-", stdin=line(1, id=str(uuid.uuid4()), headers={"a": "b"}), env=env)
    assert one(conn, "SELECT count(*) FROM posthorn.outbox") == 2
    assert "permission denied" in posthorn("status", db.dsn(), status=78, env=env).stderr


# Many.

def test_lines_keep_their_order(db, conn, tmp_path):
    content = "".join(line(i) + ("\r\n\n" if i % 10 == 0 else "\n") for i in range(2500))
    assert publish(db, content, path=tmp_path / "o").stdout == "published 2500 events in 3 transactions\n"
    assert order(conn) == list(range(2500))
    assert one(conn, "SELECT count(DISTINCT xid) FROM posthorn.outbox") == 3
    assert publish(db, content.rstrip("\n")).stdout == "published 2500 events in 3 transactions\n"
    assert order(conn) == list(range(2500)) * 2


def test_large_lines_keep_their_order_and_their_transaction(db, conn):
    content = "\n".join(json.dumps({"aggregateType": "o", "aggregateId": "1", "eventType": "E",
                                    "payload": {"i": i, "x": "\\\"{},'" * 30000}}) for i in range(60))
    assert "60 events in 1 transactions" in publish(db, content).stdout
    assert order(conn) == list(range(60))
    assert one(conn, "SELECT count(DISTINCT xid) FROM posthorn.outbox WHERE payload->>'x' LIKE '%%\\\\\"{},''%%'") == 1


def test_every_field(db, conn):
    event_id = str(uuid.uuid4())
    raw = ('{"payload": {"n":123456789012345678901234567890.123000,"e":1E+2,"u":"\\u00e9","d":1,"d":2}, "headers":{"h":"\\"\\\\"},'
           '"id":"%s","aggregateType":"a{b},c","aggregateId":"NULL","eventType":"it\'s \\"q\\" \\\\"}' % event_id.upper())
    publish(db, "\ufeff" + raw + "\n" + line(1, payload=None, headers=None, id=None))
    rows = conn.execute("SELECT event_id::text, aggregate_type, aggregate_id, event_type, payload::text, headers "
                        "FROM posthorn.outbox ORDER BY position").fetchall()
    assert rows[0] == (event_id, "a{b},c", "NULL", 'it\'s "q" \\',
                       '{"d": 2, "e": 100, "n": 123456789012345678901234567890.123000, "u": "é"}', {"h": '"\\'})
    assert rows[1][4:] == (None, {})


def test_nothing_to_publish(db):
    assert publish(db, "").stdout == "published 0 events in 0 transactions\n"
    assert publish(db, "\n \n\r\n").stdout == "published 0 events in 0 transactions\n"


@pytest.mark.parametrize("bad, says", [
    ('{"aggregateType":"o"', "JSON"),
    ('{"aggregateType":"o","aggregateId":"1","eventType":"E"}', 'field "payload" is missing'),
    ('{"aggregateType":"o","aggregateID":"1","eventType":"E","payload":1}', "did you mean aggregateId?"),
    ('{"aggregateType":"o","aggregateId":1,"eventType":"E","payload":1}', 'field "aggregateId": must be a string'),
    ('{"aggregateType":"o","aggregateId":"1","eventType":"E","payload":1,"id":"x"}', "must be a UUID"),
    ('{"aggregateType":"o","aggregateId":"1","eventType":"E","payload":"geheim\\u0000"}', "SQLSTATE 22P05"),
    ('{"aggregateType":"o","aggregateId":"1","eventType":"E","payload":{"geheim":1e200000}}', "SQLSTATE 22003"),
    ('{"aggregateType":"o","aggregateId":"1","eventType":"E","payload":"\\ud800"}', "SQLSTATE 22P02"),
])
def test_a_bad_line_is_named_and_its_transaction_not_kept(db, conn, tmp_path, bad, says):
    lines = [line(i) for i in range(3000)]
    lines[2345] = bad
    path = tmp_path / "orders.ndjson"
    done = publish(db, "\n".join(lines), status=65, path=path)
    first, second = done.stderr.splitlines()
    assert first.startswith(f"posthorn: {path}:2346: ") and says in first
    assert second == "posthorn: 2000 events in 2 transactions before it were committed"
    assert "geheim" not in done.stderr and done.stdout == ""
    assert order(conn) == list(range(2000))


def test_a_line_without_end_is_refused_with_bounded_memory(db):
    process = start("publish", db.dsn(), "--ndjson", "-", stdin=subprocess.PIPE)
    said = b""
    try:
        for _ in range(64):
            process.stdin.buffer.write(b"x" * (1 << 20))
    except BrokenPipeError:
        pass
    try:
        process.stdin.close()
    except BrokenPipeError:
        pass
    said = process.stderr.read()
    assert process.wait(timeout=20) == 65
    assert "stdin:1: the line is longer than 16777216 bytes" in said


def test_a_long_input_takes_little_memory(db, conn):
    """150 MB on stdin."""
    process = start("publish", db.dsn(), "--ndjson", "-", stdin=subprocess.PIPE)
    text = line(0, payload={"i": 0, "x": "y" * 3000}) + "\n"
    for _ in range(50):
        process.stdin.write(text * 1000)
    process.stdin.close()
    with open(f"/proc/{process.pid}/status") as f:
        peak_kb = next(int(row.split()[1]) for row in f if row.startswith("VmHWM"))
    said = process.stdout.read()
    assert process.wait(timeout=60) == 0
    assert said == "published 50000 events in 50 transactions\n"
    if not sanitized():
        assert peak_kb < 64 * 1024


def test_a_file_that_is_not_there(db, tmp_path):
    assert "No such file" in posthorn("publish", db.dsn(), "--ndjson", str(tmp_path / "x"), status=74).stderr


# When the server goes away.

@pytest.mark.parametrize("before, kept", [(True, 1000), (False, 2000)])
def test_a_commit_without_an_answer_is_told(db, conn, before, kept):
    """The second COMMIT is lost on its way there, or its answer on the way back."""

    door = Door(db.dsn(), b"COMMIT\0", before, skip=1)
    try:
        done = posthorn("publish", door.dsn(), "--ndjson", "-", stdin="\n".join(line(i) for i in range(2500)), status=69)
    finally:
        door.close()
    assert "its 1000 events may or may not be published" in done.stderr
    assert "1000 events in 1 transactions before it were committed" in done.stderr
    until(lambda: one(conn, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'posthorn publish' "
                            "AND datname = current_database()") == 0)
    assert order(conn) == list(range(kept))


def test_one_event_without_an_answer_is_told(db, conn):
    door = Door(db.dsn(), b"COMMIT\0", False)
    try:
        said = posthorn("publish", door.dsn(), *ONE, "--payload", "1", status=69).stderr
    finally:
        door.close()
    assert "the event may or may not be published" in said
    until(lambda: one(conn, "SELECT count(*) FROM posthorn.outbox") == 1)


def test_a_connection_lost_between_transactions_is_no_doubt(db, conn):
    door = Door(db.dsn(), b"SAVEPOINT batch", True)
    try:
        done = posthorn("publish", door.dsn(), "--ndjson", "-", stdin=line(1), status=69)
    finally:
        door.close()
    assert "may or may not" not in done.stderr
    assert "0 events in 0 transactions" in done.stderr
    assert order(conn) == []
