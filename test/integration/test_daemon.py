"""One daemon with several pipelines: lanes by match, a dead neighbour, one that cannot open, a new configuration by
SIGHUP, the stop, and what systemd hears of it all."""
import json
import os
import signal
import socket
import subprocess

import pytest

from command import tool
from ledger import read_ndjson
from proc import free_port
from servers import until


def publish(db, kind, count=1, headers="{}"):
    db.sql(f"SELECT posthorn.publish('Order', 'o' || i % 7, '{kind}', jsonb_build_object('i', i), '{headers}') "
           f"FROM generate_series(1, {count}) i")


def write(path, pipelines):
    """A configuration; JSON is YAML too."""
    path.write_text(json.dumps({"pipelines": pipelines}, indent=1))
    path.chmod(0o600)
    return path


def pipeline(db, sink, **more):
    source = {"uri": db.dsn()} | more.pop("source", {})
    return {"source": source, "sink": {"uri": str(sink)}, "lease": "2s"} | more


def kinds(path):
    return [event["type"] for event in read_ndjson(path)] if path.exists() else []


def test_lanes_by_match_share_one_log(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    urgent, calm, orders, all_of_it = (tmp_path / f"{n}.ndjson" for n in ("urgent", "calm", "orders", "all"))
    config = write(tmp_path / "posthorn.yaml", {
        "urgent": pipeline(database, f"file:{urgent}", match={"header": {"priority": "high"}}),
        "calm": pipeline(database, f"file:{calm}", match={"header": {"priority": "!high"}}),
        "orders": pipeline(database, f"file:{orders}", match={"event_type": "Order*|Refund", "aggregate_type": "Order"},
                           source={"poll_max": "5ms"}),
        "all": pipeline(database, f"file:{all_of_it}"),
    })
    daemon = posthorn.start_daemon(config)
    publish(database, "OrderPlaced", 300, '{"priority": "high"}')
    publish(database, "Refund", 200)
    publish(database, "Stock", 100, '{"priority": "low"}')
    database.sql("BEGIN; SELECT posthorn.publish('Order', 'x', 'OrderPlaced', '{}', '{\"priority\": \"high\"}'); ROLLBACK")
    for name in ("urgent", "calm", "orders", "all"):
        posthorn.wait_drained(database.dsn(), name)
    assert daemon.stop() == 0
    assert kinds(urgent) == ["OrderPlaced"] * 300
    assert sorted(kinds(calm)) == ["Refund"] * 200 + ["Stock"] * 100
    assert sorted(kinds(orders)) == ["OrderPlaced"] * 300 + ["Refund"] * 200
    assert len(kinds(all_of_it)) == 600
    rows = posthorn.json("status", database.dsn())["pipelines"]
    for name, count in [("urgent", 300), ("calm", 300), ("orders", 500), ("all", 600)]:
        found = posthorn.json("verify", "-c", config, "--name", name, "--strict")
        assert found["ok"] and found["events"] == found["records"] == count, (name, found)
    done = posthorn.run("verify", "-c", config)
    assert done.returncode == 64 and "--name is missing" in done.stderr
    assert {r["name"]: r["lagEvents"] for r in rows} == {"urgent": 0, "calm": 0, "orders": 0, "all": 0}


def test_the_checkpoint_passes_over_what_does_not_match(posthorn, database, tmp_path):
    """Also where a tick is larger than a batch and nothing of it matches."""
    posthorn.init(database.dsn())
    out = tmp_path / "none.ndjson"
    config = write(tmp_path / "posthorn.yaml",
                   {"none": pipeline(database, f"file:{out}", match={"event_type": "Never"}, batch_events=50)})
    database.sql("BEGIN; SELECT posthorn.publish('Order', 'a', 'Placed', '{}') FROM generate_series(1, 2000); COMMIT")
    assert posthorn.start_daemon(config, "--once").wait() == 0
    assert posthorn.pipeline(database.dsn(), "none")["lagEvents"] == 0 and kinds(out) == []


def test_a_dead_sink_slows_nobody(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    live = tmp_path / "live.ndjson"
    config = write(tmp_path / "posthorn.yaml", {
        "dead": pipeline(database, f"kafka://127.0.0.1:{free_port()}"),
        "live": pipeline(database, f"file:{live}"),
    })
    daemon = posthorn.start_daemon(config)
    publish(database, "Placed", 20000)
    daemon.wait_log(r"pipeline=dead .*(sink is down|interrupted|ended)", timeout=40)
    posthorn.wait_drained(database.dsn(), "live", timeout=20)
    assert len(kinds(live)) == 20000
    publish(database, "Placed", 1000)
    posthorn.wait_drained(database.dsn(), "live", timeout=20)
    assert posthorn.pipeline(database.dsn(), "dead")["lagEvents"] in (None, 21000)
    assert daemon.stop() == 0


def test_one_that_cannot_open_does_not_stop_the_rest(posthorn, pg15, database, tmp_path):
    posthorn.init(database.dsn())
    with pg15.fresh_database() as bare:
        good, late = tmp_path / "good.ndjson", tmp_path / "late.ndjson"
        config = write(tmp_path / "posthorn.yaml", {
            "bare": pipeline(bare, f"file:{late}"),
            "good": pipeline(database, f"file:{good}"),
        })
        daemon = posthorn.start_daemon(config)
        daemon.wait_log(r"pipeline=bare .*posthorn init")
        publish(database, "Placed", 100)
        posthorn.wait_drained(database.dsn(), "good")
        posthorn.init(bare.dsn())
        publish(bare, "Placed", 10)
        posthorn.wait_drained(bare.dsn(), "bare", timeout=60)
        assert daemon.stop() == 0
        assert len(kinds(good)) == 100 and len(kinds(late)) == 10


def test_sighup_touches_only_what_changed(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    files = {n: tmp_path / f"{n}.ndjson" for n in ("same", "changed", "changed2", "removed", "added")}
    path = tmp_path / "posthorn.yaml"
    before = {n: pipeline(database, f"file:{files[n]}") for n in ("same", "changed", "removed")}
    daemon = posthorn.start_daemon(write(path, before))
    for name in before:
        daemon.wait_log(f"pipeline={name} .*delivering from")
    publish(database, "First", 10)
    for name in before:
        posthorn.wait_drained(database.dsn(), name)
    epochs = {r["name"]: r["epoch"] for r in posthorn.json("status", database.dsn())["pipelines"]}
    mark = len(daemon.log)
    write(path, {"same": before["same"], "changed": pipeline(database, f"file:{files['changed2']}"),
                 "added": pipeline(database, f"file:{files['added']}")})
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("configuration was read again", start=mark)
    daemon.wait_log("pipeline=changed .*delivering from", start=mark)
    daemon.wait_log("pipeline=added .*delivering from", start=mark)
    daemon.wait_log("pipeline=removed .*stopped", start=mark)
    publish(database, "Second", 10)
    for name in ("same", "changed", "added"):
        posthorn.wait_drained(database.dsn(), name)
    assert "pipeline=same" not in daemon.log[mark:], "an unchanged pipeline noticed"
    rows = {r["name"]: r for r in posthorn.json("status", database.dsn())["pipelines"]}
    assert rows["same"]["epoch"] == epochs["same"] and rows["changed"]["epoch"] > epochs["changed"]
    assert rows["removed"]["owner"] is None and rows["removed"]["lagEvents"] == 10
    assert daemon.stop() == 0
    assert kinds(files["same"]) == ["First"] * 10 + ["Second"] * 10
    assert kinds(files["changed"]) == ["First"] * 10 and kinds(files["changed2"]) == ["Second"] * 10
    assert kinds(files["removed"]) == ["First"] * 10
    assert kinds(files["added"]) == ["First"] * 10 + ["Second"] * 10


def test_sighup_with_a_mistake_changes_nothing(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    out, path = tmp_path / "out.ndjson", tmp_path / "posthorn.yaml"
    good = {"one": pipeline(database, f"file:{out}")}
    daemon = posthorn.start_daemon(write(path, good))
    daemon.wait_log("delivering from")
    mark = len(daemon.log)
    write(path, {"one": good["one"] | {"windov": 4}, "two": pipeline(database, "nowhere:x")})
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("going on with the old one", start=mark)
    said = daemon.log[mark:]
    assert "window" in said and "nowhere" in said and "posthorn.yaml:" in said
    publish(database, "Placed", 10)
    posthorn.wait_drained(database.dsn(), "one")
    write(path, good)
    mark = len(daemon.log)
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("configuration was read again", start=mark)
    assert "pipeline=one" not in daemon.log[mark:]
    assert daemon.stop() == 0 and len(kinds(out)) == 10


def test_what_waits_for_its_next_start_can_be_renamed(posthorn, tmp_path):
    """A pipeline without a thread leaves at a reload, and the daemon goes on with the one that came."""
    path, missing = tmp_path / "posthorn.yaml", tmp_path / "missing.db"
    one = {"source": {"uri": f"sqlite:{missing}"}, "sink": {"uri": f"file:{tmp_path / 'out.ndjson'}"}}
    daemon = posthorn.start_daemon(write(path, {"before": one, "beside": one}))
    for name in ("before", "beside"):
        daemon.wait_log(f"pipeline={name} .*starting it again")
    mark = len(daemon.log)
    write(path, {"after": one, "beside": one})
    daemon.signal(signal.SIGHUP)
    daemon.wait_log("configuration was read again", start=mark)
    daemon.wait_log("pipeline=after .*starting it again", start=mark)
    assert "pipeline=before" not in daemon.log[daemon.log.index("configuration was read again", mark):]
    assert daemon.stop() == 0


def test_a_configuration_that_became_something_else_changes_nothing(posthorn, database, tmp_path):
    """It vanished, is a folder, or a FIFO that nobody writes to: the daemon still hears its stop."""
    posthorn.init(database.dsn())
    path = tmp_path / "posthorn.yaml"
    daemon = posthorn.start_daemon(write(path, {"one": pipeline(database, f"file:{tmp_path / 'out.ndjson'}")}))
    daemon.wait_log("delivering from")
    for make in (lambda: None, path.mkdir, lambda: os.mkfifo(path)):
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        make()
        mark = len(daemon.log)
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("going on with the old one", start=mark, timeout=10)
    assert "pipeline=one" not in daemon.log[mark:] and daemon.stop() == 0


def test_many_reloads_under_load_lose_nothing(posthorn, database, tmp_path):
    """Each reload changes the one pipeline and leaves the other; the log of both stays whole and in order."""
    posthorn.init(database.dsn())
    path, files = tmp_path / "posthorn.yaml", [tmp_path / "a.ndjson", tmp_path / "b.ndjson"]

    def config(n):
        return write(path, {"a": pipeline(database, f"file:{files[0]}", settle_interval=f"{100 + n}ms"),
                            "b": pipeline(database, f"file:{files[1]}")})

    daemon = posthorn.start_daemon(config(0))
    daemon.wait_log("pipeline=b .*delivering from")
    for n in range(1, 16):
        publish(database, "Placed", 400)
        config(n)
        mark = len(daemon.log)
        daemon.signal(signal.SIGHUP)
        daemon.wait_log("pipeline=a .*delivering from", start=mark)
    for name in "ab":
        posthorn.wait_drained(database.dsn(), name)
    assert daemon.stop() == 0
    assert daemon.log.count("pipeline=b msg=\"delivering") == 1
    for name, out in zip("ab", files):
        found = posthorn.json("verify", "--config", path, "--name", name, "--strict")
        assert found["ok"] and found["events"] == found["records"] == 6000


def test_once_ends_when_all_are_drained(posthorn, pg15, database, tmp_path):
    posthorn.init(database.dsn())
    publish(database, "Placed", 500)
    out = tmp_path / "out.ndjson"
    config = write(tmp_path / "good.yaml", {"one": pipeline(database, f"file:{out}"),
                                            "two": pipeline(database, f"file:{tmp_path / 'two.ndjson'}")})
    assert posthorn.start_daemon(config, "--once").wait() == 0
    assert len(kinds(out)) == 500 == len(kinds(tmp_path / "two.ndjson"))
    with pg15.fresh_database() as bare:
        publish(database, "Placed", 5)
        config = write(tmp_path / "bad.yaml", {"bare": pipeline(bare, f"file:{tmp_path / 'x.ndjson'}"),
                                               "one": pipeline(database, f"file:{out}")})
        daemon = posthorn.start_daemon(config, "--once")
        assert daemon.wait() == 78 and "posthorn init" in daemon.log
    assert len(kinds(out)) == 505


def test_once_does_not_wait_for_a_lane_that_cannot_be_started(tmp_path):
    """No descriptor is left for it, which a daemon would wait for."""
    done = subprocess.run(["prlimit", "--nofile=5", str(tool().binary), "run", "--once", "--from", f"sqlite:{tmp_path}/x.db",
                           "--to", f"file:{tmp_path}/out"], capture_output=True, text=True, timeout=20, env=tool().env)
    assert done.returncode == 74 and "cannot be started: eventfd: Too many open files" in done.stderr, done.stderr


def test_a_second_signal_ends_at_once(posthorn, database, tmp_path):
    """The sink is dead, so the first one waits for drain_timeout."""
    posthorn.init(database.dsn())
    config = write(tmp_path / "posthorn.yaml",
                   {"dead": pipeline(database, f"kafka://127.0.0.1:{free_port()}", drain_timeout="60s")})
    daemon = posthorn.start_daemon(config)
    publish(database, "Placed", 10)
    daemon.wait_log("sink is down", timeout=40)
    daemon.signal(signal.SIGTERM)
    daemon.wait_log("stopping once what is in flight")
    daemon.signal(signal.SIGINT)
    assert daemon.wait(5) == 128 + signal.SIGINT


def test_systemd_hears_of_it(posthorn, database, tmp_path):
    posthorn.init(database.dsn())
    path = write(tmp_path / "posthorn.yaml", {"one": pipeline(database, f"file:{tmp_path / 'out.ndjson'}")})
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(str(tmp_path / "notify"))
        s.settimeout(20)

        def hear(word):
            while not any(word in message for message in heard):
                heard.append(s.recv(4096).decode())

        daemon = posthorn.start_daemon(path, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"})
        hear("READY=1")
        hear("WATCHDOG=1")
        daemon.signal(signal.SIGHUP)
        hear("RELOADING=1")
        assert "MONOTONIC_USEC=" in next(m for m in heard if "RELOADING=1" in m)
        heard.clear()
        hear("READY=1")
        daemon.signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert daemon.wait() == 0


@pytest.mark.parametrize("words, said", [
    (["--config", "x.yaml", "--from", "postgresql:///a"], "--from does not go with --config"),
    (["-c", "x.yaml", "--name", "a"], "--name does not go with --config"),
    (["--from", "postgresql:///a"], "--to is missing"),
    ([], "--from is missing"),
    (["-c"], "option --config needs a value"),
    (["-x"], "unknown option -x"),
])
def test_wrong_words(posthorn, words, said):
    done = posthorn.run("run", *words)
    assert done.returncode == 64 and said in done.stderr and done.stderr.count("\n") == 1


def test_a_missing_file_is_named(posthorn, tmp_path):
    done = posthorn.run("run", "-c", tmp_path / "not-there.yaml")
    assert done.returncode in (74, 78) and "not-there.yaml" in done.stderr


def test_a_second_daemon_takes_over_every_lane(posthorn, database, tmp_path):
    """Each pipeline has one owner; after a kill the other instance has them all, after a clean stop at once."""
    posthorn.init(database.dsn())
    names = [f"p{i}" for i in range(4)]

    def start(instance):
        files = {n: tmp_path / f"{instance}-{n}.ndjson" for n in names}
        return posthorn.start_daemon(write(tmp_path / f"{instance}.yaml",
                                           {n: pipeline(database, f"file:{files[n]}") for n in names})), files

    def owners():
        return {r["owner"] for r in posthorn.json("status", database.dsn())["pipelines"]}

    (first, _), (second, files) = start("first"), start("second")
    until(lambda: len(rows := posthorn.json("status", database.dsn())["pipelines"]) == 4 and all(r["owner"] for r in rows),
          20, "an owner of every pipeline")
    until(lambda: "standing by" in first.log + second.log, 10, "somebody to stand by")
    publish(database, "First", 50)
    for name in names:
        posthorn.wait_drained(database.dsn(), name)
    first.kill9()
    for name in names:
        second.wait_log(f"pipeline={name} .*delivering from", timeout=15)
    publish(database, "Second", 50)
    for name in names:
        posthorn.wait_drained(database.dsn(), name)
    assert len(owners()) == 4 and None not in owners()  # an owner names host, process and a random number
    assert all(kinds(files[n])[-50:] == ["Second"] * 50 for n in names)
    third, files = start("third")
    until(lambda: third.log.count("standing by") == 4, 20, "the third to stand by for all")
    assert second.stop() == 0
    for name in names:
        third.wait_log(f"pipeline={name} .*delivering from", timeout=3)
    assert third.stop() == 0


def test_idle_lanes_cost_little(posthorn, database, tmp_path):
    """Sixteen pipelines on one log: threads and connections, not memory; the bound is generous."""
    posthorn.init(database.dsn())
    config = write(tmp_path / "posthorn.yaml",
                   {f"p{i}": pipeline(database, f"file:{tmp_path / f'{i}.ndjson'}") for i in range(16)})
    daemon = posthorn.start_daemon(config)
    publish(database, "Placed", 10)
    until(lambda: all(len(kinds(tmp_path / f"{i}.ndjson")) == 10 for i in range(16)), 60, "all lanes to deliver")
    assert daemon.rss_kib(peak=True) < 400 * 1024
    assert daemon.stop() == 0
