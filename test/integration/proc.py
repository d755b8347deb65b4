"""Processes that tests start: as an unprivileged user, on free loopback ports, in temporary folders, and
always stopped.

Place: below postgres_server.py, kafka_server.py and posthorn.py; servers.py is what tests import.
Promise: what is started here ends with the test program, also when that is killed: the reaper below
reads a pipe from it, and ends what is left when the pipe closes.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.02
READY_SECONDS = 60


class ServerMissing(Exception):
    """A server that this machine cannot run; the text says what to do."""


class ServerDied(Exception):
    """A server that ended or does not answer; the text holds the end of its log."""


def within(seconds, condition):
    """Whether a condition becomes true in that time: for faults that count only when it does."""
    try:
        return bool(until(condition, seconds))
    except AssertionError:
        return False


def until(condition, seconds=READY_SECONDS, what="the condition"):
    """Waits for a condition that is true, and returns it; AssertionError after the time limit."""
    end = time.monotonic() + seconds
    while not (got := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(POLL_SECONDS)
    return got


# -- ports ----------------------------------------------------------------------------------------

_given_ports = set()


def free_port():
    """A loopback port that nobody listens on, and that was not given out before."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port not in _given_ports:
            _given_ports.add(port)
            return port


# -- users and folders ----------------------------------------------------------------------------


def server_user(*names):
    """The first of the users that exists; None where we are not root and run servers as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in names:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerMissing(f"a server must not run as root, and no user {' or '.join(names)} exists")


def temp_folder(prefix, user=None):
    """A new folder that the user owns; its path is short, as unix sockets must lie in it."""
    path = Path(tempfile.mkdtemp(prefix=f"ph-{prefix}-", dir=os.environ.get("POSTHORN_TMP")))
    path.chmod(0o755)
    give(path, user)
    reaper.folder(path)
    return path


def give(path, user):
    """Makes user the owner of path and all below it."""
    if user is None:
        return
    os.chown(path, user.pw_uid, user.pw_gid)
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            os.chown(Path(folder, name), user.pw_uid, user.pw_gid, follow_symlinks=False)


def remove(path):
    """Removes a temporary folder, unless POSTHORN_KEEP asks to keep it."""
    if not os.environ.get("POSTHORN_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


def tail(path, lines=30):
    try:
        return "\n".join(Path(path).read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"


def fetch(script, *args):
    """Runs a tools/ script that fetches something and prints the folder where it lies."""
    done = subprocess.run([ROOT / "tools" / script, *args], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=600)
    if done.returncode != 0:
        raise ServerMissing(f"tools/{script} {' '.join(args)}: {done.stderr.strip()[-2000:]}")
    return Path(done.stdout.strip())


# -- processes ------------------------------------------------------------------------------------


def spawn(argv, user=None, cwd="/", env=None, log=None, **kwargs):
    """Starts a process in a session of its own, with its output appended to log."""
    ids = {} if user is None else dict(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    with open(log or os.devnull, "ab") as out:
        streams = dict(stdin=subprocess.DEVNULL, stdout=out, stderr=out) | kwargs
        child = subprocess.Popen([str(a) for a in argv], cwd=cwd, env=env, start_new_session=True,
                                 **ids, **streams)
    reaper.child(child.pid)
    return child


def run_as(argv, user=None, cwd="/", timeout=120):
    """Runs a program to its end as the user; CalledProcessError carries what it said."""
    ids = {} if user is None else dict(user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    env = dict(os.environ, HOME=str(cwd), LC_ALL="C.UTF-8")
    done = subprocess.run([str(a) for a in argv], cwd=cwd, env=env, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=timeout, **ids)
    if done.returncode != 0:
        raise ServerDied(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def start_ticks(pid):
    """When a process began, in clock ticks since boot; None when it is gone. Tells reused pids apart."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def children(pid):
    """The pids of a process's direct children."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(p) for p in task.read_text().split()]
        except OSError:
            continue
    return found


def send(pid, signo):
    try:
        os.kill(pid, signo)
        return True
    except ProcessLookupError:
        return False


class Server:
    """What all servers share: a folder, a process, and the ways to end it."""

    name = "server"
    stop_signal = signal.SIGTERM
    stop_seconds = 30

    def __init__(self, *users):
        self.user = server_user(*users)
        self.folder = temp_folder(self.name, self.user)
        self.log_path = self.folder / f"{self.name}.log"
        self.child = None
        self.paused = []
        atexit.register(self.close)

    def __enter__(self):
        return self if self.running() else self.start()

    def __exit__(self, *exc):
        self.close()

    def running(self):
        return self.child is not None and self.child.poll() is None

    @property
    def pid(self):
        return self.child.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self):
        """Starts the server on its port and waits until it answers."""
        assert not self.running(), f"{self.name} is running already"
        self.launch()
        end = time.monotonic() + READY_SECONDS
        while not self.answers():
            if not self.running() or time.monotonic() > end:
                state = "does not answer" if self.running() else "ended at once"
                self.kill9()
                raise ServerDied(f"{self.name} {state}; the end of {self.log_path}:\n{tail(self.log_path)}")
            time.sleep(POLL_SECONDS)
        return self

    def launch(self):
        raise NotImplementedError

    def answers(self):
        raise NotImplementedError

    def stop(self):
        """A clean stop; kill -9 where that takes too long."""
        if not self.running():
            return
        self.resume()
        send(self.pid, self.stop_signal)
        try:
            self.child.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.kill9()
        self.ended()

    def kill9(self):
        """SIGKILL to the server and all its processes; returns when they are gone."""
        if self.running():
            send(self.pid, signal.SIGSTOP)  # so that it starts no further child meanwhile
            family = [(p, start_ticks(p)) for p in children(self.pid)]
            for pid, _ in family + [(self.pid, None)]:
                send(pid, signal.SIGKILL)
            self.child.wait(self.stop_seconds)
            until(lambda: all(start_ticks(p) != t for p, t in family if t), self.stop_seconds,
                  f"the end of the processes of {self.name}")
        self.ended()

    def ended(self):
        if self.child is not None:
            reaper.forget(self.child.pid)
            self.child = None

    def restart(self):
        self.stop()
        return self.start()

    def pause(self):
        """SIGSTOP: a server that hangs. Goes on with resume()."""
        self.paused = [self.pid, *children(self.pid)]
        for pid in self.paused:
            send(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.paused:
            send(pid, signal.SIGCONT)
        self.paused = []

    def close(self):
        """Stops the server and removes its folder."""
        atexit.unregister(self.close)
        self.stop()
        remove(self.folder)


# -- the reaper -----------------------------------------------------------------------------------


class Reaper:
    """A small process that outlives this one for a moment, to end what a killed test program left."""

    def __init__(self):
        self.lock = threading.Lock()
        self.pipe = None
        self.owner = None

    def tell(self, *words):
        with self.lock:
            if self.owner != os.getpid():  # the first time, or in a forked child
                read, self.pipe = os.pipe()
                subprocess.Popen([sys.executable, __file__], stdin=read, start_new_session=True,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                os.close(read)
                self.owner = os.getpid()
            os.write(self.pipe, (" ".join(map(str, words)) + "\n").encode())

    def child(self, pid):
        self.tell("child", pid, start_ticks(pid) or 0)

    def forget(self, pid):
        self.tell("forget", pid)

    def folder(self, path):
        self.tell("folder", path)


reaper = Reaper()


def reap(lines):
    """The reaper's whole life: keeps book until the pipe closes, then cleans up."""
    alive, folders = {}, []
    for line in lines:
        word, rest = line.rstrip("\n").split(" ", 1)
        if word == "child":
            pid, began = map(int, rest.split())
            alive[pid] = began
        elif word == "forget":
            alive.pop(int(rest), None)
        elif word == "folder":
            folders.append(rest)
    left = {p: t for p, t in alive.items() if start_ticks(p) == t}
    for signo in (signal.SIGCONT, signal.SIGTERM):
        for pid in left:
            send(pid, signo)
    end = time.monotonic() + 5
    while any(start_ticks(p) == t for p, t in left.items()) and time.monotonic() < end:
        time.sleep(0.05)
    for pid, began in left.items():
        if start_ticks(pid) == began:
            send(pid, signal.SIGKILL)
    for folder in folders:
        remove(folder)


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    reap(sys.stdin)
