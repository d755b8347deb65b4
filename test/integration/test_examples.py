"""The examples in other languages, each compiled and run: an order and its event, committed and rolled back.

What an example is built from comes from its registry once, into the cache (tools/example_deps.sh).
"""

import os
import sqlite3
import subprocess
import sys

import pytest

from proc import fetch
from servers import ROOT, ServerMissing

EXAMPLES = ROOT / "examples"
ON_POSTGRES = ["python", "node", "go", "rust", "java-jdbc", "java-spring"]
FAILED = "the order failed, and so did its event"


def deps(name):
    """The folder with what the example is built from; a skip with the reason (in CI a failure) where there is none."""
    try:
        return fetch("example_deps.sh", name)
    except ServerMissing as why:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(why))


def call(*words, **env):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=300,
                          env=os.environ | {k: str(v) for k, v in env.items()})
    return done.returncode, done.stdout + done.stderr


def compiled(*words, **env):
    status, said = call(*words, **env)
    assert status == 0, f"{words}:\n{said}"


def python(_):
    return lambda dsn, *words: call(sys.executable, EXAMPLES / "python/publish_postgres.py", dsn, *words)


def node(_):
    folder = deps("node")
    return lambda dsn, *words: call("node", EXAMPLES / "node/publish_postgres.js", dsn, *words,
                                    NODE_PATH=folder / "node_modules")


def go(tmp_path):
    folder = deps("go")
    compiled("sh", "-c", 'cd "$1" && exec go build -o "$2" .', "sh", EXAMPLES / "go", tmp_path / "example",
             GOMODCACHE=folder / "mod", GOCACHE=folder / "build", GOPROXY="off", GOFLAGS="-mod=readonly")
    return lambda dsn, *words: call(tmp_path / "example", dsn + "?sslmode=disable", *words)


def rust(_):
    folder = deps("rust")
    compiled("cargo", "build", "--quiet", "--locked", "--offline", "--manifest-path", EXAMPLES / "rust/Cargo.toml",
             "--target-dir", folder / "target", CARGO_HOME=folder)
    return lambda dsn, *words: call(folder / "target/debug/publish", dsn, *words)


def java(name, tmp_path):
    jars = deps(name) / "jars"
    compiled("javac", "--release", "17", "-parameters", "-Xlint:all", "-Werror", "-cp", f"{jars}/*", "-d", tmp_path,
             EXAMPLES / name / "Publish.java")
    return ["java", "-cp", f"{tmp_path}:{jars}/*"]


def jdbc_url(dsn):
    user, place = dsn.removeprefix("postgresql://").split("@")
    return f"jdbc:postgresql://{place}?user={user}"


def java_jdbc(tmp_path):
    words_before = java("java-jdbc", tmp_path)
    return lambda dsn, *words: call(*words_before, "Publish", jdbc_url(dsn), *words)


def java_spring(tmp_path):
    words_before = java("java-spring", tmp_path)
    return lambda dsn, *words: call(*words_before, f"-Durl={jdbc_url(dsn)}", "Publish", *words)


MAKERS = {"python": python, "node": node, "go": go, "rust": rust, "java-jdbc": java_jdbc, "java-spring": java_spring}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ON_POSTGRES)
def test_on_postgresql(posthorn, database, tmp_path, name):
    """In a transaction that commits the order and its event are there; in one that fails, neither."""
    publish = MAKERS[name](tmp_path)
    posthorn.init(database.dsn())
    database.sql("CREATE TABLE shop_order (id text PRIMARY KEY, status text NOT NULL)")
    status, said = publish(database.dsn(), "42")
    assert status == 0, said
    status, said = publish(database.dsn(), "43", "fail")
    assert status == 0 if name == "rust" else status != 0 and FAILED in said, said
    assert database.sql("SELECT id, status FROM shop_order") == [("42", "placed")]
    assert database.sql("SELECT aggregate_type, aggregate_id, event_type, payload, headers FROM posthorn.outbox") == [
        ("order", "42", "OrderPlaced", {"orderId": "42"}, {"service": "orders"})]
    # The one that rolled back was on its way: it had drawn a position.
    assert database.sql("SELECT last_value FROM posthorn.outbox_position_seq") == [(2,)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["python", "node"])
def test_on_sqlite(posthorn, tmp_path, name):
    program = {"python": [sys.executable, EXAMPLES / "python/publish_sqlite.py"],
               "node": ["node", EXAMPLES / "node/publish_sqlite.js"]}[name]
    env = {"NODE_PATH": deps("node") / "node_modules"} if name == "node" else {}
    path = tmp_path / "shop.db"
    posthorn.init(f"sqlite:{path}")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE shop_order (id text PRIMARY KEY, status text NOT NULL)")
    status, said = call(*program, path, "42", **env)
    assert status == 0, said
    status, said = call(*program, path, "43", "fail", **env)
    assert status != 0 and FAILED in said, said
    posthorn.drain(f"sqlite:{path}", f"file:{tmp_path}/out.ndjson")
    assert [line.split('"aggregateId":"')[1][:2] for line in (tmp_path / "out.ndjson").read_text().splitlines()] == ["42"]
    assert db.execute("SELECT id FROM shop_order").fetchall() == [("42",)]


def test_each_example_is_tested():
    """And each has a README that says how to run it."""
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {"c", *ON_POSTGRES}
    assert all((EXAMPLES / name / "README.md").exists() for name in folders)
