"""adopt: a log that came by a dump, by pg_upgrade or by a copy is refused or goes on, and a person decides where."""

import collections
import datetime
import uuid

import pytest
from psycopg import errors

from command import start
from conftest import started
from ledger import Writers, read_ndjson
from parking_rows import queues
from proc import run_as
from schema_db import make_tick, one
from servers import Database, Postgres, newest_debian, until

FOREIGN = "the log was made in another database"
SETTINGS = {"lease": "1s"}
PAST = 20000


@pytest.fixture(scope="module")
def near():
    """A cluster with a past: its transaction ids are far above those of a new one."""
    server = started(lambda servers: Postgres(newest_debian(), fsync=False, fresh=True))
    burn(server, PAST)
    yield server
    server.close()


@pytest.fixture(scope="module")
def far():
    """Another cluster, new."""
    server = started(lambda servers: Postgres(newest_debian(), fsync=False, fresh=True))
    yield server
    server.close()


@pytest.fixture
def log(posthorn, near):
    with near.fresh_database() as db:
        posthorn.init(db.dsn())
        yield db


def burn(server, count):
    server.sql(f"DO $$ BEGIN FOR i IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")


def restore(source, server):
    """pg_dump and pg_restore into a new database of a server, as people do it; what leases it brings have run out."""
    path = source.server.folder / f"{source.name}.dump"
    copy = Database(server, server.create_database("restored"))
    run_as([source.server.bin / "pg_dump", "-Fc", "-f", path, source.dsn()])
    run_as([server.bin / "pg_restore", "--exit-on-error", "-d", copy.dsn(), path])
    until(lambda: not copy.sql("SELECT 1 FROM posthorn.lease WHERE expires_at > clock_timestamp()"), what="the leases' end")
    return copy


def publish(db, count, key="k", ticks=1):
    """Events of a key with rising n, a tick behind each part of them."""
    with db.connect() as conn:
        for _ in range(ticks):
            for _ in range(count // ticks):
                conn.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload) SELECT 't', %(k)s, 'T',"
                             " jsonb_build_object('key', %(k)s::text, 'n', 1 + count(*)) FROM posthorn.outbox WHERE aggregate_id = %(k)s",
                             {"k": key})
            make_tick(conn, one(conn, "SELECT coalesce(max(tick), 0) FROM posthorn.tick"))


def events(db, where="true"):
    """(id, key, n) in the order of positions."""
    return db.sql("SELECT event_id::text, payload->>'key', (payload->>'n')::bigint FROM posthorn.outbox"
                  f" WHERE {where} ORDER BY position")


def delivered(path):
    return [(r["id"], r["payload"]["key"], r["payload"]["n"]) for r in read_ndjson(path)] if path.exists() else []


def places(path):
    """{id: (tick, position)} as the sink was told."""
    return {r["id"]: tuple(map(int, r["position"].split("-"))) for r in read_ndjson(path)}


def in_order(rows):
    """Whether each key's n rises strictly: so nothing came twice either."""
    last = collections.defaultdict(int)
    for _, key, n in rows:
        if n <= last[key]:
            return False
        last[key] = n
    return True


def adopt(posthorn, db, *words):
    """Says what it would do, and does it: the same."""
    before = db.sql("SELECT pipeline, shard, tick, position, epoch, snapshot FROM posthorn.checkpoint ORDER BY 1, 2")
    said = posthorn.json("adopt", db.dsn(), *words)
    assert said.pop("dryRun") is True
    assert db.sql("SELECT pipeline, shard, tick, position, epoch, snapshot FROM posthorn.checkpoint ORDER BY 1, 2") == before
    done = posthorn.json("adopt", db.dsn(), *words, "--yes")
    assert done.pop("dryRun") is False and done == said
    return {(c["pipeline"], c["shard"]): c for c in done["checkpoints"]} | {"rebased": done["rebased"]}


def refused(posthorn, db, path):
    done = posthorn.run("run", "--from", db.dsn(), "--to", f"file:{path}", "--name", "p", "--once")
    assert done.returncode == 78 and FOREIGN in done.stderr and "posthorn adopt DB-URI" in done.stderr, done.stderr
    return True


def drain(posthorn, db, path, name="p"):
    posthorn.drain(db.dsn(), f"file:{path}", name=name, settings=SETTINGS)
    return delivered(path)


def verified(posthorn, db, path, name="p"):
    done = posthorn.run("verify", "--from", db.dsn(), "--to", f"file:{path}", "--name", name, "--strict", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def busy(posthorn, log, far, tmp_path):
    """A log under load, two pipelines at different places of it, dumped and restored. The old one then goes on to its end, so that
    its sink tells the place of each event. Returns the copy and the path of pipeline p's sink."""
    lane = posthorn.start_relay(log.dsn(), f"file:{tmp_path / 'q'}", name="q", settings=SETTINGS)
    relay = posthorn.start_relay(log.dsn(), f"file:{tmp_path / 'old'}", name="p", settings=SETTINGS)
    with Writers(log.dsn(), count=4, keys=20, rate=600, raw=1) as writers:
        until(lambda: log.sql("SELECT 1 FROM posthorn.checkpoint WHERE pipeline = 'q' AND tick > 20"), what="a checkpoint of q")
        assert lane.stop() == 0
        until(lambda: log.sql("SELECT 1 FROM posthorn.checkpoint WHERE pipeline = 'p' AND tick > 60"), what="a checkpoint of p")
        copy = restore(log, far)
        writers.wait_ok(len(events(copy)))
    posthorn.wait_drained(log.dsn(), "p")
    assert relay.stop() == 0
    return copy, tmp_path / "old"


def cut_of(db, name="p"):
    return db.sql("SELECT tick, position FROM posthorn.checkpoint WHERE pipeline = %s", name)[0]


def test_a_busy_log_comes_by_a_dump(posthorn, log, far, tmp_path):
    """Events behind the place come, all others do not; those of the new database, before and behind adopt, too; a pipeline that is not
    named goes on where it stood."""
    db, old = busy(posthorn, log, far, tmp_path)
    came = events(db)
    at = places(old)
    assert refused(posthorn, db, tmp_path / "new") and len(came) > 100
    publish(db, 10, key="early")  # its transaction ids are among those that the dump's snapshots take for settled
    stood, q = cut_of(db), cut_of(db, "q")
    ranked = sorted(at[e[0]] for e in came)
    place = ranked[len(ranked) // 2]
    assert place < stood
    said = adopt(posthorn, db, "p", "--from-position", "%d-%d" % place, "--reason", "a drill")
    behind = {e[0] for e in came if at[e[0]] > place}
    first = {e[0] for e in came if at[e[0]] > stood}
    assert said["rebased"] and said["p", 0]["skipped"] == 0
    assert (said["p", 0]["again"], said["p", 0]["first"]) == (len(behind - first), len(first) + 10)
    assert not said["q", 0]["moved"] and said["q", 0]["from"] == said["q", 0]["to"] and said["q", 0]["again"] == 0
    publish(db, 10, key="late")
    with Writers(db.dsn(), count=4, keys=20, rate=600, raw=1, name="after") as writers:
        relay = posthorn.start_relay(db.dsn(), f"file:{tmp_path / 'new'}", name="p", settings=SETTINGS)
        writers.wait_ok(200)
    posthorn.wait_drained(db.dsn(), "p")
    assert relay.stop() == 0
    got = delivered(tmp_path / "new")
    known = {e[0] for e in came}
    assert {e[0] for e in got if e[0] in known} == behind
    assert {e[0] for e in got} - known == {e[0] for e in events(db)} - known
    assert in_order(got) and verified(posthorn, db, tmp_path / "new")
    got = drain(posthorn, db, tmp_path / "q-new", name="q")
    assert {e[0] for e in got if e[0] in known} == {e[0] for e in came if at[e[0]] > q}
    assert {e[0] for e in got} - known == {e[0] for e in events(db)} - known
    assert in_order(got) and verified(posthorn, db, tmp_path / "q-new", name="q")
    who, act, why, detail = db.sql("SELECT who, act, reason, detail FROM posthorn.audit")[0]
    assert "@" in who and (act, why, detail["rebased"], detail["how"]) == ("adopt", "a drill", True, "from")


def test_an_event_that_comes_while_the_log_is_rewritten(posthorn, log, far, tmp_path):
    """Committed when adopt has looked how far transaction ids go, and before it writes: it is as new as any."""
    publish(log, 20, ticks=2)
    drain(posthorn, log, tmp_path / "old")
    db = restore(log, far)
    with db.connect(autocommit=False) as writer, db.connect() as watch:
        writer.execute("LOCK TABLE posthorn.outbox IN SHARE MODE")
        working = start("adopt", db.dsn(), "--from-position", "%d-%d" % cut_of(db), "--yes")
        until(lambda: one(watch, "SELECT 1 FROM pg_locks WHERE relation = 'posthorn.outbox'::regclass AND NOT granted"),
              what="adopt to come to the log")
        writer.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload)"
                       " VALUES ('t', 'late', 'T', '{\"key\": \"late\", \"n\": 1}')")
        writer.commit()
    out, err = working.communicate(timeout=60)
    assert working.returncode == 0 and "replaced" in out, out + err
    assert drain(posthorn, db, tmp_path / "new") == events(db)[20:] and delivered(tmp_path / "new")[0][1:] == ("late", 1)


def test_all_of_it(posthorn, log, far, tmp_path):
    db, _ = busy(posthorn, log, far, tmp_path)
    newest = db.sql("SELECT max(tick) FROM posthorn.tick")[0][0]
    said = adopt(posthorn, db, "--all")
    assert all(said[p, 0]["again"] + said[p, 0]["first"] == len(events(db)) for p in "pq")
    for name in "pq":
        assert drain(posthorn, db, tmp_path / f"{name}-new", name=name) == events(db), "one tick, in order of position"
        assert verified(posthorn, db, tmp_path / f"{name}-new", name=name)
    ticks = {t for t, _ in places(tmp_path / "p-new").values()}
    assert len(ticks) == 1 and min(ticks) > newest, "places rise, whatever comes again"


def test_since_a_time(posthorn, log, far, tmp_path):
    db, _ = busy(posthorn, log, far, tmp_path)
    made = db.sql("SELECT created_at FROM posthorn.outbox ORDER BY created_at OFFSET (SELECT count(*) / 2 FROM posthorn.outbox) LIMIT 1")[0][0]
    younger = {e[0] for e in events(db, f"created_at >= '{made.isoformat()}'")}
    said = adopt(posthorn, db, "--since", made.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    got = drain(posthorn, db, tmp_path / "new")
    assert younger <= {e[0] for e in got} and len(got) == said["p", 0]["again"] + said["p", 0]["first"]
    assert in_order(got) and len(got) - len(younger) < len(events(db)) / 4, "a little more, by whole ticks"
    assert verified(posthorn, db, tmp_path / "new")


@pytest.mark.parametrize("how", [("--all",), ("--from-position", "0-0")])
def test_a_log_without_pipelines(posthorn, log, far, tmp_path, how):
    publish(log, 20, ticks=2)
    db = restore(log, far)
    assert refused(posthorn, db, tmp_path / "x")
    done = posthorn.run("adopt", db.dsn(), *how, "--yes", check=True)
    assert "no pipeline has a checkpoint" in done.stdout
    assert drain(posthorn, db, tmp_path / "x") == events(log)


def test_retention_clears_what_was_adopted(posthorn, log, far, tmp_path):
    publish(log, 30, ticks=3)
    drain(posthorn, log, tmp_path / "old")
    other = "(bucket + 3) % 10"
    log.sql(f"UPDATE posthorn.outbox SET bucket = {other}")
    db = restore(log, far)
    adopt(posthorn, db, "--from-position", "%d-%d" % cut_of(db))
    publish(db, 5, key="new")
    assert len(drain(posthorn, db, tmp_path / "new")) == 5

    def cleared():
        with db.connect() as conn:
            make_tick(conn, one(conn, "SELECT max(tick) FROM posthorn.tick"))
        drain(posthorn, db, tmp_path / "new")
        parts = posthorn.json("cleanup", db.dsn(), "--retention", "1s")["parts"]
        return [p for p in parts if p["action"] == "cleared" and p["events"] == 30]

    until(cleared, 20, "the adopted events to be cleared")
    assert [e[1] for e in events(db)] == ["new"] * 5


def sent(kafka, topic):
    """(id, key, n) of a topic of one partition, in order."""
    return [(r.header("id").decode(), r.json["key"], r.json["n"]) for r in kafka.consume_all(topic)]


def test_rows_beside_the_log_keep_their_state_and_their_order(posthorn, log, far, kafka):
    """A dead head with two behind it, one scheduled, one discarded, and the events around them; adopted in front of them, and behind."""
    topics = {name: kafka.create_topic(f"beside-{uuid.uuid4().hex[:8]}.a", partitions=1) for name in ("old", "new", "second")}

    def start(db, name, topic="{header:suffix}"):
        return posthorn.start_relay(db.dsn(), kafka.uri, name="p", settings=SETTINGS | {"route.topic": topics[name][:-2] + topic})

    with log.connect() as conn:
        for key, headers, later in [("a", True, None), ("b", True, None), ("a", False, None), ("b", True, None), ("a", True, None),
                                    ("c", True, "1 day"), ("a", True, None), ("c", True, None), ("d", False, None)]:
            conn.execute("INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type, payload, headers, deliver_after)"
                         " SELECT 't', %s, 'T', jsonb_build_object('key', %s::text, 'n', 1 + count(*)), %s, now() + %s::interval"
                         " FROM posthorn.outbox WHERE aggregate_id = %s", [key, key, '{"suffix": ".a"}' if headers else "{}", later, key])
            make_tick(conn, one(conn, "SELECT coalesce(max(tick), 0) FROM posthorn.tick"))
    relay = start(log, "old")
    until(lambda: log.sql("SELECT count(*) FROM posthorn.parked")[0][0] == 5, what="five rows")
    posthorn.run("dead", "discard", log.dsn(), "--key", "d", check=True)
    posthorn.wait_drained(log.dsn(), "p")
    assert relay.stop() == 0 and [e[1:] for e in sent(kafka, topics["old"])] == [("a", 1), ("b", 1), ("b", 2), ("c", 2)]
    rows = "SELECT position, state, key, attempts, next_attempt_at FROM posthorn.parked ORDER BY position"
    before = log.sql(rows)
    assert [r[1] for r in before] == ["dead", "parked", "scheduled", "parked", "discarded"]

    db = restore(log, far)
    said = adopt(posthorn, db, "--all")
    assert said["p", 0]["beside"] == 4 and said["p", 0]["again"] == 4 and db.sql(rows) == before, "what has a row comes from there, if at all"
    relay = start(db, "new", topic=".a")  # where each of them could be delivered
    until(lambda: len(sent(kafka, topics["new"])) == 4, what="the rest of the log")
    posthorn.wait_drained(db.dsn(), "p")
    with db.connect() as conn:
        until(lambda: queues(conn)["a"] == [before[i][0] for i in (0, 1, 3)], what="what came again to stand in front, and to go")
    posthorn.run("dead", "discard", db.dsn(), "--all", check=True)
    until(lambda: len(sent(kafka, topics["new"])) == 6, what="the key to go on")
    posthorn.wait_drained(db.dsn(), "p")
    assert relay.stop() == 0
    got = sent(kafka, topics["new"])
    assert in_order([e for e in got if e[1] != "c"]) and [e[2] for e in got if e[1] == "a"] == [1, 3, 4], got
    assert collections.Counter(e[1] for e in got) == {"a": 3, "b": 2, "c": 1}
    assert db.sql("SELECT state, key, deliver_after > now() FROM posthorn.parked ORDER BY 1, 2") == [
        ("discarded", "a", None), ("discarded", "d", None), ("scheduled", "c", True)]

    copy = restore(log, far)  # behind them: nothing comes again but what is beside the log
    said = adopt(posthorn, copy, "--from-position", "%d-%d" % cut_of(copy))
    assert said["p", 0]["again"] == 0 and copy.sql(rows) == before
    posthorn.run("dead", "discard", copy.dsn(), "--all", check=True)
    relay = start(copy, "second")
    until(lambda: len(sent(kafka, topics["second"])) == 2, what="the key to go on")
    assert relay.stop() == 0 and [e[1:] for e in sent(kafka, topics["second"])] == [("a", 3), ("a", 4)]


def test_shards_keep_their_places(posthorn, log, far, kafka):
    """Two shards in the middle of different ticks, and a pipeline that is named: what each has before it stays the same."""
    topic = kafka.create_topic(f"shards-{uuid.uuid4().hex[:8]}", partitions=1)
    settings = SETTINGS | {"shards": 2, "batch_events": 20, "route.topic": topic}
    posthorn.drain(log.dsn(), kafka.uri, name="p", settings=settings)
    posthorn.drain(log.dsn(), kafka.uri, name="other", settings=SETTINGS | {"route.topic": topic})
    for n in range(8):
        publish(log, 12, key=f"k{n}", ticks=3)
    ticks = [t for t, in log.sql("SELECT tick FROM posthorn.tick ORDER BY tick")]
    for shard in (0, 1):
        tick, before = ticks[-16 + 9 * shard], ticks[-17 + 9 * shard]
        log.sql("UPDATE posthorn.checkpoint c SET tick = t.tick, snapshot = t.snapshot, base_snapshot = b.snapshot, position ="
                " (SELECT max(position) - 2 FROM posthorn.outbox WHERE pg_visible_in_snapshot(xid, t.snapshot))"
                f" FROM posthorn.tick t, posthorn.tick b WHERE t.tick = {tick} AND b.tick = {before} AND pipeline = 'p' AND shard = {shard}")
    behind = "SELECT shard, array_agg(position ORDER BY position) FROM posthorn.pending WHERE pipeline = 'p' GROUP BY shard ORDER BY shard"
    place = "SELECT shard, tick, position FROM posthorn.checkpoint WHERE pipeline = 'p' ORDER BY shard"
    db = restore(log, far)
    adopt(posthorn, db, "other", "--all")
    assert db.sql(place) == log.sql(place) and db.sql(behind) == log.sql(behind)
    waiting = {r["shard"]: r["lagEvents"] for r in posthorn.json("status", db.dsn())["pipelines"] if r["name"] == "p"}
    assert sorted(waiting) == [0, 1] and all(0 < n < 48 for n in waiting.values())
    posthorn.drain(db.dsn(), kafka.uri, name="p", settings=settings)
    got = sent(kafka, topic)
    assert len(got) == sum(waiting.values()) and in_order(got)


# -- where the transaction ids mean what they say ----------------------------------------------------


def test_a_dump_into_the_same_cluster(posthorn, log, near, tmp_path):
    """Its transaction ids had all been given: nothing is replaced, any place may be taken, and the stored one kept."""
    publish(log, 60, ticks=6)
    posthorn.drain(log.dsn(), f"file:{tmp_path / 'old'}", name="p", settings=SETTINGS)
    publish(log, 40, ticks=2)
    at, before = places(tmp_path / "old"), log.sql("SELECT xid, position FROM posthorn.outbox ORDER BY 2")
    db = restore(log, near)
    assert refused(posthorn, db, tmp_path / "x")
    publish(db, 5, key="new")
    said = adopt(posthorn, db, "--keep")
    assert not said["rebased"] and said["p", 0] | {"first": 45, "again": 0, "skipped": 0} == said["p", 0]
    assert db.sql("SELECT xid, position FROM posthorn.outbox ORDER BY 2")[:100] == before
    assert drain(posthorn, db, tmp_path / "kept") == events(db)[60:]
    assert posthorn.run("verify", "--from", db.dsn(), "--to", f"file:{tmp_path / 'old'}", "--name", "p").returncode == 1
    place = sorted(at.values())[24]
    said = adopt(posthorn, db, "p", "--from-position", "%d-%d" % place)
    assert said["p", 0]["again"] == 80 and said["p", 0]["skipped"] == 0
    assert drain(posthorn, db, tmp_path / "old")[60:] == events(db)[25:]
    assert {i: p for i, p in places(tmp_path / "old").items() if i in at} == at, "each at its old place"
    done = posthorn.run("verify", "--from", db.dsn(), "--to", f"file:{tmp_path / 'old'}", "--name", "p", "--json")
    assert done.returncode == 0 and '"duplicated":35' in done.stdout, done.stdout


def test_places_ahead_are_skipped(posthorn, log, near, tmp_path):
    posthorn.drain(log.dsn(), f"file:{tmp_path / 'old'}", name="p", settings=SETTINGS)
    publish(log, 60, ticks=6)
    db = restore(log, near)
    tick = db.sql("SELECT tick FROM posthorn.tick ORDER BY tick DESC OFFSET 2 LIMIT 1")[0][0]
    said = adopt(posthorn, db, "--from-position", f"{tick}-35")
    assert (said["p", 0]["again"], said["p", 0]["first"], said["p", 0]["skipped"]) == (0, 25, 35)
    assert drain(posthorn, db, tmp_path / "new") == events(db)[35:]
    assert verified(posthorn, db, tmp_path / "new"), "what a person skipped is not missing"


def test_pg_upgrade(posthorn, tmp_path):
    """Another system identifier, the same transaction ids: --keep goes on as if nothing had been."""
    old = started(lambda servers: Postgres(newest_debian(), fsync=False, fresh=True))
    burn(old, 500)
    db = Database(old, "postgres")
    posthorn.init(db.dsn())
    publish(db, 50, ticks=5)
    posthorn.drain(db.dsn(), f"file:{tmp_path / 'out'}", name="p", settings=SETTINGS)
    publish(db, 50, ticks=5)
    old.stop()
    new = Postgres(newest_debian(), fsync=False, fresh=True)
    run_as([new.bin / "pg_upgrade", "-b", old.bin, "-B", new.bin, "-d", old.data, "-D", new.data, "-U", "postgres", "-s", new.folder],
           new.user, new.folder)
    with new.start():
        db = Database(new, "postgres")
        assert refused(posthorn, db, tmp_path / "x")
        publish(db, 10, key="new")
        said = adopt(posthorn, db, "--keep")
        assert not said["rebased"] and (said["p", 0]["again"], said["p", 0]["first"]) == (0, 60)
        assert drain(posthorn, db, tmp_path / "out") == events(db)
        assert verified(posthorn, db, tmp_path / "out")
    old.close()


def test_a_promoted_copy(posthorn, tmp_path):
    """The same identity on a new timeline: it goes on by itself and says so, since nobody can tell it from a failover; adopt moves it
    where a person wants it."""
    with Postgres(newest_debian(), fsync=False) as primary:
        db = Database(primary, "postgres")
        posthorn.init(db.dsn())
        publish(db, 50, ticks=5)
        posthorn.drain(db.dsn(), f"file:{tmp_path / 'out'}", name="p", settings=SETTINGS)
        at = places(tmp_path / "out")
        standby = primary.make_standby()
        try:
            copy = Database(standby, "postgres")
            done = posthorn.run("adopt", copy.dsn(), "--keep")
            assert done.returncode == 78 and "standby" in done.stderr
            lsn = primary.sql("SELECT pg_current_wal_lsn()::text")[0][0]
            until(lambda: standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'")[0][0], 30, "replay")
            standby.promote()
            publish(copy, 20, ticks=2)
            relay = posthorn.drain(copy.dsn(), f"file:{tmp_path / 'copy'}", name="p", settings=SETTINGS)
            assert "timeline changed from 1 to 2" in relay.log and delivered(tmp_path / "copy") == events(copy)[50:]
            place = sorted(at.values())[19]
            said = adopt(posthorn, copy, "--from-position", "%d-%d" % place)
            assert not said["rebased"] and said["p", 0]["again"] == 50
            relay = posthorn.drain(copy.dsn(), f"file:{tmp_path / 'again'}", name="p", settings=SETTINGS)
            assert "timeline changed" not in relay.log and delivered(tmp_path / "again") == events(copy)[20:]
            assert adopt(posthorn, copy, "--keep")["p", 0]["again"] == 0
        finally:
            standby.close()


# -- what is refused ---------------------------------------------------------------------------------


def test_keep_among_ids_that_mean_nothing(posthorn, log, far, tmp_path):
    """The new cluster has given as many transaction ids since; events that were written meanwhile look settled to the old snapshots."""
    publish(log, 30, ticks=3)
    posthorn.drain(log.dsn(), f"file:{tmp_path / 'old'}", name="p", settings=SETTINGS)
    publish(log, 5, ticks=1)
    db = restore(log, far)
    publish(db, 10, key="new")
    burn(far, 2 * PAST)
    newest = "SELECT max(posthorn.xmax_of(snapshot)) < posthorn.xmax_of(pg_current_snapshot()) FROM posthorn.tick"
    assert db.sql(newest) == [(True,)] and db.sql("SELECT future_rows FROM posthorn.identity()") == [(0,)]
    assert refused(posthorn, db, tmp_path / "x")
    said = adopt(posthorn, db, "--keep")
    assert said["rebased"] and said["p", 0] | {"first": 15, "again": 0, "skipped": 0} == said["p", 0]
    assert drain(posthorn, db, tmp_path / "new") == events(db)[30:]
    assert verified(posthorn, db, tmp_path / "new")


def test_rows_alone_that_came_from_elsewhere(posthorn, log, each_database, tmp_path):
    """Data loaded into a log that is at home: its future transaction ids are refused, and replaced."""
    publish(log, 20, ticks=2)
    db = each_database
    posthorn.init(db.dsn())
    publish(db, 5, key="home")
    drain(posthorn, db, tmp_path / "x")
    burn_to = log.sql("SELECT max(xid)::text::bigint FROM posthorn.outbox")[0][0]
    with log.connect() as source, db.connect() as target:
        names = "aggregate_type, aggregate_id, event_type, payload, headers, event_id, created_at, position"
        with source.cursor().copy(f"COPY (SELECT (xid::text::bigint + 1000000000)::text::xid8, {names} FROM posthorn.outbox)"
                                  " TO STDOUT") as out, target.cursor().copy(f"COPY posthorn.outbox (xid, {names}) FROM STDIN") as into:
            for data in out:
                into.write(data)
    done = posthorn.run("run", "--from", db.dsn(), "--to", f"file:{tmp_path / 'x'}", "--name", "p", "--once")
    assert burn_to > PAST and done.returncode == 78 and "beyond the present" in done.stderr and "posthorn adopt" in done.stderr
    said = adopt(posthorn, db, "--from-position", "%d-%d" % cut_of(db))
    assert said["rebased"] and said["p", 0]["first"] == 20 and said["p", 0]["again"] == 0
    publish(db, 1, key="later")
    assert len(drain(posthorn, db, tmp_path / "x")) == 26 and in_order(delivered(tmp_path / "x"))


def test_nothing_is_erased_before_adopt(posthorn, log, far, tmp_path):
    """A row that is written anew looks like one that was written here, and would come again behind newer ones of its key."""
    publish(log, 10, ticks=2)
    drain(posthorn, log, tmp_path / "old")
    db = restore(log, far)
    erase = ["erase", db.dsn(), "--aggregate-type", "t", "--aggregate-id", "k", "--yes"]
    done = posthorn.run(*erase)
    assert done.returncode == 78 and "another database" in done.stderr and "posthorn adopt" in done.stderr, done.stderr
    adopt(posthorn, db, "--from-position", "%d-%d" % cut_of(db))
    posthorn.run(*erase, check=True)
    assert db.sql("SELECT DISTINCT payload FROM posthorn.outbox") == [({"erased": True},)]
    assert drain(posthorn, db, tmp_path / "new") == []


def test_refusals(posthorn, log, near, tmp_path):
    publish(log, 10)
    relay = posthorn.start_relay(log.dsn(), f"file:{tmp_path / 'x'}", name="p", settings=SETTINGS)
    posthorn.wait_drained(log.dsn(), "p")

    def says(*words, status=78):
        done = posthorn.run("adopt", log.dsn(), *words)
        assert done.returncode == status and not done.stdout, done
        return done.stderr

    assert "is owned by" in says("--all", "--yes")
    look = posthorn.run("adopt", log.dsn(), "--all", check=True).stdout
    assert "nothing was changed, and --yes would be refused now: pipeline p is owned by" in look, "a look is free, and says so"
    assert "pipeline p is owned by" in posthorn.json("adopt", log.dsn(), "--all")["refused"]
    assert relay.stop() == 0 and posthorn.json("adopt", log.dsn(), "--all")["refused"] is None
    assert "knows no pipeline q" in says("q", "--all", "--yes")
    assert "is beyond what this database knows" in says("--from-position", "9999-1")
    assert "say one of" in says(status=64) and "say one of" in says("--all", "--keep", status=64)
    assert "write it as TICK-POSITION" in says("--from-position", "12", status=64)
    assert "write a time with its zone" in says("--since", "yesterday", status=64)
    before = log.sql("SELECT tick, position FROM posthorn.checkpoint")
    text = posthorn.run("adopt", log.dsn(), "p", "--all", check=True).stdout
    assert "10 events again, 0 for the first time, 0 skipped" in text and "add --yes" in text and "the sink may hold" not in text
    assert log.sql("SELECT tick, position FROM posthorn.checkpoint") == before and not log.sql("SELECT 1 FROM posthorn.audit")
    with log.connect(autocommit=False) as conn:
        conn.execute("SELECT pg_current_xact_id()")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match="already written something"):
            conn.execute("SELECT posthorn.adopt('p', 'all', 'ada')")


def test_an_adopted_log_stays_at_home(posthorn, log, near):
    """Transactions that come and go while adopt is at work do not make its own tick look as if a dump had brought it."""
    publish(log, 10)
    posthorn.drain(log.dsn(), f"file:{near.folder / uuid.uuid4().hex}", name="p", settings=SETTINGS)
    with log.connect() as holder, log.connect() as watch:
        holder.execute("SELECT pg_advisory_lock(8101821129752310382)")
        working = start("adopt", log.dsn(), "--all", "--yes")
        until(lambda: one(watch, "SELECT 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database()"
                                 " AND locktype = 'advisory' AND NOT granted"), what="adopt to wait for its tick")
        burn(near, 50)
        publish_plain = "INSERT INTO posthorn.outbox (aggregate_type, aggregate_id, event_type) VALUES ('t', 'late', 'T')"
        watch.execute(publish_plain)
        holder.execute("SELECT pg_advisory_unlock_all()")
    out, err = working.communicate(timeout=60)
    assert working.returncode == 0, out + err
    assert log.sql("SELECT posthorn.restored_until()") == [(None,)]
    said = adopt(posthorn, log, "--keep")
    assert not said["rebased"] and said["p", 0]["first"] == 11


def test_the_whole_log_is_looked_at_before_leases_are_locked(posthorn, log, tmp_path):
    """Pipelines that run renew their leases meanwhile."""
    publish(log, 10)
    drain(posthorn, log, tmp_path / "a")
    with log.connect() as conn:
        conn.execute("ALTER FUNCTION posthorn.restored_until() RENAME TO looked_at")
        conn.execute("""CREATE FUNCTION posthorn.restored_until() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN
            IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'posthorn.lease'::regclass AND mode LIKE 'Share%') THEN
                RAISE 'looked at under the lock';
            END IF;
            RAISE NOTICE 'looked at';
            RETURN posthorn.looked_at(); END $$""")
        looks = []
        conn.add_notice_handler(lambda notice: looks.append(notice.message_primary))
        assert one(conn, "SELECT again FROM posthorn.adopt('p', 'all', 'ada')") == 10 and looks == ["looked at"]


def test_an_instance_that_slept_is_fenced(posthorn, log, tmp_path):
    relay = posthorn.start_relay(log.dsn(), f"file:{tmp_path / 'a'}", name="p", settings=SETTINGS)
    publish(log, 10)
    posthorn.wait_drained(log.dsn(), "p")
    relay.pause()
    until(lambda: not log.sql("SELECT 1 FROM posthorn.lease WHERE expires_at > clock_timestamp()"), what="the lease's end")
    adopt(posthorn, log, "--all")
    assert drain(posthorn, log, tmp_path / "b") == events(log)
    relay.resume()
    relay.wait_log("fenced|standing by|belongs to a newer")
    relay.stop()
    assert log.sql("SELECT epoch FROM posthorn.checkpoint")[0][0] > 1


def test_a_sqlite_log_goes_back_and_on(posthorn, tmp_path):
    """Every copy of the file is at home; a person may move its checkpoints all the same, as where a sink knows more."""
    db, path = f"sqlite:{tmp_path / 'app.db'}", tmp_path / "out"
    posthorn.run("init", db, check=True)
    assert posthorn.run("adopt", db, "p", "--keep").returncode == 78
    posthorn.publish_lines(db, [{"aggregateType": "t", "aggregateId": "k", "eventType": "T", "payload": {"n": n}} for n in range(1, 11)])
    relay = posthorn.start_relay(db, f"file:{path}", name="p", settings=SETTINGS)
    posthorn.wait_drained(db, "p")
    done = posthorn.run("adopt", db, "--all", "--yes")
    assert done.returncode == 78 and "is owned by" in done.stderr
    assert "pipeline p is owned by" in posthorn.json("adopt", db, "--all")["refused"]
    assert relay.stop() == 0

    def moves(*words):
        said = posthorn.json("adopt", db, *words)
        assert said["refused"] is None
        done = posthorn.json("adopt", db, *words, "--yes")
        assert said.pop("dryRun") is True and done.pop("dryRun") is False and done == said
        posthorn.drain(db, f"file:{path}", name="p", settings=SETTINGS)
        counts = done["checkpoints"][0]
        return counts["again"], counts["first"], counts["skipped"], len(read_ndjson(path))

    assert moves("--from-position", "1-7") == (3, 0, 0, 13)
    assert moves("--all") == (10, 0, 0, 23)
    assert moves("p", "--since", "2100-01-01T00:00:00Z") == (0, 0, 0, 23)
    posthorn.publish_lines(db, [{"aggregateType": "t", "aggregateId": "k", "eventType": "T", "payload": {"n": n}} for n in (11, 12)])
    assert moves("--from-position", "1-11") == (0, 1, 1, 24)
    assert moves("--keep") == (0, 0, 0, 24)
    done = posthorn.run("adopt", db, "--from-position", "1-13")
    assert done.returncode == 78 and "is beyond what this database knows" in done.stderr
    done = posthorn.run("adopt", db, "p", "--from-position", "1-3", "--shard", "1")
    assert done.returncode == 78 and "one shard: 0" in done.stderr
    assert moves("p", "--from-position", "1-12", "--shard", "0") == (0, 0, 0, 24)
    assert posthorn.run("verify", "--from", db, "--to", f"file:{path}", "--name", "p").returncode == 0
