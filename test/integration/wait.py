"""Waiting for a condition, with a limit; free ports; unprivileged child processes."""
import os
import pwd
import socket
import time


def until(condition, limit_s, what):
    """Polls until condition() is true and returns its value; fails with `what` after limit_s seconds."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {limit_s} s")
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


def server_user():
    """Servers refuse to run as root: the account they get then, or None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("running as root, and there is no account postgres or nobody for the servers")


def give_to_server(path):
    user = server_user()
    if user:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def cache_dir():
    base = os.environ.get("POSTHORN_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "posthorn")
    os.makedirs(base, exist_ok=True)
    return base


class ServerMissing(Exception):
    """A server cannot be had on this machine; the text says why."""
