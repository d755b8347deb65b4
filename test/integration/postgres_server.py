"""PostgreSQL servers of several versions, a standby of one, and PgBouncer in front of one.

Version 15 (or what the distribution has) comes from Debian packages, all others from Maven by
tools/pg_binaries.sh. Each server is a copy of one template that initdb made once per version and test
program, so copies share a system identifier; fresh=True runs initdb anew where that matters.
"""

import atexit
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from proc import (Server, ServerMissing, fetch, free_port, give, remove, run_as, server_user, spawn,
                  temp_folder)

DEBIAN = Path("/usr/lib/postgresql")
PUBLISHED = {14: "14.20.0", 16: "16.9.0", 17: "17.6.0", 18: "18.1.0"}
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": 200,
    "max_prepared_transactions": 20,
    "max_wal_senders": 4,
    "wal_keep_size": "64MB",
    "shared_buffers": "64MB",
    "jit": "off",
    "log_line_prefix": "%m [%p] %d ",
    "lc_messages": "C",
    "timezone": "UTC",
}

_templates = {}
_names = itertools.count(1)


def newest_debian():
    """The newest major version that Debian's packages brought; ServerMissing when none did."""
    found = [int(p.parent.parent.name) for p in DEBIAN.glob("*/bin/initdb") if p.parent.parent.name.isdigit()]
    if not found:
        raise ServerMissing("no PostgreSQL server in /usr/lib/postgresql: run tools/deps.sh test")
    return max(found)


def bin_folder(version):
    """Where the programs of a major version are; fetched first if need be."""
    packaged = DEBIAN / str(version) / "bin"
    if (packaged / "initdb").exists():
        return packaged
    if version not in PUBLISHED:
        raise ServerMissing(f"PostgreSQL {version} is neither installed nor among {sorted(PUBLISHED)}:"
                            " run tools/deps.sh test")
    return fetch("pg_binaries.sh", PUBLISHED[version])


def initdb(version, data, user):
    run_as([bin_folder(version) / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync", "--no-instructions"], user, data.parent)


def template(version, user):
    """The folder that initdb made for this version, once per program."""
    if version not in _templates:
        folder = temp_folder(f"pg{version}-template", user)
        atexit.register(remove, folder)
        initdb(version, folder / "data", user)
        _templates[version] = folder / "data"
    return _templates[version]


def setting_lines(settings):
    return "".join(f"{key} = '{value}'\n" for key, value in settings.items())


class Postgres(Server):
    """One server. options are settings (a dict); fsync=False is for tests that crash nothing; hba are
    lines that come before those that trust every local user."""

    stop_signal = signal.SIGINT  # a fast shutdown

    def __init__(self, version=15, options=None, fsync=True, fresh=False, hba=()):
        self.name = f"pg{version}"
        super().__init__("postgres", "nobody")
        self.version = version
        self.bin = bin_folder(version)
        self.data = self.folder / "data"
        self.port = free_port()
        self.options = SETTINGS | {"fsync": "on" if fsync else "off"} | (options or {})
        self.hba = list(hba)
        self.fill(fresh)

    def fill(self, fresh):
        if fresh:
            initdb(self.version, self.data, self.user)
        else:
            shutil.copytree(template(self.version, self.user), self.data, symlinks=True)
        self.configure()

    def configure(self):
        own = {"port": self.port, "unix_socket_directories": self.folder}
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(setting_lines(self.options | own))
        hba = self.data / "pg_hba.conf"
        hba.write_text("".join(line + "\n" for line in self.hba) + hba.read_text())
        give(self.data, self.user)
        self.data.chmod(0o700)

    def launch(self):
        env = dict(os.environ, LC_ALL="C.UTF-8")
        self.child = spawn([self.bin / "postgres", "-D", self.data], self.user, self.data, env, self.log_path)

    def answers(self):
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
            return True
        except psycopg.OperationalError:
            return False

    def dsn(self, database="postgres", user="postgres"):
        """A URI over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def socket_dsn(self, database="postgres", user="postgres"):
        """A conninfo over the unix socket."""
        return f"host={self.folder} port={self.port} user={user} dbname={database}"

    def connect(self, database="postgres", **kwargs):
        return psycopg.connect(self.dsn(database), **{"autocommit": True, "connect_timeout": 10, **kwargs})

    def sql(self, text, *args, database="postgres"):
        """Runs one statement in a session of its own; its rows, or None."""
        with self.connect(database) as conn:
            cursor = conn.execute(text, args or None)
            return cursor.fetchall() if cursor.description else None

    def kill9(self):
        """SIGKILL to the postmaster and all its processes; what they leave behind is cleared away, so
        that another process with the old pid cannot keep the server from starting again."""
        pid_file = self.data / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        super().kill9()
        pid_file.unlink(missing_ok=True)
        if len(lines) > 6 and lines[6].split():  # "key id" of the shared memory that marks the folder
            subprocess.run(["ipcrm", "-m", lines[6].split()[-1]], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    # -- databases --

    def create_database(self, prefix="t"):
        name = f"{prefix}_{os.getpid()}_{next(_names)}"
        self.sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
        return name

    def drop_database(self, name):
        """Drops it with all sessions on it; prepared transactions are rolled back first."""
        prepared = self.sql("SELECT gid FROM pg_prepared_xacts WHERE database = %s", name)
        for (gid,) in prepared:
            self.sql("ROLLBACK PREPARED '" + gid.replace("'", "''") + "'", database=name)
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def fresh_database(self, prefix="t"):
        database = Database(self, self.create_database(prefix))
        try:
            yield database
        finally:
            self.drop_database(database.name)

    # -- standby --

    def make_standby(self):
        """A started streaming standby of this running server, as a Postgres."""
        standby = Standby(self)
        return standby.start()

    def promote(self):
        """Ends recovery; returns when the server takes writes."""
        assert self.sql("SELECT pg_promote(true, 60)")[0][0], f"{self.name} was not promoted:\n{self.log[-2000:]}"


class Standby(Postgres):
    """A standby made by an online copy of the primary's folder, as pg_basebackup makes one (which the
    servers from Maven do not bring)."""

    def __init__(self, primary):
        self.primary = primary
        super().__init__(primary.version, primary.options, hba=primary.hba)

    def fill(self, fresh):
        old = self.version < 15
        with self.primary.connect() as conn:
            conn.execute("SELECT pg_start_backup('s', true, false)" if old else "SELECT pg_backup_start('s', true)")
            self.copy_live()
            stop = "pg_stop_backup(false, false)" if old else "pg_backup_stop(false)"
            label = conn.execute(f"SELECT labelfile FROM {stop}").fetchone()[0]
        (self.data / "backup_label").write_text(label)
        (self.data / "standby.signal").touch()
        self.options = self.options | {
            "hot_standby": "on",
            "primary_conninfo": f"host={self.primary.folder} port={self.primary.port} user=postgres",
        }
        self.configure()

    def copy_live(self):
        """Copies the folder of a running server: files may vanish, and WAL comes by streaming."""

        def ignored(folder, names):
            if Path(folder).name in ("pg_wal", "pg_replslot", "pg_stat_tmp", "pg_dynshmem", "pg_notify"):
                return names
            return [n for n in names if n in ("postmaster.pid", "postmaster.opts") or n.startswith("pgsql_tmp")]

        def copy(source, target):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(source, target)

        shutil.copytree(self.primary.data, self.data, symlinks=True, ignore=ignored, copy_function=copy)
        (self.data / "pg_wal" / "archive_status").mkdir(parents=True, exist_ok=True)


class Database:
    """One database of a server, for one test."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    def dsn(self, user="postgres"):
        return self.server.dsn(self.name, user)

    def connect(self, **kwargs):
        return self.server.connect(self.name, **kwargs)

    def sql(self, text, *args):
        return self.server.sql(text, *args, database=self.name)


class PgBouncer(Server):
    """PgBouncer in transaction mode in front of a Postgres; every database of it, as user postgres."""

    name = "pgbouncer"
    stop_signal = signal.SIGINT

    def __init__(self, server, options=None):
        self.program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")
        if self.program is None:
            raise ServerMissing("no pgbouncer here: run tools/deps.sh test")
        super().__init__("postgres", "nobody")
        self.server = server
        self.port = free_port()
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": "transaction",
            "max_client_conn": 300,
            "default_pool_size": 20,
        } | (options or {})
        self.conf = self.folder / "pgbouncer.ini"
        self.conf.write_text(
            f"[databases]\n* = host={server.folder} port={server.port} user=postgres\n[pgbouncer]\n"
            + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        give(self.folder, self.user)

    def launch(self):
        self.child = spawn([self.program, self.conf], self.user, self.folder, log=self.log_path)

    def answers(self):
        try:
            with psycopg.connect(self.dsn(), connect_timeout=5, prepare_threshold=None) as conn:
                return conn.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    def dsn(self, database="postgres", user="postgres"):
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"
