"""replay: the history of a pipeline once more, to another destination; the pipeline itself does not notice."""

import json

import pytest

from command import answer, posthorn
from ledger import read_ndjson
from schema_db import install, one
from test_dead import publish


@pytest.fixture
def db(each_database):
    return install(each_database)


@pytest.fixture
def c(db):
    with db.connect() as conn:
        yield conn


def run(db, path, *words, name="p"):
    posthorn("run", "--from", db.dsn(), "--to", f"file:{path}", "--name", name, "--once", *words)
    return read_ndjson(path)


def books(c):
    """What a replay must leave alone."""
    return [c.execute(f"SELECT t::text FROM posthorn.{t} t ORDER BY 1").fetchall() for t in ("checkpoint", "lease")]


def replay(db, path, *words, status=0, name="p"):
    posthorn("replay", "--pipeline", name, "--from", db.dsn(), "--to", f"file:{path}", *words, status=status)
    return read_ndjson(path) if path.exists() else []


def config(tmp_path, db, to, **more):
    """A file with the pipeline p."""
    path = tmp_path / "posthorn.yaml"
    path.write_text(json.dumps({"pipelines": {"p": {"source": {"uri": db.dsn()}, "sink": {"uri": to}} | more}}))
    return path


def test_history_comes_again_in_order_with_a_header(db, c, tmp_path):
    for key in "abcab":
        publish(c, key, count=50)
    first = run(db, tmp_path / "own", "--set", "batch_events=7")
    publish(c, "late", count=5)  # not settled: no history yet
    before = books(c)
    again = replay(db, tmp_path / "again", "--set", "batch_events=16")
    assert [(e["id"], e["position"]) for e in again] == [(e["id"], e["position"]) for e in first] and len(first) == 250
    assert all(e["headers"] == {"posthorn-replay": "true", "correlation_id": "c-1"} for e in again)
    assert all("posthorn-replay" not in e["headers"] for e in first)
    assert books(c) == before
    assert c.execute("SELECT act, detail->>'pipeline', detail->>'to', reason FROM posthorn.audit").fetchall() == [
        ("replay", "p", f"file:{tmp_path}/again", None)]
    assert [e["aggregateId"] for e in run(db, tmp_path / "own")[250:]] == ["late"] * 5


def test_filters_and_a_dry_run(db, c, tmp_path):
    publish(c, "a", "Placed", 3, created_at="2024-01-01T00:00:00Z"), publish(c, "a", "Paid", 2), publish(c, "b", "Paid", 4)
    run(db, tmp_path / "own")
    words = ["replay", "--pipeline", "p", "--from", db.dsn(), "--to", f"file:{tmp_path}/again"]
    for filter, count in ((["--key", "a"], 5), (["--event-type", "Paid"], 6), (["--key", "a", "--event-type", "Paid"], 2),
                          (["--since", "2025-01-01T00:00:00Z"], 6), (["--key", "none"], 0)):
        assert answer(*words, *filter, "--dry-run") == {"events": count, "refused": 0, "dryRun": True, "firstRefusal": None}
    assert not (tmp_path / "again").exists()
    assert posthorn(*words, "--key", "a", "--dry-run").stdout == f"would replay 5 events of pipeline p to file:{tmp_path}/again\n"
    assert posthorn(*words, "--key", "b").stdout == f"replayed 4 events of pipeline p to file:{tmp_path}/again\n"
    assert [e["aggregateId"] for e in read_ndjson(tmp_path / "again")] == ["b"] * 4


def test_the_pipelines_own_match_holds_and_its_place_is_refused(db, c, tmp_path):
    publish(c, "a", "Placed", 3), publish(c, "a", "Paid", 2)
    path = config(tmp_path, db, f"file:{tmp_path}/own", match={"event_type": "Paid"})
    posthorn("run", "--config", path, "--once")
    words = ["replay", "--pipeline", "p", "--config", path]
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for own in ("own", "../" + tmp_path.name + "/own", "link"):
        assert "is where pipeline p delivers" in posthorn(*words, "--to", f"file:{tmp_path}/{own}", status=78).stderr
    assert len(read_ndjson(tmp_path / "own")) == 2
    assert posthorn(*words, "--to", f"file:{tmp_path}/again").stdout.startswith("replayed 2 events of pipeline p")
    assert [e["type"] for e in read_ndjson(tmp_path / "again")] == ["Paid"] * 2


def test_stdout_gets_events_alone(db, c, tmp_path):
    publish(c, count=3)
    run(db, tmp_path / "own")
    done = posthorn("replay", "--pipeline", "p", "--from", db.dsn(), "--to", "stdout:")
    assert [json.loads(line)["headers"]["posthorn-replay"] for line in done.stdout.splitlines()] == ["true"] * 3
    assert "replayed 3 events" in done.stderr


def test_to_kafka(db, c, kafka, tmp_path):
    publish(c, "a", count=20), publish(c, "b", count=20)
    topic, other = f"own.{db.name}", f"again.{db.name}"
    path = config(tmp_path, db, kafka.uri, route={"topic": topic})
    posthorn("run", "--config", path, "--once")
    words = ["replay", "--pipeline", "p", "--config", path, "--to", kafka.uri]
    assert f"topic {topic} is where the pipeline delivers" in posthorn(*words, status=78).stderr
    (row,) = answer("status", db.dsn())["pipelines"]
    assert (len(kafka.consume_all(topic)), row["parked"], row["dead"]) == (40, 0, 0), posthorn("dead", "list", db.dsn(), "--state", "all").stdout
    assert answer(*words, "--set", f"route.topic={other}", "--key", "a")["events"] == 20
    got = kafka.consume_all(other)
    assert [m.key for m in got] == [b"a"] * 20
    assert all(dict(m.headers)["posthorn-replay"] == b"true" for m in got)


@pytest.mark.parametrize("words, said", [
    (["--from", "sqlite:x", "--to", "file:y"], "--pipeline is missing"),
    (["--pipeline", "p", "--from", "sqlite:x"], "--to is missing"),
    (["--pipeline", "p", "--to", "file:y"], "--config FILE or --from DB-URI is missing"),
    (["--pipeline", "p", "--to", "file:y", "--from", "sqlite:x", "-c", "z"], "--from does not go with --config"),
    (["--pipeline", "p", "--to", "file:y", "--from", "sqlite:x", "--since", "now"], "write a time with its zone"),
])
def test_wrong_words(words, said):
    assert said in posthorn("replay", *words, status=64).stderr


def test_an_unknown_pipeline_has_no_history(db, c, tmp_path):
    assert "pipeline none has no checkpoint" in posthorn("replay", "--pipeline", "none", "--from", db.dsn(), "--to",
                                                         f"file:{tmp_path}/x", status=78).stderr
    assert "the file has no pipeline q" in posthorn("replay", "--pipeline", "q", "--config", config(tmp_path, db, "stdout:"), "--to",
                                                    f"file:{tmp_path}/x", status=64).stderr


def test_what_the_route_refuses_is_told_and_passed(db, c, kafka, tmp_path):
    publish(c, "a"), publish(c, "bad"), publish(c, "b")
    c.execute("UPDATE posthorn.outbox SET headers = '{}' WHERE aggregate_id = 'bad'")  # a route wants the header
    run(db, tmp_path / "own")
    done = posthorn("replay", "--pipeline", "p", "--from", db.dsn(), "--to", kafka.uri, "--set",
                    f"route.topic=r.{db.name}.{{header:correlation_id}}", status=1)
    assert "replayed 2 events" in done.stdout and "refused: 1, the first was event " in done.stdout
    assert one(c, "SELECT count(*) FROM posthorn.outbox") == 3
