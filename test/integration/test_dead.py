"""What people do with events that left the flow: the schema's functions against the invariants of a key's queue, the
commands over them, and the views of what people ask."""

import base64
import re
import threading

import pytest
from psycopg import errors

from command import answer, posthorn
from schema_db import install, one, waits_for_lock

WHO = re.compile(r"^[^@\s]+@\S+$")


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        conn.execute("INSERT INTO posthorn.pipeline (pipeline) VALUES ('p')")
        yield conn


# -- rows ------------------------------------------------------------------------------------------


def publish(conn, key="a", kind="Placed", count=1, **columns):
    """Events of one aggregate; their positions."""
    names = "".join(f", {name}" for name in columns)
    values = "".join(", %s" for _ in columns)
    return [r[0] for r in conn.execute(
        f"INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers{names})"
        f" SELECT 'order', %s, %s, jsonb_build_object('i', i), '{{\"correlation_id\": \"c-1\"}}'{values}"
        "    FROM generate_series(1, %s) i RETURNING position", [key, kind, *columns.values(), count]).fetchall()]


def park(conn, key="a", state="parked", kind="Placed", pipeline="p", tick=1, own_key=True, error=None, **columns):
    """An event and its row, as the relay makes it but for the time of the next attempt; its position."""
    position = publish(conn, key, kind)[0]
    columns = {"attempts": 1} | columns
    names = "".join(f", {name}" for name in columns)
    values = "".join(", %s" for _ in columns)
    conn.execute(
        "INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, key, state, last_error, xid, created_at,"
        f" event_id, aggregate_type, aggregate_id, event_type, headers, payload{names})"
        " SELECT %s, %s, position, %s, position, CASE WHEN %s THEN aggregate_id END, %s, %s, xid, created_at, event_id,"
        f" aggregate_type, aggregate_id, event_type, headers, payload{values} FROM posthorn.outbox WHERE position = %s",
        [pipeline, tick, tick, own_key, state, error, *columns.values(), position])
    return position


def due(conn, *positions):
    conn.execute("UPDATE posthorn.parked SET next_attempt_at = clock_timestamp() WHERE position = ANY (%s)", [list(positions)])


def states(conn, *columns, pipeline="p"):
    """{position: state}, or with columns {position: (state, ...)}."""
    rows = conn.execute(f"SELECT {', '.join(['position', 'state', *columns])} FROM posthorn.parked WHERE pipeline = %s",
                        [pipeline]).fetchall()
    return {r[0]: r[1] if not columns else tuple(r[1:]) for r in rows}


def id_of(conn, position):
    return str(one(conn, "SELECT event_id FROM posthorn.parked WHERE position = %s", position))


def check_queues(conn):
    """The invariant: the head of a queue that is parked has a time, nobody else who is parked has; dead and discarded rows
    have none."""
    wrong = conn.execute("""
        SELECT p.position, p.state, p.next_attempt_at FROM posthorn.parked p
         WHERE (p.next_attempt_at IS NOT NULL) <> (p.state = 'scheduled' OR p.state = 'parked' AND (p.key IS NULL OR NOT EXISTS (
               SELECT FROM posthorn.parked f
                WHERE f.pipeline = p.pipeline AND f.shard = p.shard AND f.key = p.key
                  AND (f.state = 'parked' OR f.state = 'dead' AND NOT f.passed)
                  AND (f.queue_tick, f.queue_position, coalesce(f.deliver_after, '-infinity'), f.position)
                    < (p.queue_tick, p.queue_position, coalesce(p.deliver_after, '-infinity'), p.position))))""").fetchall()
    assert wrong == []


def acts(conn, pipeline="p"):
    return one(conn, "SELECT acts FROM posthorn.pipeline WHERE pipeline = %s", pipeline)


def audit(conn):
    return conn.execute("SELECT who, act, reason, detail FROM posthorn.audit ORDER BY at").fetchall()


def everything(conn):
    tables = ("parked", "pipeline", "audit", "checkpoint", "lease")
    return {t: sorted(map(repr, conn.execute(f"SELECT * FROM posthorn.{t}").fetchall())) for t in tables}


# -- redrive ---------------------------------------------------------------------------------------


def test_redrive_brings_a_key_back_in_order(c):
    head, *behind = park(c, state="dead", attempts=20, error="too large"), park(c), park(c)
    other = park(c, "b", state="dead")
    check_queues(c)
    assert one(c, "SELECT posthorn.redrive('p', 'ada@home', 'mended', key => 'a')") == 1
    check_queues(c)
    got = states(c, "attempts", "next_attempt_at <= clock_timestamp()", "redriven_at IS NOT NULL")
    assert got[head] == ("parked", 0, True, True)
    assert [got[b] for b in behind] == [("parked", 1, None, False)] * 2
    assert got[other] == ("dead", 1, None, False)
    assert acts(c) == 1
    assert audit(c) == [("ada@home", "redrive", "mended", {"pipeline": "p", "key": "a", "events": 1, "login": "postgres"})]


def test_a_redriven_row_that_was_passed_stands_in_front_and_stays_passed(c):
    passed = park(c, state="dead", passed=True, gap_due=True)
    head, behind = park(c), park(c)
    due(c, head)
    check_queues(c)
    assert one(c, "SELECT posthorn.redrive('p', 'ada@home')") == 1
    check_queues(c)
    got = states(c, "passed", "gap_due", "next_attempt_at IS NOT NULL")
    assert got == {passed: ("parked", True, False, True), head: ("parked", False, False, False), behind: ("parked", False, False, False)}


def test_a_redriven_row_behind_a_dead_one_waits(c):
    first, second = park(c, state="dead"), park(c, state="dead", error="mended by now")
    assert one(c, "SELECT posthorn.redrive('p', 'ada@home', error_like => 'mended%%')") == 1
    check_queues(c)
    assert states(c, "next_attempt_at") == {first: ("dead", None), second: ("parked", None)}


def test_the_rate_staggers_the_heads(c):
    rows = [park(c, key, state="dead") for key in "abcde"]
    alone = park(c, "f", state="dead", own_key=False)
    assert one(c, "SELECT posthorn.redrive('p', 'ada@home', rate => 2)") == 6
    check_queues(c)
    times = [one(c, "SELECT extract(epoch FROM next_attempt_at - redriven_at) FROM posthorn.parked WHERE position = %s", r)
             for r in [*rows, alone]]
    assert [float(t) for t in times] == [0, 0.5, 1, 1.5, 2, 2.5]


@pytest.mark.parametrize("function", ["redrive", "discard"])
def test_each_filter_chooses(c, function):
    wanted = park(c, "w", state="dead", kind="Paid", error="Message SIZE too large, 100% of it")
    park(c, "x", state="dead", kind="Placed", error="100 of it")
    park(c, "y", state="dead", kind="Placed", first_failed_at="2020-01-01")
    for state in ("discarded", "skipped", "parked"):
        due(c, park(c, f"no-{state}", state=state, kind="Paid", error="message size"))
    c.execute("UPDATE posthorn.parked SET next_attempt_at = NULL WHERE state <> 'parked'")
    c.execute("INSERT INTO posthorn.pipeline VALUES ('q')")
    park(c, "w", state="dead", pipeline="q")
    c.execute("UPDATE posthorn.parked SET first_failed_at = '2021-01-01' WHERE key IN ('x', 'w') AND position <> %s", [wanted])
    for filter, count in {"event_type => 'Paid'": 1, "key => 'w'": 1, "error_like => '%%message size%%'": 1,
                          "error_like => '%%100\\%%%%'": 1, "error_like => 'size'": 0, "since => '2021-01-01'": 2,
                          "since => '2021-01-01', event_type => 'Paid'": 1, f"event_id => '{id_of(c, wanted)}'": 1,
                          "event_type => 'paid'": 0}.items():
        before = everything(c)
        with c.transaction(force_rollback=True):
            assert one(c, f"SELECT posthorn.{function}('p', 'ada@home', {filter}, dry_run => true)") == count, filter
            assert everything(c) == before
            assert one(c, f"SELECT posthorn.{function}('p', 'ada@home', {filter})") == count, filter
            assert (states(c)[wanted] == "dead") == (filter.startswith("error_like => 'size'") or "paid'" in filter)
            check_queues(c)
    assert one(c, f"SELECT posthorn.{function}(NULL, 'ada@home')") == 4
    assert (acts(c), acts(c, "q")) == (1, 1)


def test_nothing_to_do_leaves_nothing_behind(c):
    due(c, park(c))
    before = everything(c)
    assert one(c, "SELECT posthorn.redrive('p', 'ada@home')") == 0
    assert one(c, "SELECT posthorn.discard('p', 'ada@home')") == 0
    assert everything(c) == before


@pytest.mark.parametrize("call", ["redrive('p', '')", "discard('p', NULL)", "redrive('p', 'a', rate => 0)", "pause('p', '')",
                                  "resume('', 'a')", "reshard('p', 0, 'a')", "reshard('p', 65, 'a')"])
def test_refuses_wrong_parameters(c, call):
    with pytest.raises(errors.InvalidParameterValue):
        c.execute(f"SELECT posthorn.{call}")


def test_unknown_pipelines_and_other_isolation_are_refused(c):
    for call in ("redrive('none', 'a')", "discard('none', 'a')", "pause('none', 'a')", "resume('none', 'a')",
                 "reshard('none', 2, 'a')"):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="the log knows no pipeline none"):
            c.execute(f"SELECT posthorn.{call}")
        with pytest.raises(errors.InvalidTransactionState), c.transaction():
            c.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            c.execute(f"SELECT posthorn.{call.replace('none', 'p')}")


def test_an_act_waits_for_the_relay_and_sees_what_it_did(db, c):
    position = park(c, state="dead")
    with db.connect() as relay, db.connect() as person:
        with relay.transaction():
            relay.execute("SELECT FROM posthorn.pipeline WHERE pipeline = 'p' FOR UPDATE")
            got = []
            act = threading.Thread(target=lambda: got.append(one(person, "SELECT posthorn.discard('p', 'ada@home')")))
            act.start()
            waits_for_lock(c, person)
            relay.execute("DELETE FROM posthorn.parked WHERE position = %s", [position])
            second = park(relay, "b", state="dead")
        act.join(30)
    assert got == [1] and states(c) == {second: "discarded"}


# -- discard ---------------------------------------------------------------------------------------


def test_discard_lets_the_key_go_on_and_keeps_the_row(c):
    head, behind, last = park(c, state="dead"), park(c), park(c)
    assert one(c, "SELECT posthorn.discard('p', 'ada@home', 'a test order')") == 1
    check_queues(c)
    got = states(c, "next_attempt_at <= clock_timestamp()")
    assert got == {head: ("discarded", None), behind: ("parked", True), last: ("parked", None)}
    assert acts(c) == 1
    assert audit(c) == [("ada@home", "discard", "a test order", {"pipeline": "p", "events": 1, "login": "postgres"})]


def test_a_parked_head_is_discarded_by_its_id_alone(c):
    head, behind = park(c), park(c)
    due(c, head)
    assert one(c, "SELECT posthorn.discard('p', 'ada@home')") == 0
    assert one(c, "SELECT posthorn.discard('p', 'ada@home', event_id => %s)", id_of(c, behind)) == 0
    assert one(c, "SELECT posthorn.discard('p', 'ada@home', event_id => %s)", id_of(c, head)) == 1
    check_queues(c)
    assert states(c) == {head: "discarded", behind: "parked"}


# -- pause and resume ------------------------------------------------------------------------------


def test_pause_and_resume(db, c):
    assert one(c, "SELECT posthorn.pause('p', 'ada@home', 'the broker moves')")
    assert not one(c, "SELECT posthorn.pause('p', 'bob@work')")
    assert one(c, "SELECT paused_by, paused_reason, paused_at <= clock_timestamp() FROM posthorn.pipeline") == (
        "ada@home", "the broker moves", True)
    assert one(c, "SELECT posthorn.resume('p', 'ada@home')")
    assert not one(c, "SELECT posthorn.resume('p', 'ada@home')")
    assert one(c, "SELECT paused_at, paused_by, paused_reason FROM posthorn.pipeline") == (None, None, None)
    assert [a[1] for a in audit(c)] == ["pause", "resume"]


def test_the_commands_pause_and_resume(db, c):
    assert posthorn("pause", db.dsn(), "p", "--reason", "night").stdout == "pipeline p is paused\n"
    assert posthorn("pause", db.dsn(), "p").stdout == "it was so already: pipeline p is paused\n"
    assert posthorn("resume", db.dsn(), "p").stdout == "pipeline p is not paused\n"
    (who, act, reason, _), _ = audit(c)
    assert WHO.match(who) and (act, reason) == ("pause", "night")
    assert "the log knows no pipeline none" in posthorn("pause", db.dsn(), "none", status=78).stderr


# -- the command dead ------------------------------------------------------------------------------


def test_list_and_show(db, c):
    head = park(c, state="dead", attempts=3, error="Broker: Message size too large")
    park(c), park(c)
    waiting = park(c, "b", error="Local: timed out")
    due(c, waiting)
    got = answer("dead", "list", db.dsn())
    assert not got["more"]
    (row,) = got["events"]
    assert row | {"firstFailedAt": None, "createdAt": None} == {
        "pipeline": "p", "shard": 0, "state": "dead", "attempts": 3, "passed": False, "waiting": 2, "id": id_of(c, head),
        "position": f"1-{head}", "aggregateType": "order", "aggregateId": "a", "eventType": "Placed", "createdAt": None, "key": "a",
        "nextAttemptAt": None, "firstFailedAt": None, "redrivenAt": None, "deliverAfter": None,
        "lastError": "Broker: Message size too large"}
    assert [e["state"] for e in answer("dead", "list", db.dsn(), "--state", "all")["events"]] == ["dead", "parked", "parked", "parked"]
    assert [e["waiting"] for e in answer("dead", "list", db.dsn(), "--state", "parked")["events"]] == [None, None, 0]
    text = posthorn("dead", "list", db.dsn()).stdout
    assert f"{id_of(c, head)} dead of p\n" in text and "a, 2 events wait behind it" in text and "payload" not in text
    shown = answer("dead", "show", db.dsn(), "--id", id_of(c, head))["events"]
    assert [(e["payload"], e["headers"]) for e in shown] == [({"i": 1}, {"correlation_id": "c-1"})]
    assert '  payload     {"i": 1}\n' in posthorn("dead", "show", db.dsn(), "--id", id_of(c, head)).stdout
    assert posthorn("dead", "list", db.dsn(), "--pipeline", "none").stdout == "no such events\n"
    limited = answer("dead", "list", db.dsn(), "--state", "all", "--limit", "2")
    assert limited["more"] and len(limited["events"]) == 2
    assert "only the first 2 are shown" in posthorn("dead", "list", db.dsn(), "--state", "all", "--limit", "2").stdout


def test_show_gives_bytes_and_tombstones(db, c):
    position = park(c, state="dead")
    c.execute("UPDATE posthorn.parked SET payload = NULL, payload_bytes = '\\x00ff1b', content_type = 'application/x'")
    words = ["dead", "show", db.dsn(), "--id", id_of(c, position)]
    (row,) = answer(*words)["events"]
    assert base64.b64decode(row["payloadBase64"]) == b"\x00\xff\x1b" and row["contentType"] == "application/x"
    assert "3 bytes, base64 AP8b\n" in posthorn(*words).stdout
    c.execute("UPDATE posthorn.parked SET payload_bytes = NULL, content_type = NULL")
    assert answer(*words)["events"][0]["payload"] is None
    assert "none (a tombstone)" in posthorn(*words).stdout


def test_no_text_of_the_database_reaches_the_terminal_raw(db, c):
    evil = "\x1b]0;title\x07 \x9b31m red\r\n\u202efdp.exe \x7f\u2028"
    c.execute("INSERT INTO posthorn.pipeline VALUES (%s)", [evil])
    position = park(c, evil, kind=evil, error=evil, state="dead", pipeline=evil)
    c.execute("UPDATE posthorn.parked SET headers = jsonb_build_object('h', %s::text), payload = to_jsonb(%s::text)", [evil, evil])
    for words in (["dead", "list", db.dsn()], ["dead", "show", db.dsn(), "--id", id_of(c, position)], ["status", db.dsn()]):
        text = posthorn(*words).stdout
        assert not [ch for ch in text if ch != "\n" and (ord(ch) < 32 or 127 <= ord(ch) < 160 or ch in "\u202e\u2028")], text
        if words[0] == "dead":
            assert "\\u001b]0;title\\u0007 \\u009b31m red\\u000d\\n\\u202efdp.exe \\u007f\\u2028" in text
            assert answer(*words)["events"][0]["lastError"] == evil


def test_redrive_and_discard(db, c):
    rows = [park(c, key, state="dead", error="x") for key in "abc"]
    before = everything(c)
    assert posthorn("dead", "redrive", db.dsn(), "--all", "--dry-run").stdout == "would redrive 3 events\n"
    assert posthorn("dead", "discard", db.dsn(), "--all", "--dry-run").stdout == "would discard 3 events\n"
    assert answer("dead", "discard", db.dsn(), "--all", "--dry-run") == {"events": 3, "dryRun": True}
    assert everything(c) == before
    assert posthorn("dead", "redrive", db.dsn(), "--key", "a", "--reason", "mended").stdout == "redrove 1 event\n"
    assert answer("dead", "discard", db.dsn(), "--id", id_of(c, rows[1])) == {"events": 1, "dryRun": False}
    assert posthorn("dead", "redrive", db.dsn(), "--error-like", "y%").stdout == "redrove 0 events\n"
    assert states(c) == dict(zip(rows, ("parked", "discarded", "dead")))
    assert [(a[1], a[2]) for a in audit(c)] == [("redrive", "mended"), ("discard", None)]
    assert posthorn("dead", "redrive", db.dsn(), "--pipeline", "p", "--rate", "0.5").stdout == "redrove 1 event\n"
    check_queues(c)


@pytest.mark.parametrize("words, said", [
    (["redrive", "DB"], "say which events"),
    (["discard", "DB", "--dry-run"], "say which events"),
    (["show", "DB"], "--id is missing"),
    (["show", "DB", "--id", "17"], "a UUID"),
    (["list", "DB", "--state", "sent"], "--state sent: must be"),
    (["list", "DB", "--rate", "1"], "--rate does not go with list"),
    (["redrive", "DB", "--all", "--rate", "nan"], "--rate nan"),
    (["redrive", "DB", "--all", "--rate", "0"], "--rate 0"),
    (["list", "DB", "--since", "yesterday"], "write a time with its zone"),
    (["list", "DB", "--limit", "0"], "--limit 0"),
    (["revive", "DB"], "none of list, show, redrive and discard"),
    (["list"], "DB-URI is missing"),
])
def test_wrong_words(words, said):
    done = posthorn("dead", *["postgresql://127.0.0.1:1/x" if w == "DB" else w for w in words], status=64)
    assert said in done.stderr and "see posthorn help dead" in done.stderr
