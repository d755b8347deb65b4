"""`make install` puts every file where it belongs, below DESTDIR, and the program runs from there."""

import os
import subprocess
import shutil

import pytest

from conftest import missing
from proc import ROOT

FILES = """
    bin/posthorn
    etc/posthorn/posthorn.yaml
    lib/systemd/system/posthorn.service
    lib/sysusers.d/posthorn.conf
    share/bash-completion/completions/posthorn
    share/fish/vendor_completions.d/posthorn.fish
    share/man/man1/posthorn.1
    share/man/man5/posthorn.yaml.5
    share/zsh/site-functions/_posthorn
""".split()


def run(*argv, **kwargs):
    done = subprocess.run(list(map(str, argv)), text=True, capture_output=True, cwd=ROOT, timeout=170, **kwargs)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """What a build with the prefix /opt/relay installs, and the way to uninstall it."""
    if shutil.which("scdoc") is None:
        missing("no scdoc: run tools/deps.sh ci")
    folder = tmp_path_factory.mktemp("install")
    build, root = folder / "build", folder / "root"
    run("meson", "setup", build, ROOT, "--prefix=/opt/relay", "-Dtests=disabled")
    run("ninja", "-C", build)
    run("meson", "install", "-C", build, "--no-rebuild", env=os.environ | {"DESTDIR": str(root)})
    return root


def test_make_install_calls_meson():
    assert "meson install -C build" in run("make", "-n", "install")


def test_every_file_is_there(installed):
    top = installed / "opt" / "relay"
    assert [name for name in FILES if not (top / name).is_file()] == []
    assert [p for p in installed.iterdir() if p.name != "opt"] == []  # nothing beside the prefix


def test_the_program_runs_from_there(installed):
    assert run(installed / "opt/relay/bin/posthorn", "--version").startswith("posthorn ")


def test_the_prefix_is_in_the_files(installed):
    unit = (installed / "opt/relay/lib/systemd/system/posthorn.service").read_text()
    assert "\nExecStart=/opt/relay/bin/posthorn run -c /opt/relay/etc/posthorn/posthorn.yaml\n" in unit
    assert "/usr/bin/posthorn" not in unit and " /etc/posthorn" not in unit
    config = installed / "opt/relay/etc/posthorn/posthorn.yaml"
    assert config.stat().st_mode & 0o777 == 0o640


def test_the_configuration_names_no_pipeline(installed):
    """So that the service does not start, by the unit's ExecCondition."""
    unit = (installed / "opt/relay/lib/systemd/system/posthorn.service").read_text()
    condition = next(line for line in unit.splitlines() if line.startswith("ExecCondition="))
    pattern = condition.split('"')[1]
    config = installed / "opt/relay/etc/posthorn/posthorn.yaml"
    assert subprocess.run(["grep", "-q", pattern, config]).returncode == 1
    uncommented = "".join(line[2:] for line in config.read_text().splitlines(True) if line.startswith("# p"))
    assert subprocess.run(["grep", "-q", pattern], input=uncommented, text=True).returncode == 0


def test_ninja_uninstalls(installed):
    """The last one: nothing is left of the others' files."""
    run("ninja", "-C", installed.parent / "build", "uninstall")
    assert [p for p in installed.rglob("*") if not p.is_dir()] == []
