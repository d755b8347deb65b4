"""The record of the fault matrix: what is written, what is judged void or broken, and the table made of it."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "test" / "integration"))

from ledger import Attempt, Ledger, check  # noqa: E402

import matrix  # noqa: E402

CLEAN = {"events": 10}


def results(*delivered):
    """What check() says of two committed events and that delivery."""
    ledger = Ledger()
    ledger.append([Attempt("a", "k", 1, "ok"), Attempt("b", "k", 2, "ok")])
    return check(ledger, delivered)


@pytest.mark.smoke
def test_a_record_becomes_a_line_of_the_table(tmp_path, monkeypatch):
    lines, page = tmp_path / "matrix.ndjson", tmp_path / "page.md"
    monkeypatch.setenv("POSTHORN_MATRIX", str(lines))
    matrix.record(14, "poison | too large", "at-least-once", faults=9, hits=8, result=CLEAN)
    matrix.record(4, "broker killed", "at-least-once", faults=5, hits=1, result=CLEAN, note="only one hit")
    matrix.record(4, "broker killed", "at-least-once", faults=1000, hits=900, result=results(("a", "k", 1), ("a", "k", 1)), note="of a node")
    page.write_text("before\n<!-- matrix -->\nold\n<!-- /matrix -->\nbehind\n")
    tool = [sys.executable, ROOT / "tools" / "matrix.py"]
    subprocess.run([*tool, "--into", page, lines], check=True)
    made = page.read_text().splitlines()
    assert [line for line in made if line.startswith("| 4") or line.startswith("| 14")] == [
        "| 4 | broker killed (1) | at-least-once | 1,000 | 900 | 2 | 1 | 0 | 0 | 1 |",
        "| 14 | poison \\| too large | at-least-once | 9 | 8 | 10 | 0 | 0 | 0 | 0 |"]
    assert (made[0], made[-1]) == ("before", "behind") and "(1) of a node" in made and "old" not in made
    assert "cores" in made[2] and "Linux" in made[2] and "pytest" in made[2]
    assert subprocess.run([*tool, lines], capture_output=True, text=True, check=True).stdout in page.read_text()


@pytest.mark.smoke
def test_a_void_or_broken_run_fails():
    both = [("a", "k", 1), ("b", "k", 2)]
    matrix.judge("exactly-once", 4, 2, results(*both))
    matrix.judge("at-least-once", 4, 4, results(*both, both[0]))
    with pytest.raises(AssertionError, match="void: only 1 of 4"):
        matrix.judge("at-least-once", 4, 1, results(*both))
    with pytest.raises(AssertionError, match="void: no event"):
        matrix.judge("at-least-once", 4, 4, {"events": 0})
    with pytest.raises(AssertionError, match="exactly-once was broken"):
        matrix.judge("exactly-once", 4, 4, results(*both, both[0]))
    with pytest.raises(AssertionError, match="at-least-once was broken"):
        matrix.judge("at-least-once", 4, 4, results(both[0]))


@pytest.mark.smoke
def test_settings_name_a_guarantee_only_where_it_is_not_the_default():
    assert "delivery" not in matrix.settings("at-least-once")
    assert matrix.settings("exactly-once", lease="2s") == {"delivery": "exactly-once", "lease": "2s", "backoff_max": "500ms"}
