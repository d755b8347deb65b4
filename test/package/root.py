"""A clean Debian 12 in a folder: what the tests of the packages install into. For root only."""

import os
import subprocess

from posthorn import check_sanitizer
from proc import ROOT, ServerMissing, remove, temp_folder

# What apt, dpkg and ldconfig keep for themselves: in front of their own changes, no package's.
OWN = ("var/lib/apt/", "var/lib/dpkg/", "var/cache/", "var/log/", "etc/ld.so.cache", "etc/passwd-", "etc/group-",
       "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-", "run/adduser", "tmp/")


class CleanRoot:
    """Made from the tar file of tools/clean_root.sh; close() removes it."""

    def __init__(self):
        if os.geteuid() != 0:
            raise ServerMissing("a clean root needs chroot: only root may do that")
        made = subprocess.run([ROOT / "tools" / "clean_root.sh"], text=True, capture_output=True, timeout=600)
        if made.returncode != 0:
            raise ServerMissing(made.stderr.strip())
        self.path = temp_folder("root")
        subprocess.run(["tar", "-C", self.path, "--numeric-owner", "-xf", made.stdout.strip()], check=True, timeout=120)

    def argv(self, *words, user=None):
        """The command line that runs words inside, as root or as a user of the inside."""
        return ["chroot", *([f"--userspec={user}:{user}"] if user else []), str(self.path), *map(str, words)]

    def run(self, *words, user=None, status=0, **kwargs):
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        done = subprocess.run(self.argv(*words, user=user), text=True, capture_output=True, timeout=120, env=env,
                              stdin=subprocess.DEVNULL, **kwargs)
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}{done.stderr}"
        check_sanitizer(done.stderr)
        return done.stdout

    def install(self, *packages):
        """Installs .deb files of the outside with what they depend on; says what apt said."""
        for package in packages:
            (self.path / "tmp" / package.name).write_bytes(package.read_bytes())
        said = self.run("apt-get", "install", "-y", "--no-install-recommends", *(f"/tmp/{p.name}" for p in packages))
        for package in packages:
            (self.path / "tmp" / package.name).unlink()
        return said

    def purge(self, *names):
        return self.run("apt-get", "purge", "-y", "--autoremove", *names)

    def paths(self):
        """Every path inside, but for what package management keeps for itself."""
        found = set()
        for folder, folders, names in os.walk(self.path):
            inner = os.path.relpath(folder, self.path) + "/"
            found |= {os.path.normpath(inner + name) for name in folders + names}
        return {path for path in found if not path.startswith(OWN)}

    def text(self, path):
        return (self.path / path.lstrip("/")).read_text()

    def close(self):
        remove(self.path)
