"""The Debian package, from `make deb` to purge: installed in a clean root, the unit's command relays an event there."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import uuid

import pytest

from conftest import missing
from proc import ROOT, ServerMissing, spawn, until
from root import CleanRoot

STATE = "/var/lib/posthorn"
CONFIG = "/etc/posthorn/posthorn.yaml"
CREDENTIALS = "/run/credentials"


@pytest.fixture(scope="session")
def debs():
    """NAME -> the .deb that make deb built."""
    for tool in ("dpkg-buildpackage", "dh", "scdoc"):
        if shutil.which(tool) is None:
            missing(f"no {tool}: run tools/deps.sh ci")
    built = subprocess.run(["make", "deb"], cwd=ROOT, text=True, capture_output=True, timeout=600)
    assert built.returncode == 0, built.stdout + built.stderr
    assert f"the packages are in {ROOT / 'build-deb'}:" in built.stdout
    names = re.findall(r"^  (\S+\.deb)$", built.stdout, re.M)
    return {name.split("_")[0]: ROOT / "build-deb" / name for name in names}


@pytest.fixture(scope="module")
def root(debs):
    """A clean root with the package installed."""
    try:
        made = CleanRoot()
    except ServerMissing as why:
        missing(why)
    made.before = made.paths()
    made.users = made.text("/etc/passwd"), made.text("/etc/group")
    made.said = made.install(debs["posthorn"])
    yield made
    made.close()


class Unit:
    """The installed unit."""

    def __init__(self, root):
        self.text = root.text("/lib/systemd/system/posthorn.service")

    def value(self, key):
        return re.search(rf"^{key}=(.*)$", self.text, re.M)[1]

    def command(self, key):
        return shlex.split(self.value(key))


@pytest.mark.timeout(900)
def test_lintian_finds_no_error(debs):
    """But that the maintainer's address is none: whoever publishes packages sets DEBEMAIL."""
    if shutil.which("lintian") is None:
        missing("no lintian: run tools/deps.sh ci")
    changes = next((ROOT / "build-deb").glob("*.changes"))
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error", "--suppress-tags",
                           "bogus-mail-host,bogus-mail-host-in-debian-changelog", changes],
                          text=True, capture_output=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(900)
def test_the_package_declares_what_it_needs(root, debs):
    """Installing took every library from Depends alone: the clean root had none of them."""
    assert root.run("/usr/bin/posthorn", "--version").startswith("posthorn ")
    needs = subprocess.run(["dpkg-deb", "-f", debs["posthorn"], "Depends"], text=True, capture_output=True).stdout
    for library in ("libpq5", "librdkafka1", "libsqlite3-0", "libyaml-0-2", "libc6"):
        assert re.search(rf"\b{library}\b", needs), needs


PROGRAM = """
#include <posthorn/posthorn.h>
#include <stdio.h>
int main(void) { return puts(posthorn_version()) < 0; }
"""


def test_the_library_packages(debs):
    """The shared library alone in libposthorn0, with all its symbols; a program builds with what -dev has."""
    wanted = {"libposthorn0": ["/libposthorn.so.0"],
              "libposthorn-dev": ["/libposthorn.so", "/libposthorn.a", "/pkgconfig/posthorn.pc", "/posthorn/posthorn.h"]}
    for name, files in wanted.items():
        held = subprocess.run(["dpkg-deb", "--fsys-tarfile", debs[name]], capture_output=True, check=True).stdout
        names = subprocess.run(["tar", "-t"], input=held, capture_output=True, check=True).stdout.decode().split()
        for file in files:
            assert any(path.endswith(file) for path in names), (name, file)
    symbols = subprocess.run(["dpkg-deb", "-I", debs["libposthorn0"], "symbols"], text=True, capture_output=True).stdout
    exported = re.findall(r"^\s+(posthorn_\w+);", (ROOT / "src/publish/posthorn.map").read_text(), re.M)
    assert len(exported) > 3 and set(re.findall(r"^ (posthorn_\w+)@", symbols, re.M)) == set(exported)


def test_a_program_builds_with_the_packages(debs, tmp_path):
    for name in ("libposthorn0", "libposthorn-dev"):
        subprocess.run(["dpkg-deb", "-x", debs[name], tmp_path], check=True)
    pc = next(tmp_path.glob("usr/lib/*/pkgconfig"))
    (tmp_path / "a.c").write_text(PROGRAM)
    env = os.environ | {"PKG_CONFIG_PATH": str(pc), "PKG_CONFIG_SYSROOT_DIR": str(tmp_path)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "posthorn"], env=env, text=True, capture_output=True)
    assert flags.returncode == 0, flags.stderr
    built = subprocess.run(["cc", "a.c", "-o", "a", *flags.stdout.split()], cwd=tmp_path, text=True, capture_output=True)
    assert built.returncode == 0, built.stderr
    said = subprocess.run([tmp_path / "a"], env={"LD_LIBRARY_PATH": str(pc.parent)}, text=True, capture_output=True)
    assert debs["libposthorn0"].name.split("_")[1] == said.stdout.strip(), said.stderr


def test_the_package_has_its_files(root):
    for path in ("/usr/bin/posthorn", CONFIG, "/lib/systemd/system/posthorn.service", "/usr/share/man/man1/posthorn.1.gz",
                 "/usr/share/man/man5/posthorn.yaml.5.gz",
                 "/usr/share/bash-completion/completions/posthorn", "/usr/share/zsh/vendor-completions/_posthorn",
                 "/usr/share/fish/vendor_completions.d/posthorn.fish", "/usr/lib/sysusers.d/posthorn.conf"):
        root.run("dpkg", "-S", path)
    assert "etc/posthorn/posthorn.yaml" in root.run("dpkg-query", "-W", "-f", "${Conffiles}", "posthorn")


def test_the_service_has_a_user_who_reads_the_configuration(root):
    unit = Unit(root)
    assert re.search(rf"^{unit.value('User')}:", root.text("/etc/passwd"), re.M)
    assert root.run("stat", "-c", "%U:%G %a", CONFIG) == "root:posthorn 640\n"
    root.run("cat", CONFIG, user=unit.value("User"))


def test_the_service_waits_for_a_pipeline(root):
    """Enabled, and its condition keeps it from starting while the configuration names none."""
    assert "etc/systemd/system/multi-user.target.wants/posthorn.service" in root.paths()
    root.run(*Unit(root).command("ExecCondition"), status=1)


def state_folder(root):
    """What systemd does for StateDirectory= before it starts the service."""
    root.run("install", "-d", "-o", "posthorn", "-g", "posthorn", "-m", Unit(root).value("StateDirectoryMode"), STATE)


def publish(root):
    """Installs the log, and puts an event in as an application does; its id."""
    root.run("posthorn", "init", f"sqlite:{STATE}/shop.db", user="posthorn")
    event = str(uuid.uuid4())
    with contextlib.closing(sqlite3.connect(root.path / STATE.lstrip("/") / "shop.db")) as shop, shop:
        shop.execute("INSERT INTO posthorn_outbox (event_id, aggregate_type, aggregate_id, event_type, payload)"
                     " VALUES (?, 'order', '42', 'OrderPlaced', ?)", (event, '{"amountCents":1999}'))
    return event


class Service:
    """The unit's command in the root, and the socket on which it tells how it is, as systemd has them."""

    def __init__(self, root):
        self.unit, self.root = Unit(root), root
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = root.path / "run" / "notify"
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.socket.settimeout(30)
        self.log = root.path.parent / f"{root.path.name}.log"
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "400000",
               "CREDENTIALS_DIRECTORY": CREDENTIALS}
        with open(self.log, "wb") as log:
            self.child = spawn(root.argv(*self.unit.command("ExecStart"), user=self.unit.value("User")), env=env,
                               stdout=log, stderr=log)

    def told(self, wanted):
        """Waits for a message that begins so; what was told until then."""
        messages = []
        while not messages or not messages[-1].startswith(wanted):
            try:
                messages.append(self.socket.recv(4096).decode())
            except TimeoutError:
                raise AssertionError(f"no {wanted} but {messages}\n{self.log.read_text()}") from None
        return messages

    def signal_by(self, key):
        """What systemd runs for ExecReload=; procps is only recommended, so that this one is the outside's."""
        words = [word.replace("$MAINPID", str(self.child.pid)) for word in self.unit.command(key)]
        subprocess.run(words, check=True, timeout=30)

    def close(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(30)
        self.socket.close()
        (self.root.path / "run" / "notify").unlink()
        self.log.unlink()


@pytest.fixture
def service(root):
    """Started on a configuration with one pipeline, with an event in its log."""
    state_folder(root)
    event = publish(root)
    (root.path / CONFIG.lstrip("/")).write_text(f"""
pipelines:
  orders:
    source:
      uri_file: shop.uri
    sink:
      uri: file:{STATE}/orders.ndjson
""")
    credential = root.path / CREDENTIALS.lstrip("/") / "shop.uri"
    credential.parent.mkdir()
    credential.write_text(f"sqlite:{STATE}/shop.db\n")
    started = Service(root)
    started.event = event
    yield started
    started.close()
    credential.unlink()
    credential.parent.rmdir()


def test_the_unit_relays_an_event(root, service):
    """As systemd does it: condition, a credential, start, READY=1, watchdog, reload, stop."""
    root.run(*service.unit.command("ExecCondition"))
    service.told("READY=1")
    sink = root.path / STATE.lstrip("/") / "orders.ndjson"
    until(lambda: sink.exists() and service.event in sink.read_text(), 30, "the event in the file")
    service.told("WATCHDOG=1")
    service.signal_by("ExecReload")
    assert "MONOTONIC_USEC=" in service.told("RELOADING=1")[-1]
    service.told("READY=1")
    service.child.send_signal(signal.SIGTERM)
    service.told("STOPPING=1")
    assert service.child.wait(30) == 0, service.log.read_text()
    assert len(sink.read_text().splitlines()) == 1


def test_purging_keeps_events(root):
    """The package goes, the only copy of events does not, and neither does the user who owns it."""
    said = root.purge("posthorn")
    assert f"{STATE} holds files and is kept" in said
    assert (root.path / STATE.lstrip("/") / "shop.db").exists() and "posthorn:" in root.text("/etc/passwd")
    left = {path for path in root.paths() - root.before if not f"/{path}".startswith(STATE)}
    assert left == set()


def test_purging_leaves_nothing_behind(root, debs):
    root.run("find", STATE, "-type", "f", "-delete")
    root.install(debs["posthorn"])
    root.purge("posthorn")
    assert root.paths() - root.before == set() and root.before - root.paths() == set()
    assert (root.text("/etc/passwd"), root.text("/etc/group")) == root.users
