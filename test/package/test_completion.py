"""Completion in the shells themselves: the scripts come from the tables, so every command and option is offered."""

import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest

import tables
from command import posthorn, tool
from conftest import missing


def shell(name):
    if shutil.which(name) is None:
        missing(f"no {name}: run tools/deps.sh ci")
    return name


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """SHELL -> the path of its script; the program is on PATH."""
    folder = tmp_path_factory.mktemp("completion")
    paths = {}
    for name, file in [("bash", "posthorn"), ("zsh", "_posthorn"), ("fish", "posthorn.fish")]:
        paths[name] = folder / name / file
        paths[name].parent.mkdir()
        paths[name].write_text(posthorn("completion", name).stdout)
    return paths


@pytest.fixture
def bash(scripts, tmp_path):
    """Completes a line in a real bash, as readline would call the function."""
    shell("bash")

    def complete(line):
        code = """source "$1"; COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=($2); COMP_CWORD=${#COMP_WORDS[@]}
                  spec=($(complete -p posthorn)); "${spec[2]}"; printf '%s\\n' "${COMPREPLY[@]}" """
        done = subprocess.run(["bash", "--norc", "-c", code, "bash", scripts["bash"], line], text=True, capture_output=True,
                              timeout=20, cwd=tmp_path)
        assert done.stderr == "", done.stderr
        return [word for word in done.stdout.splitlines() if word]

    return complete


@pytest.fixture
def fish(scripts, tmp_path):
    shell("fish")

    def complete(line):
        done = subprocess.run(["fish", "--no-config", "-c", f"source {scripts['fish']}; complete -C $argv[1]", line],
                              text=True, capture_output=True, timeout=20, cwd=tmp_path,
                              env=os.environ | {"HOME": str(tmp_path)})
        assert done.stderr == "", done.stderr
        return [word.split("\t")[0] for word in done.stdout.splitlines()]

    return complete


def test_scripts_are_well_formed(scripts):
    for name, path in scripts.items():
        done = subprocess.run([shell(name), "-n", path], text=True, capture_output=True, timeout=20)
        assert done.returncode == 0 and done.stderr == "", f"{name}: {done.stderr}"


def test_an_unknown_shell_is_wrong_use():
    assert "none of bash, zsh and fish" in posthorn("completion", "tcsh", status=64).stderr


def test_bash_offers_every_command_and_option(bash):
    assert set(bash("posthorn ")) == set(tables.commands())
    for command in tables.commands():
        offered = set(bash(f"posthorn {command} --"))
        assert {f"--{name}" for name in tables.options(command)} == offered - {"-h", "-c"}, command


def test_bash_offers_values(bash, tmp_path):
    (tmp_path / "events.ndjson").touch()
    (tmp_path / "shop.db").touch()
    assert bash("posthorn run --log-format ") == ["logfmt", "json"]
    assert bash("posthorn --log-format json ver") == ["verify"]
    assert bash("posthorn publish db --ndjson ev") == ["events.ndjson"]
    assert bash("posthorn publish db --payload @ev") == ["@events.ndjson"]
    assert bash("posthorn help ver") == ["verify"]
    assert bash("posthorn completion f") == ["fish"]
    assert "postgresql://" in bash("posthorn init ")
    assert bash("posthorn run --to kaf") == ["kafka://"]
    assert bash("posthorn run --to file:ev") == ["events.ndjson"]  # readline keeps what stands in front of ':'


def test_bash_offers_settings(bash):
    assert set(tables.settings()) == {key.rstrip("=") for key in bash("posthorn run --set ")}
    assert bash("posthorn run --from x --set route.env") == ["route.envelope="]
    assert bash("posthorn run --set route.envelope=") == ["none", "json"]  # likewise '='
    assert bash("posthorn run --set=route.envelope=j") == ["json"]


def test_fish_offers_every_command_and_option(fish):
    assert set(fish("posthorn ")) == set(tables.commands())
    for command in tables.commands():
        offered = {word for word in fish(f"posthorn {command} --") if word.startswith("--")}
        assert {f"--{name}" for name in tables.options(command)} == offered, command


def test_fish_offers_values(fish, tmp_path):
    (tmp_path / "events.ndjson").touch()
    assert fish("posthorn run --log-format ") == ["json", "logfmt"]
    assert fish("posthorn publish db --ndjson ev") == ["events.ndjson"]
    assert fish("posthorn publish db --payload @ev") == ["@events.ndjson"]
    assert fish("posthorn --log-format json ver") == ["verify"]
    assert "postgresql://" in fish("posthorn init ")
    assert fish("posthorn run --to file:ev") == ["file:events.ndjson"]
    assert fish("posthorn run --set route.envelope=") == ["route.envelope=", "route.envelope=json", "route.envelope=none"]
    assert set(tables.settings()) <= {key.rstrip("=") for key in fish("posthorn run --set ")}


class Zsh:
    """An interactive zsh on a terminal of its own."""

    def __init__(self, script, folder):
        argv = [shell("zsh"), "-f", "-i"]
        env = os.environ | {"TERM": "dumb", "HOME": str(folder), "PATH": f"{tool().binary.parent}:{os.environ['PATH']}"}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, env)
        self.said = ""
        self.type(f"unsetopt zle_bracketed_paste; PS1='ready> '; LISTMAX=10000; fpath=({script.parent} $fpath); "
                  "autoload -U compinit && compinit -u -D && print begun $((1 + 1))\n")
        self.wait(r"begun 2")

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait(self, pattern, timeout=20):
        end = time.monotonic() + timeout
        while not re.search(pattern, self.said):
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.said!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.said += os.read(self.fd, 65536).decode(errors="replace")
        return self.said

    def complete(self, line, pattern):
        """Types the line and a tab; what the terminal shows must come to match."""
        self.said = ""
        self.type(line + "\t")
        self.wait(pattern)
        self.type("\x15")  # the line is dropped

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


@pytest.fixture
def zsh(scripts, tmp_path):
    started = Zsh(scripts["zsh"], tmp_path)
    yield started
    started.close()


def test_zsh_completes(zsh, tmp_path):
    (tmp_path / "events.ndjson").touch()
    zsh.complete("posthorn veri", r"posthorn verify ")
    zsh.complete("posthorn run --fro", r"--from")
    zsh.complete("posthorn run --log-format j", r"--log-format json")
    zsh.complete("posthorn run --set route.env", r"--set route\.envelope=")
    zsh.complete("posthorn run --set route.envelope=j", r"route\.envelope=json")
    zsh.complete("posthorn publish db --ndjson ev", r"--ndjson events\.ndjson")
    zsh.complete("posthorn run --to kaf", r"--to kafka://")
    zsh.complete("posthorn help ver", r"help verify")


def test_zsh_knows_every_command_and_option(zsh, scripts):
    zsh.complete("posthorn \t", r"(?s)\A" + "".join(f"(?=.*{name} )" for name in tables.commands()))
    text = scripts["zsh"].read_text()
    for command in tables.commands():
        block = re.search(rf"^    {command}\) _arguments(.*?)\n        ;;", text, re.M | re.S)[1]
        for name, arg in tables.options(command).items():
            assert re.search(rf"'(\*|\(-\w --{name}\))?--{name}{'=' if arg else ''}\[", block), (command, name)
