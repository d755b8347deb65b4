"""libposthorn as an application meets it: installed, found by pkg-config, compiled against, delivered from."""

import json
import os
import re
import shutil
import subprocess

import pytest

from command import sanitized
from servers import ROOT, SANITIZER_ENV, build_folder, check_sanitizer
from test_programs import run_program

PUBLIC = {"posthorn_version", "posthorn_status_name", "posthorn_publish_postgres", "posthorn_publish_batch_postgres",
          "posthorn_publish_sqlite", "posthorn_publish_batch_sqlite"}
HEADERS = ("posthorn", "postgres", "sqlite")

LITE = r"""
#include <posthorn/sqlite.h>
#include <sqlite3.h>
#include <stdio.h>
int main(void)
{
    sqlite3 *db = NULL;
    struct posthorn_event event = {0};
    struct posthorn_error error;
    int opened = sqlite3_open(":memory:", &db);
    int rc = posthorn_publish_sqlite(db, &event, NULL, &error);
    sqlite3_close(db);
    printf("%s %s %s\n", posthorn_version(), posthorn_status_name(rc), error.text);
    return opened == SQLITE_OK ? 0 : 1;
}
"""


def call(*words, status=0, **kwargs):
    done = subprocess.run([str(w) for w in words], text=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=120,
                          **kwargs)
    check_sanitizer(done.stderr)
    assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Installed:
    """The library below a folder of its own, as `meson install` leaves it."""

    def __init__(self, folder):
        env = dict(os.environ, DESTDIR=str(folder))
        call("meson", "install", "-C", build_folder(), "--no-rebuild", "--quiet", env=env)
        self.prefix = next(folder.rglob("include/posthorn/posthorn.h")).parents[2]
        self.lib = next(folder.rglob("libposthorn.so.0")).parent
        found = self.lib / "pkgconfig" / "posthorn.pc"
        found.write_text(re.sub("^prefix=.*", f"prefix={self.prefix}", found.read_text(), flags=re.M))
        self.env = dict(os.environ, **SANITIZER_ENV, PKG_CONFIG_PATH=str(self.lib / "pkgconfig"),
                        LD_LIBRARY_PATH=str(self.lib))

    def flags(self, *words):
        return call("pkg-config", *words, env=self.env).split()

    def compile(self, source, output, libs, cc="cc", args=()):
        extra = ["-fsanitize=address,undefined"] if sanitized() else []
        call(cc, *extra, *args, "-Wall", "-Wextra", "-Werror", source, "-o", output, *self.flags("--cflags", "posthorn", "libpq"),
             *libs)
        return output


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("installed"))


# What is installed.

def test_only_public_symbols_are_shown(installed):
    lines = call("nm", "-D", "--defined-only", installed.lib / "libposthorn.so.0").splitlines()
    names = {line.split()[-1] for line in lines if line.split()[-2] != "A"}
    ours = {name for name in names if not re.match(r"_?_?(asan|ubsan|odr_asan|sancov)", name.lower())}
    assert ours == {f"{name}@@POSTHORN_0.1" for name in PUBLIC}
    dynamic = call("readelf", "-d", installed.lib / "libposthorn.so.0")
    assert "[libposthorn.so.0]" in dynamic
    needed = {n for n in re.findall(r"NEEDED.*\[(\w+)", dynamic)}
    assert needed - {"libc", "libm", "libasan", "libubsan", "libpthread", "ld"} == {"libpq", "libsqlite3"}


def test_the_versions_agree(installed):
    text = (installed.prefix / "include/posthorn/posthorn.h").read_text()
    assert installed.flags("--modversion", "posthorn") == [re.search(r'POSTHORN_VERSION "(.*)"', text)[1]]


@pytest.mark.parametrize("words", [
    ["gcc", "-std=c99"], ["gcc", "-std=c17"], ["g++", "-std=c++11"], ["clang", "-std=c99"], ["clang++", "-std=c++11"],
], ids=" ".join)
def test_headers_are_clean(installed, tmp_path, words):
    """Each alone, and all of them twice, before and behind the database's own."""
    if shutil.which(words[0]) is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {words[0]} here")
    suffix = "cc" if "++" in words[0] else "c"
    own = [f"#include <posthorn/{h}.h>\n" for h in HEADERS]
    client = "#include <libpq-fe.h>\n#include <sqlite3.h>\n"
    for i, text in enumerate([*own, "".join(own) + client + "".join(own)]):
        source = tmp_path / f"h{i}.{suffix}"
        source.write_text(text + "const char *f(void);\nconst char *f(void) { return posthorn_version(); }\n")
        call(*words, "-pedantic", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-c", source, "-o", tmp_path / "h.o",
             *installed.flags("--cflags", "posthorn", "libpq", "sqlite3"))


def test_each_function_is_documented():
    """Above each function that a header declares stands what it does."""
    declared = set()
    for header in HEADERS:
        text = (ROOT / "include" / "posthorn" / f"{header}.h").read_text()
        for comment, name in re.findall(r"(\*/)?\nPOSTHORN_API [^;]*?(posthorn_\w+)\(", text):
            assert comment, f"{name} has no comment"
            declared.add(name)
    assert declared == PUBLIC


def test_a_sqlite_program_needs_no_libpq(installed, tmp_path):
    """The archive has an object for each database, so that a static program needs one client."""
    source = tmp_path / "lite.c"
    source.write_text(LITE)
    program = installed.compile(source, tmp_path / "lite", [installed.lib / "libposthorn.a", "-lsqlite3"])
    assert "libpq" not in call("ldd", program)
    assert call(program, env=installed.env).startswith("0.1.0 DATA aggregate_type must not be empty")


@pytest.mark.parametrize("page", sorted(p.stem for p in (ROOT / "docs" / "man").glob("*.3.scd")))
def test_manual_pages_render(tmp_path, page):
    """scdoc takes it, groff has nothing to say about it, and it names what the headers declare."""
    for program in ("scdoc", "groff"):
        if shutil.which(program) is None:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"no {program} here: run tools/deps.sh ci")
    source = (ROOT / "docs" / "man" / f"{page}.scd").read_text()
    made = subprocess.run(["scdoc"], input=source, text=True, capture_output=True, timeout=30, check=True).stdout
    shown = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-t", "-P-cbou"], input=made, text=True, capture_output=True,
                           timeout=30, check=True)
    assert shown.stderr == ""
    assert {"NAME", "SYNOPSIS", "DESCRIPTION", "RETURN VALUE"} <= set(shown.stdout.splitlines())
    named = set(re.findall(r"\bposthorn_\w+(?=\()", shown.stdout.replace(page[:-2] + "(3)", "")))
    assert named <= PUBLIC and (page[:-2] in PUBLIC or page == "libposthorn.3")


# The order service.

@pytest.fixture(scope="module", params=["shared", "static"])
def orders(installed, tmp_path_factory, request):
    """examples/c/orders.c, compiled as its README says."""
    flags = installed.flags("--libs", "posthorn", "libpq", "sqlite3")
    if request.param == "static":
        assert {"-lpq", "-lsqlite3"} <= set(installed.flags("--static", "--libs", "posthorn"))
        flags = [installed.lib / "libposthorn.a" if f == "-lposthorn" else f for f in flags]
    program = installed.compile(ROOT / "examples/c/orders.c", tmp_path_factory.mktemp("orders") / "orders", flags,
                                args=["-std=c99", "-pedantic"])
    assert ("libposthorn" in call("ldd", program, env=installed.env)) == (request.param == "shared")
    return lambda uri, *words, **kwargs: call(program, uri, *words, env=installed.env, **kwargs)


def check_delivered(path):
    """Of 20 orders each fifth was not placed, and each seventh not ended; what was delivered says no more."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    types = [(int(e["aggregateId"]), e["type"]) for e in events]
    expected = []
    for i in [i for i in range(1, 21) if i % 5]:
        expected += [(i, "OrderPlaced"), (i, "CustomerNotification")]
        if i % 7:
            expected += [(i, "OrderCancelled"), (i, "RefundTriggered")] if i % 2 else \
                [(i, "OrderConfirmed"), (i, "FulfillmentTriggered")]
    assert types == expected
    assert events[0]["payload"] == {"orderId": "1"} and events[0]["headers"]["service"] == "orders"
    return len(events)


def check_shop(posthorn, orders, uri, tmp_path):
    assert "posthorn init" in fails(orders, uri)
    posthorn.init(uri)
    assert orders(uri, 20) == "committed 30, rolled back 6\n"
    posthorn.drain(uri, f"file:{tmp_path}/out.ndjson")
    assert check_delivered(tmp_path / "out.ndjson") == 60


def fails(orders, uri):
    """What the service says where no outbox is; it leaves no order behind."""
    try:
        orders(uri, 20)
    except AssertionError as failure:
        return str(failure)
    raise AssertionError("published without an outbox")


def test_orders_on_postgresql(posthorn, each_database, orders, tmp_path):
    check_shop(posthorn, orders, each_database.dsn(), tmp_path)
    assert each_database.sql("SELECT count(*) FROM shop_order") == [(16,)]


def test_orders_on_sqlite(posthorn, orders, tmp_path):
    check_shop(posthorn, orders, f"sqlite:{tmp_path}/shop.db", tmp_path)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("server", ["pg15", "pg18"])
def test_publish_postgres(request, posthorn, server):
    """Transactions, hostile values, 16 MiB, batches, locks, rights: test/integration/c/test_publish_postgres.c."""
    with request.getfixturevalue(server).fresh_database() as db:
        posthorn.run("init", db.dsn(), "--roles", check=True)
        run_program("publish_postgres_test", PH_TEST_PG=db.dsn())
