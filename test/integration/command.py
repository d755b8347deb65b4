"""The command `posthorn` with the status that a test wants, and a door in front of PostgreSQL that can be shut."""

import contextlib
import functools
import json
import socket
import subprocess
import threading

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from servers import Posthorn


@functools.cache
def tool():
    return Posthorn()


def posthorn(*words, status=0, stdin=None, **kwargs):
    """The finished command; it must have ended with that status."""
    done = tool().run(*words, input=stdin, **kwargs)
    assert done.returncode == status, f"{words}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}"
    return done


def answer(*words, status=0, **kwargs):
    """What the command says on stdout, as JSON."""
    return json.loads(posthorn(*words, "--json", status=status, **kwargs).stdout)


def start(*words, env=None, **kwargs):
    return subprocess.Popen([str(tool().binary), *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=tool().env | (env or {}), **kwargs)


def sanitized():
    """Whether the program is built with AddressSanitizer or ThreadSanitizer, which need memory of their own."""
    program = tool().binary.read_bytes()
    return b"__asan_init" in program or b"__tsan_init" in program


class Door:
    """A TCP port in front of a server. Once shut_at was seen from the client (after skip such words that pass), the
    connection ends: before=True drops the words themselves, before=False lets them through and drops the answer."""

    def __init__(self, dsn, shut_at, before, skip=0):
        self.target, self.shut_at, self.before, self.skip = conninfo_to_dict(dsn), shut_at, before, skip
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.sockets = []
        self.mute = False
        threading.Thread(target=self.serve, daemon=True).start()

    def dsn(self):
        host, port = self.listener.getsockname()
        return make_conninfo(**{**self.target, "host": host, "port": port, "sslmode": "disable", "gssencmode": "disable"})

    def connect(self):
        host, port = self.target.get("host", "/var/run/postgresql"), int(self.target.get("port", 5432))
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = self.connect()
            self.sockets += [client, server]
            threading.Thread(target=self.pass_on, args=(server, client, False), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(client, server, True), daemon=True).start()

    def pass_on(self, source, target, from_client):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if from_client and self.shut_at in data:  # short statements: they come whole
                    self.skip -= 1
                    self.mute = self.skip < 0
                if self.mute and (self.before or not from_client):
                    break
                target.sendall(data)
        if self.mute:
            self.hang_up()

    def hang_up(self):
        """Closing is not enough: a thread that waits in recv would keep the connection open."""
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()
        self.hang_up()
        for s in self.sockets:
            s.close()
