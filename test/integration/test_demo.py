"""posthorn demo as a newcomer sees it: the summary, what lies in the files, a folder that is not ours, Ctrl-C, a terminal."""
import os
import pty
import re
import signal
import sqlite3
import subprocess
import time

import pytest

from command import posthorn as command, start, tool
from ledger import read_ndjson
from servers import check_sanitizer

PROOF = "missing 0, duplicated 0, out of order 0"


def figure(text, label):
    found = re.search(rf"{label}\s+(\d+)", text)
    assert found, f"no {label!r} in:\n{text}"
    return int(found[1])


def test_what_it_reports_is_what_lies_in_the_files(tmp_path):
    said = command("demo", "--seconds", "2", "--dir", tmp_path / "demo").stdout
    assert PROOF in said and "\r" not in said
    committed, back = figure(said, "orders committed"), figure(said, "orders rolled back")
    delivered = figure(said, "events delivered")
    assert committed > 100 and back > 5 and delivered == 2 * committed
    events = read_ndjson(tmp_path / "demo" / "events.ndjson")
    with sqlite3.connect(tmp_path / "demo" / "shop.db") as shop:
        log = shop.execute("SELECT event_id, event_type, aggregate_id FROM posthorn_outbox ORDER BY position").fetchall()
        orders = dict(shop.execute("SELECT 'order-' || id, status FROM orders"))
    assert [(e["id"], e["type"], e["aggregateId"]) for e in events] == log and len(log) == delivered
    # each change is in the file as its two events, one behind the other, and no change that was rolled back
    pairs = [(a["type"], b["type"]) for a, b in zip(events[::2], events[1::2])]
    assert set(pairs) == {("OrderPlaced", "CustomerNotification"), ("OrderConfirmed", "FulfillmentTriggered"),
                          ("OrderCancelled", "RefundTriggered")}
    last = {e["aggregateId"]: e["type"] for e in events[::2]}
    became = {"OrderPlaced": "placed", "OrderConfirmed": "confirmed", "OrderCancelled": "cancelled"}
    assert {key: became[kind] for key, kind in last.items()} == orders


def test_plain_lines_say_how_it_goes(tmp_path):
    said = command("demo", "--seconds", "3", "--dir", tmp_path / "demo").stdout
    lines = re.findall(r"^  published +(\d+)   delivered +(\d+)   lag +\d+ +\d+ events/s$", said, re.M)
    assert len(lines) >= 3
    assert lines[-1][0] == lines[-1][1], "the last line is that of a relay which has caught up"
    for name in ("shop.db", "events.ndjson", "relay.log", "posthorn init", "kafka://", "posthorn.publish"):
        assert name in said
    assert "starting: posthorn" in (tmp_path / "demo" / "relay.log").read_text()


def test_a_folder_of_its_own_is_used_again(tmp_path):
    for _ in range(2):
        said = command("demo", "--seconds", "1", "--dir", tmp_path / "demo").stdout
        assert PROOF in said


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "shop.db").write_text("not yours")
    done = command("demo", "--seconds", "1", "--dir", tmp_path, status=64)
    assert "--dir" in done.stderr and str(tmp_path) in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["shop.db"] and (tmp_path / "shop.db").read_text() == "not yours"


@pytest.mark.parametrize("words, status", [(["--seconds", "0"], 64), (["--seconds", "ten"], 64), (["--seconds", "99999999999"], 64),
                                           (["--dir", "/proc/nowhere/demo"], 74), (["--dir", "/dev/null"], 74),
                                           (["--dir", "x" * 3000], 64)])
def test_nonsense(words, status, tmp_path):
    done = command("demo", *words, status=status, cwd=tmp_path)
    assert done.stderr.startswith("posthorn: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_it_with_its_summary(tmp_path):
    child = start("demo", "--seconds", "600", "--dir", str(tmp_path / "demo"))
    events = tmp_path / "demo" / "events.ndjson"
    end = time.monotonic() + 30
    while not (events.exists() and events.stat().st_size > 1000):
        assert time.monotonic() < end and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    said, complaints = child.communicate(timeout=60)
    check_sanitizer(complaints)
    assert child.returncode == 0 and PROOF in said, said + complaints


def test_a_terminal_gets_one_live_line(tmp_path):
    ours, theirs = pty.openpty()
    child = subprocess.Popen([str(tool().binary), "demo", "--seconds", "2", "--dir", str(tmp_path / "demo")],
                             stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE, env=tool().env)
    os.close(theirs)
    said = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # what a pty gives at its end
            break
        if not data:
            break
        said += data
    os.close(ours)
    assert child.wait(60) == 0, child.stderr.read()
    child.stderr.close()
    live = [line for line in said.decode().split("\n") if "published" in line]
    assert len(live) == 1 and live[0].count("\r") >= 5
    assert PROOF in said.decode()
