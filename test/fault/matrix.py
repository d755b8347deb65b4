"""What the tests of the fault matrix share: the guarantees they run with, their amounts, and the record of what they saw.

    @pytest.mark.parametrize("delivery", DELIVERIES)
    def test_x(posthorn, delivery):
        faults = amount(full=200, smoke=10)
        relay = posthorn.start_relay(dsn, uri, settings=settings(delivery, **{"route.topic": topic}))
        ...
        record(4, "broker killed -9", delivery, faults=faults, hits=hits, result=result)
        judge(delivery, faults, hits, result)

POSTHORN_FAULTS=full asks for the full amounts. POSTHORN_MATRIX names a file to which each record is appended as one line of
JSON; tools/matrix.py makes the table of docs/reliability.md from it. A record is written before it is judged, so that the
table shows a run that failed too.
"""
import datetime
import json
import os
import platform
import shlex
import sys

AT_LEAST_ONCE, EXACTLY_ONCE = "at-least-once", "exactly-once"
DELIVERIES = [AT_LEAST_ONCE, EXACTLY_ONCE]
FULL = os.environ.get("POSTHORN_FAULTS") == "full"
COUNTS = ("events", "lost", "phantom", "reordered", "duplicates")
# A lease that a killed relay leaves behind, and a backoff, short enough for many faults in a minute.
QUICK = {"lease": "500ms", "backoff_max": "500ms"}


def amount(full, smoke):
    """How many faults, events or seconds this run takes."""
    return full if FULL else smoke


def settings(delivery, **more):
    """The settings of a relay with that guarantee, for start_relay(settings=...); more comes last and wins."""
    chosen = {} if delivery == AT_LEAST_ONCE else {"delivery": delivery}
    return {**chosen, **QUICK, **more}


def counts_of(result):
    """The COUNTS of a ledger.Result, or of a dict that holds them already (what it lacks is 0)."""
    if isinstance(result, dict):
        unknown = set(result) - set(COUNTS)
        assert not unknown, f"not counted in the matrix: {sorted(unknown)}"
        return {name: result.get(name, 0) for name in COUNTS}
    return {"events": result.ok, "lost": len(result.lost), "phantom": len(result.phantom),
            "reordered": len(result.reordered), "duplicates": len(result.duplicated)}


def record(row, fault, delivery, *, faults, hits, result, note=""):
    """Prints what a test of the matrix saw, and appends it to POSTHORN_MATRIX. row is the row of correctness.md B; fault says in
    a few words what was done; faults were made and hits of them met the relay at work. result is a ledger.Result or a dict of
    COUNTS. The same row, fault and delivery again replaces the line in the table."""
    line = {"row": row, "fault": fault, "guarantee": delivery, "faults": faults, "hits": hits, **counts_of(result), "note": note}
    print("matrix: " + ", ".join(f"{name} {value}" for name, value in line.items() if value != ""))
    path = os.environ.get("POSTHORN_MATRIX")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps({**line, "amount": "full" if FULL else "smoke", "at": now(), "machine": machine(), "command": command()}) + "\n")


def judge(delivery, faults, hits, result, least=0.5):
    """Fails a run that is void, since too few of its faults hit (least: the share that must), or that broke its guarantee."""
    assert hits >= faults * least, f"void: only {hits} of {faults} faults hit"
    found = counts_of(result)
    broken = ("lost", "phantom", "reordered") + (("duplicates",) if delivery == EXACTLY_ONCE else ())
    assert found["events"] > 0, "void: no event was committed"
    assert not any(found[name] for name in broken), f"{delivery} was broken: {result}"


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def machine():
    with open("/proc/meminfo", encoding="ascii") as lines:
        kib = int(next(line for line in lines if line.startswith("MemTotal:")).split()[1])
    return {"cores": len(os.sched_getaffinity(0)), "memory_gib": round(kib / (1 << 20), 1), "kernel": platform.release()}


def command():
    chosen = "POSTHORN_FAULTS=full " if FULL else ""
    return chosen + shlex.join(["pytest", *sys.argv[1:]])
