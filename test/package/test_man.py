"""posthorn(1): every command, option and key of --set is in it, and scdoc takes it."""

import shutil
import subprocess

import pytest

import tables
from command import posthorn
from conftest import missing


@pytest.fixture(scope="module")
def page():
    """The page as man would show it, blanks made one."""
    if shutil.which("scdoc") is None:
        missing("no scdoc: run tools/deps.sh ci")
    source = posthorn("help", "--man").stdout
    made = subprocess.run(["scdoc"], input=source, text=True, capture_output=True, timeout=20)
    assert made.returncode == 0, made.stderr
    shown = subprocess.run(["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=400n", "-rHY=0"], input=made.stdout, text=True,
                           capture_output=True, timeout=20)
    assert shown.returncode == 0 and shown.stderr == "", shown.stderr
    return shown.stdout.replace("\N{MINUS SIGN}", "-").replace("\N{HYPHEN}", "-")


def test_the_page_has_every_command_and_option(page):
    for command in tables.commands():
        part = page.split(f"\n   posthorn {command}\n")[1].split("\n   posthorn ")[0]
        assert f"posthorn {command}" in part, command
        for name, arg in tables.options(command).items():
            row = f"--{name} {arg}".rstrip()
            assert row in part or row in page.split("\nCOMMANDS\n")[0], row


def test_the_page_has_every_setting(page):
    keys = page.split("\nKEYS OF --set")[1]
    for key in tables.settings():
        assert f"\n       {key}" in keys, key


def test_the_page_has_every_exit_status(page):
    part = page.split("\nEXIT STATUS")[1]
    for status in ("0", "1", "64", "65", "69", "70", "71", "74", "78"):
        assert f"\n       {status}\n" in part, status
