"""posthorn verify: a delivery that held, each fault planted alone, and what counts as no fault.

The sink is a file of lines, which a test can change; Kafka at the end.
"""

import json
import os
import random
import subprocess
import threading
import uuid

import pytest

from command import answer, posthorn, sanitized, tool
from schema_db import install, one

FIELDS = ["events", "records", "missing", "duplicated", "outOfOrder", "phantom", "skipped", "pending", "beyondLog", "ok", "findings"]
HELD = {"missing": 0, "duplicated": 0, "outOfOrder": 0, "phantom": 0, "ok": True}


class World:
    """A log, and a file that a pipeline delivers it to."""

    def __init__(self, db, path):
        self.db, self.path = db, path
        self.uri = f"file:{path}"

    def insert(self, count, days_ago=0, conn=None):
        """Events of seven keys. Those of another day lie in that day's bucket, as if they had been published then."""
        sql = """INSERT INTO posthorn.outbox (bucket, created_at, aggregate_type, aggregate_id, event_type, payload)
                 SELECT (extract(epoch FROM t)::bigint / 86400 %% 10)::smallint, t, 'order', (i %% 7)::text, 'placed', '{}'
                   FROM generate_series(1, %s) i, LATERAL (SELECT clock_timestamp() - %s * interval '1 day') AS l (t)"""
        if conn:
            conn.execute(sql, (count, days_ago))
        else:
            with self.db.connect() as c:
                c.execute(sql, (count, days_ago))

    def deliver(self, *words):
        posthorn("run", "--from", self.db.dsn(), "--to", self.uri, "--once", *words)

    def verify(self, *words, status=0, env=None):
        got = answer("verify", "--from", self.db.dsn(), "--to", self.uri, *words, status=status, env=env)
        assert list(got) == FIELDS
        return got

    def held(self, *words, **expected):
        got = self.verify(*words)
        expected = {**HELD, **expected}
        assert {k: got[k] for k in expected} == expected, got
        return got

    def broken(self, *words, **expected):
        got = self.verify(*words, status=1)
        faults = {k: got[k] for k in ("missing", "duplicated", "outOfOrder", "phantom")}
        assert faults == {**dict.fromkeys(faults, 0), **expected} and not got["ok"], got
        return got

    def lines(self):
        return self.path.read_text().splitlines()

    def change(self, lines):
        self.path.write_text("".join(line + "\n" for line in lines))

    def event(self, i):
        """Id and position of line i."""
        event = json.loads(self.lines()[i])
        return event["id"], event["position"]


@pytest.fixture(params=["pg15", "pg18"])
def world(request, tmp_path):
    with request.getfixturevalue(request.param).fresh_database("verify") as db:
        yield World(install(db), tmp_path / "out.ndjson")


@pytest.fixture
def delivered(world):
    world.insert(500)
    with world.db.connect() as early, world.db.connect() as c:
        early.execute("BEGIN")
        world.insert(20, conn=early)
        world.insert(500, conn=c)
        world.deliver()
        early.execute("COMMIT")  # with lower positions than what was delivered before
    world.deliver()
    return world


def forged(line, position=None):
    event = json.loads(line)
    event["id"] = str(uuid.uuid4())
    if position:
        event["position"] = position
    return json.dumps(event, separators=(",", ":"))


def test_what_held(delivered):
    delivered.held("--strict", events=1020, records=1020, skipped=0, pending=0, beyondLog=0, findings=[])
    said = posthorn("verify", "--from", delivered.db.dsn(), "--to", delivered.uri).stdout
    assert "compared 1020 events with 1020 records" in said
    assert "missing 0, duplicated 0, out of order 0, phantom 0" in said


def test_missing(delivered):
    lines = delivered.lines()
    gone, position = delivered.event(700)
    delivered.change(lines[:700] + lines[701:])
    got = delivered.broken(missing=1)
    assert got["findings"] == [{"fault": "missing", "id": gone, "position": position.split("-")[1]}]
    said = posthorn("verify", "--from", delivered.db.dsn(), "--to", delivered.uri, status=1).stdout
    assert f"missing: event {gone} at " in said


def test_a_lost_tail_and_no_file_at_all(delivered):
    delivered.change(delivered.lines()[:-30])
    got = delivered.broken(missing=30)
    assert len(got["findings"]) == 10
    delivered.change([])
    delivered.broken(missing=1020)


def test_duplicated_is_no_breach_of_at_least_once(delivered):
    lines = delivered.lines()
    delivered.change(lines[:600] + lines[550:600] + lines[550:])
    delivered.held(duplicated=50, records=1120)
    got = delivered.verify("--strict", status=1)
    assert got["duplicated"] == 50 and not got["ok"]


def test_out_of_order(delivered):
    lines = delivered.lines()
    key = [i for i, line in enumerate(lines) if json.loads(line)["aggregateId"] == "3"]
    a, b = key[10], key[11]
    late = delivered.event(a)[0]
    lines[a], lines[b] = lines[b], lines[a]
    delivered.change(lines)
    got = delivered.broken(outOfOrder=1)
    assert got["findings"][0]["id"] == late


def test_another_order_of_keys_is_no_fault(delivered):
    """Sorted by key, everything else as it was."""
    delivered.change(sorted(delivered.lines(), key=lambda line: json.loads(line)["aggregateId"]))
    delivered.held(events=1020)


def test_a_position_that_is_not_the_logs(delivered):
    lines = delivered.lines()
    event = json.loads(lines[-1])
    tick, position = event["position"].split("-")
    lines[-1] = lines[-1].replace(event["position"], f"{tick}-{int(position) + 1000}")
    delivered.change(lines)
    delivered.broken(outOfOrder=1)


def test_phantom(delivered):
    lines = delivered.lines()
    delivered.change(lines[:500] + [forged(lines[500])] + lines[500:] + [forged(lines[0], "9-999999")])
    got = delivered.broken(phantom=2)
    assert {f["position"] for f in got["findings"]} == {json.loads(lines[500])["position"], "9-999999"}


def test_all_faults_at_once(delivered):
    lines = delivered.lines()
    key = [i for i, line in enumerate(lines) if json.loads(line)["aggregateId"] == "3"]
    a, b = key[5], key[6]
    lines[a], lines[b] = lines[b], lines[a]
    extra = [lines[900], forged(lines[1])]
    del lines[800]
    delivered.change(lines + extra)
    delivered.broken(missing=1, duplicated=1, outOfOrder=1, phantom=1)


def test_pending(delivered):
    delivered.insert(7)
    delivered.held(events=1020, pending=7)


def test_delivered_and_not_settled(delivered):
    """A crash between the sink's answer and the checkpoint: the records are known, and no event counts as settled."""
    with delivered.db.connect() as c:
        before = one(c, "SELECT tick, position, snapshot, base_snapshot FROM posthorn.checkpoint")
        delivered.insert(50)
        delivered.deliver()
        c.execute("UPDATE posthorn.checkpoint SET tick = %s, position = %s, snapshot = %s, base_snapshot = %s", before)
    delivered.held(events=1020, records=1070, pending=50)
    delivered.deliver()
    delivered.held(events=1070, records=1120, duplicated=50, pending=0)


def test_a_tick_settled_in_part(world):
    world.insert(100)
    world.deliver()
    with world.db.connect() as c:
        c.execute("UPDATE posthorn.checkpoint SET base_snapshot = '3:3:', position = 60")
    world.held(events=60, records=100, pending=40)


def test_skipped(delivered):
    lines = delivered.lines()
    event = json.loads(lines[900])
    tick, position = event["position"].split("-")
    with delivered.db.connect() as c:
        c.execute("INSERT INTO posthorn.parked (pipeline, tick, position, queue_tick, queue_position, state, xid, created_at, event_id, "
                  "aggregate_type, aggregate_id, event_type) SELECT 'default', %s, position, 1, position, 'dead', xid, created_at, "
                  "event_id, aggregate_type, aggregate_id, event_type FROM posthorn.outbox WHERE position = %s", (tick, position))
        delivered.held(events=1019, records=1020, skipped=1)  # delivered all the same: known
        delivered.change(lines[:900] + lines[901:])
        delivered.held(events=1019, records=1019, skipped=1)
        c.execute("UPDATE posthorn.parked SET pipeline = 'another'")
        delivered.broken(missing=1)


def test_a_pipeline_that_began_late(world):
    world.insert(100)
    posthorn("run", "--from", world.db.dsn(), "--to", world.uri, "--once", "--set", "start=latest")
    world.insert(50)
    world.deliver()
    world.held(events=50, records=50)
    posthorn("run", "--from", world.db.dsn(), "--to", world.uri, "--once", "--name", "second")  # into the same file
    world.held(events=50, records=200, duplicated=50)
    got = world.verify("--name", "second", status=1)  # whose reader met the last 50 before the first 100
    assert (got["events"], got["missing"], got["outOfOrder"], got["duplicated"]) == (150, 0, 100, 50)


def test_beyond_the_log(world):
    with world.db.connect() as c:
        c.execute("UPDATE posthorn.meta SET installed_at = now() - interval '30 days'")
        for days in (5, 4, 3, 0):
            world.insert(100, days)
        world.deliver()
        lines = world.lines()
        world.held(events=400)
        bucket = "SELECT bucket FROM posthorn.outbox WHERE position = %s"
        oldest, middle = one(c, bucket, 1), one(c, bucket, 101)

        c.execute(f"TRUNCATE ONLY posthorn.outbox_{oldest}")
        world.held(events=300, records=400, beyondLog=100)
        c.execute(f"TRUNCATE ONLY posthorn.outbox_{one(c, bucket, 201)}")  # a hole: the ring passed by a held bucket
        world.held(events=200, records=400, beyondLog=200)
        world.change(lines + [forged(lines[350])])  # among events that are all there
        world.broken(phantom=1)
        world.change(lines + [forged(lines[150])])
        world.broken(phantom=1)
        world.change(lines)
        for b in range(10):
            c.execute(f"TRUNCATE ONLY posthorn.outbox_{b}")
        assert middle != oldest
        world.held(events=0, records=400, beyondLog=400)


def test_an_empty_log_that_was_never_cleared_knows_nothing(world):
    world.deliver()
    event = {"id": str(uuid.uuid4()), "type": "placed", "aggregateType": "order", "aggregateId": "1", "position": "1-1",
             "createdAt": "2026-01-01T00:00:00.000000Z", "headers": {}, "payload": {}}
    world.change([json.dumps(event, separators=(",", ":"))])
    world.broken(phantom=1)


def test_while_writers_and_the_relay_run(world):
    """Long transactions, rollbacks, and a pipeline that goes on: never a false alarm."""
    done = threading.Event()

    def write(seed):
        rng = random.Random(seed)
        with world.db.connect() as c:
            while not done.is_set():
                c.execute("BEGIN")
                world.insert(rng.randint(1, 20), conn=c)
                if rng.random() < 0.3:
                    done.wait(rng.random() * 0.2)
                c.execute("ROLLBACK" if rng.random() < 0.2 else "COMMIT")

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    relay = tool().start_relay(world.db.dsn(), world.uri)
    for writer in writers:
        writer.start()
    try:
        seen = 0
        for _ in range(10):
            done.wait(0.3)
            if world.path.exists() and answer("status", world.db.dsn())["pipelines"]:
                seen = max(seen, world.held("--strict")["events"])
    finally:
        done.set()
        for writer in writers:
            writer.join()
        status = relay.stop()
    assert status == 0, relay.log
    world.deliver()
    with world.db.connect() as c:
        total = one(c, "SELECT count(*) FROM posthorn.outbox")
    assert total > seen > 0
    world.held("--strict", events=total, records=total, pending=0)


def test_bounded_memory_and_nothing_left_behind(world, tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    world.insert(300000)
    world.deliver()
    # a limit, not a measurement: a child's ru_maxrss begins with the peak of the process that made it
    limit = [] if sanitized() else ["prlimit", f"--data={64 << 20}"]
    done = subprocess.run([*limit, str(tool().binary), "verify", "--from", world.db.dsn(), "--to", world.uri, "--json"], capture_output=True,
                          text=True, timeout=120, env={**os.environ, "TMPDIR": str(tmp)})
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["events"] == said["records"] == 300000
    assert list(tmp.iterdir()) == []


def test_what_cannot_be_verified(world):
    assert 'pipeline "default" has no checkpoint' in verify_fails(world, world.uri, 78)
    world.deliver()
    assert "cannot be read back" in verify_fails(world, "stdout:", 78)
    assert "/nonexistent" in verify_fails(world, world.uri, 74, env={"TMPDIR": "/nonexistent"})
    world.insert(1)
    world.deliver()
    world.change(["something else"])
    assert str(world.path) in verify_fails(world, world.uri, 65)


def verify_fails(world, uri, status, env=None):
    done = posthorn("verify", "--from", world.db.dsn(), "--to", uri, status=status, env=env)
    assert done.stdout == ""
    return done.stderr


def test_kafka(pg15, kafka):
    topic = "verify." + uuid.uuid4().hex[:8]
    route = ["--set", f"route.topic={topic}.{{event_type}}"]
    with pg15.fresh_database("verify") as db:
        with install(db).connect() as c:
            for _ in range(10):
                c.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 'order', "
                          "(i % 50)::text, (ARRAY['placed', 'paid'])[i % 2 + 1], '{}' FROM generate_series(1, 300) i")
            words = ["--from", db.dsn(), "--to", kafka.uri, *route]
            posthorn("run", *words, "--once")
            got = answer("verify", *words, "--strict")
            assert (got["events"], got["records"]) == (3000, 3000)
            c.execute("UPDATE posthorn.checkpoint SET base_snapshot = '3:3:', snapshot = '3:3:', position = 0, tick = 0")
            posthorn("run", *words, "--once")
            got = answer("verify", *words)
            assert (got["records"], got["duplicated"], got["ok"]) == (6000, 3000, True)
            c.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) "
                      "VALUES ('order', '1', 'lost', '{}')")
            posthorn("run", *words, "--once", "--set", f"route.topic={topic}.elsewhere")
            got = answer("verify", *words, status=1)
            assert (got["missing"], got["outOfOrder"], got["phantom"]) == (1, 0, 0)
