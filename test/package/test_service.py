"""The unit: what systemd says of it, and what it must leave open."""

import re
import shutil
import subprocess

import pytest

from conftest import missing
from proc import ROOT

UNIT = ROOT / "packaging" / "posthorn.service"
EXPOSURE_MAX = 1.5


def words():
    """KEY -> its values, as the unit has them."""
    found = {}
    for line in UNIT.read_text().splitlines():
        if match := re.match(r"([A-Za-z]+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


@pytest.fixture
def systemd_analyze():
    if shutil.which("systemd-analyze") is None:
        missing("no systemd-analyze: run tools/deps.sh ci")
    return "systemd-analyze"


def test_the_unit_is_hardened(systemd_analyze):
    done = subprocess.run([systemd_analyze, "security", "--no-pager", "--offline=true", UNIT],
                          text=True, capture_output=True, timeout=60)
    figure = re.search(r"Overall exposure level for posthorn.service: ([0-9.]+)", done.stdout)
    assert figure, done.stdout + done.stderr
    assert float(figure[1]) <= EXPOSURE_MAX, done.stdout


def test_the_unit_is_understood(systemd_analyze):
    done = subprocess.run([systemd_analyze, "verify", "--man=no", UNIT], text=True, capture_output=True, timeout=60)
    said = [line for line in done.stderr.splitlines()
            if "posthorn.service" in line and "is not executable" not in line]
    assert said == []


def test_the_unit_can_reach_what_it_needs():
    unit = words()
    assert set(unit["RestrictAddressFamilies"][0].split()) == {"AF_UNIX", "AF_INET", "AF_INET6"}
    assert unit["StateDirectory"] == ["posthorn"]
    assert "PrivateNetwork" not in unit and "IPAddressDeny" not in unit


def test_the_unit_tells_and_restarts():
    unit = words()
    assert unit["Type"] == ["notify"] and "WatchdogSec" in unit
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["Restart"] == ["on-failure"] and unit["RestartPreventExitStatus"] == ["64 78"]
