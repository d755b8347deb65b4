"""packaging/Dockerfile, as far as it can be tested without Docker: packages, copied files, one list of needs."""

import re
import shutil
import subprocess

import pytest

from conftest import missing
from proc import ROOT

TEXT = re.sub(r"^#.*\n", "", (ROOT / "packaging" / "Dockerfile").read_text(), flags=re.M).replace("\\\n", " ")
BUILD, RUN = TEXT.split("FROM debian:12-slim\n")


def packages(stage):
    return re.search(r"--no-install-recommends(.*?)(&&|\n)", stage)[1].split()


def build_depends():
    control = (ROOT / "packaging" / "debian" / "control").read_text()
    field = re.search(r"^Build-Depends:(.*\n(?: .*\n)*)", control, re.M)[1]
    return {re.sub(r"\(.*?\)", "", word).strip() for word in field.split(",")}


def test_each_package_exists_in_debian_12():
    if shutil.which("apt-cache") is None or 'VERSION_ID="12"' not in (ROOT / "/etc/os-release").read_text():
        missing("no apt-cache of a Debian 12")
    for package in packages(BUILD) + packages(RUN):
        done = subprocess.run(["apt-cache", "show", "--no-all-versions", package], text=True, capture_output=True)
        assert f"Package: {package}\n" in done.stdout, package


def test_the_packages_are_those_of_the_debian_package():
    tools = {"debhelper-compat", "scdoc"}
    assert set(packages(BUILD)) - {"gcc", "libc6-dev"} == build_depends() - tools


def test_tools_deps_names_what_the_packages_need():
    line = re.search(r"^BUILD=\((.*?)\)", (ROOT / "tools" / "deps.sh").read_text(), re.M | re.S)[1]
    named = {word.split("=")[-1] for word in line.split()}
    assert set(packages(BUILD)) - named == set()


@pytest.mark.parametrize("stage", [BUILD, RUN], ids=["build", "run"])
def test_what_is_copied_exists(stage):
    for options, source in re.findall(r"^COPY (--\S+ )?(\S+) \S+$", stage, re.M):
        if not options:
            assert (ROOT / source).exists(), source


def test_it_does_not_run_as_root():
    assert re.search(r"^USER posthorn$", RUN, re.M)
    assert RUN.index("USER posthorn") < RUN.index("ENTRYPOINT")


def test_it_copies_what_the_build_installs():
    """The program is the only thing taken from the first stage, and meson installs it there."""
    assert re.findall(r"^COPY --from=build (\S+)", RUN, re.M) == ["/out/usr/bin/posthorn"]
    assert "DESTDIR=/out" in BUILD and "--prefix=/usr" in BUILD
