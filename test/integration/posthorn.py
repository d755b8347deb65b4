"""The posthorn command for tests: run a command to its end, or start a relay and watch its log.

The binary is build/src/cli/posthorn, or that of the build folder which POSTHORN_BUILD names (CI runs the
same tests on a sanitizer build so). What a sanitizer reports fails the test that meets it.
"""

import atexit
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from proc import POLL_SECONDS, ROOT, ServerMissing, reaper, remove, send, spawn, tail, temp_folder

SANITIZER = re.compile(r"ERROR: (Address|Leak|Undefined)\w*Sanitizer|WARNING: ThreadSanitizer|runtime error:")
# A sanitizer's own status must not look like one of ours.
SANITIZER_ENV = {
    "ASAN_OPTIONS": "exitcode=99:handle_segv=2",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": f"exitcode=99:suppressions={ROOT / 'tools' / 'tsan.supp'}",
}


def build_folder():
    folder = Path(os.environ.get("POSTHORN_BUILD") or "build")
    return folder if folder.is_absolute() else ROOT / folder


def check_sanitizer(text):
    found = SANITIZER.search(text)
    assert not found, "a sanitizer reported:\n" + text[found.start():found.start() + 6000]


class Posthorn:
    """The command. env are variables for every call; without PG* of the caller's, so that tests say all."""

    def __init__(self, binary=None, env=None):
        self.binary = Path(binary or build_folder() / "src" / "cli" / "posthorn")
        if not os.access(self.binary, os.X_OK):
            raise ServerMissing(f"no {self.binary}: run make build")
        outside = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        self.env = SANITIZER_ENV | outside | {"NO_COLOR": "1"} | (env or {})
        self.folder = temp_folder("relay")
        self.relays = []
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def run(self, *args, input=None, timeout=60, env=None, check=False, cwd=None):
        """Runs one command: a CompletedProcess with text. check=True wants status 0."""
        streams = dict(stdin=subprocess.DEVNULL) if input is None else dict(input=input)
        done = subprocess.run([str(self.binary), *map(str, args)], text=True, capture_output=True,
                              timeout=timeout, env=self.env | (env or {}), cwd=cwd, **streams)
        check_sanitizer(done.stderr)
        if check:
            assert done.returncode == 0, f"{args}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *args, statuses=(0,), **kwargs):
        """What a command with --json printed."""
        done = self.run(*args, "--json", **kwargs)
        assert done.returncode in statuses, f"{args}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return json.loads(done.stdout)

    def init(self, dsn):
        return self.run("init", dsn, check=True)

    def publish_lines(self, dsn, events, **kwargs):
        """Publishes dicts as --ndjson does."""
        lines = "".join(json.dumps(event) + "\n" for event in events)
        return self.run("publish", dsn, "--ndjson", "-", input=lines, **kwargs)

    def start_relay(self, source, sink, *args, name=None, settings=None, env=None):
        """Starts `posthorn run --from source --to sink`; settings (a dict) become --set key=value."""
        words = ["run", "--from", source, "--to", sink, *args]
        words += ["--name", name] if name else []
        for key, value in (settings or {}).items():
            words += ["--set", f"{key}={value}"]
        return self.start_words(words, env)

    def start_daemon(self, config, *args, env=None):
        """Starts `posthorn run --config FILE`; a Relay too."""
        return self.start_words(["run", "--config", config, *args], env)

    def start_words(self, words, env=None):
        log = self.folder / f"relay-{len(self.relays) + 1}.log"
        relay = Relay([self.binary, *words], self.env | (env or {}), log)
        self.relays.append(relay)
        return relay

    def drain(self, source, sink, *args, name=None, settings=None, timeout=60, env=None):
        """Runs `posthorn run --once` to its end and wants status 0; returns the Relay."""
        relay = self.start_relay(source, sink, "--once", *args, name=name, settings=settings, env=env)
        assert relay.wait(timeout) == 0, relay.log
        return relay

    def pipeline(self, dsn, name=None):
        """One pipeline's row of status --json; None where it is not there."""
        rows = self.json("status", dsn)["pipelines"]
        return next((r for r in rows if name is None or r["name"] == name), None)

    def wait_drained(self, dsn, name=None, timeout=60):
        """Waits until status says that nothing lags behind."""
        end = time.monotonic() + timeout
        while True:
            row = self.pipeline(dsn, name)
            if row is not None and row["lagEvents"] == 0:
                return row
            assert time.monotonic() < end, f"not drained in {timeout} s: {row}\n{self.logs()}"
            time.sleep(5 * POLL_SECONDS)

    def logs(self, lines=60):
        """The ends of all relays' logs, for a failed test's report."""
        return "\n".join(f"--- {' '.join(r.words)} (status {r.status})\n{tail(r.log_path, lines)}"
                         for r in self.relays[-4:])

    def close(self):
        atexit.unregister(self.close)
        for relay in self.relays:
            relay.kill9()
        remove(self.folder)


class Relay:
    """A running `posthorn run`. log is what it wrote to stderr, output what it wrote to stdout."""

    def __init__(self, argv, env, log_path):
        self.words = [str(a) for a in argv[1:]]
        self.log_path, self.output_path = log_path, log_path.with_suffix(".out")
        with open(log_path, "ab") as err, open(self.output_path, "ab") as out:
            self.child = spawn(argv, env=env, cwd=log_path.parent, stdout=out, stderr=err)

    @property
    def pid(self):
        return self.child.pid

    @property
    def status(self):
        """The exit status; None while it runs, negative for a signal."""
        return self.child.poll()

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    @property
    def output(self):
        return self.output_path.read_text(errors="replace")

    def running(self):
        return self.status is None

    def wait_log(self, pattern, timeout=30, start=0):
        """Waits for a line of the log that matches; returns the match. start: only behind that place
        (len(relay.log)) of the log."""
        found, end = re.compile(pattern, re.MULTILINE), time.monotonic() + timeout
        while True:
            ended = not self.running()  # asked first, so that its last words are read
            match = found.search(self.log, start)
            if match:
                return match
            assert not ended, f"ended with status {self.status} before {pattern!r}:\n{self.log[-4000:]}"
            assert time.monotonic() < end, f"no {pattern!r} in {timeout} s:\n{self.log[-4000:]}"
            time.sleep(POLL_SECONDS)

    def wait(self, timeout=60):
        """Waits for its end; the exit status."""
        try:
            self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s:\n{self.log[-4000:]}") from None
        reaper.forget(self.pid)
        check_sanitizer(self.log)
        return self.status

    def signal(self, signo):
        send(self.pid, signo)

    def stop(self, timeout=30):
        """SIGTERM and the exit status."""
        if self.running():
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill9(self):
        if self.running():
            self.signal(signal.SIGKILL)
            self.child.wait(30)
        reaper.forget(self.pid)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def rss_kib(self, peak=False):
        """Resident memory now, or its peak so far."""
        word = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(word):
                return int(line.split()[1])
        raise AssertionError(f"process {self.pid} has no {word}")
