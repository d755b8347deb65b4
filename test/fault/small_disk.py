"""Small disks (tmpfs) that fill up, and servers that live on one. Mounting needs root; without it they raise NoMount."""
import atexit
import contextlib
import os
import subprocess

from servers import Kafka, Postgres

CHUNK_BYTES = 1 << 20


class NoMount(Exception):
    """This user may not mount a tmpfs."""


class SmallDisk:
    """A tmpfs of that many MiB at path, a folder that exists or is made. fill() leaves no byte free, free() gives all back."""

    def __init__(self, path, mib, user=None):
        path.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=0755", "tmpfs", path], text=True, capture_output=True)
        if done.returncode != 0:
            raise NoMount(f"a full disk needs the right to mount a tmpfs: {done.stderr.strip()}")
        self.path, self.filler = path, path / "filler"
        atexit.register(self.unmount)
        if user is not None:
            os.chown(path, user.pw_uid, user.pw_gid)

    def fill(self):
        """Takes what is left, and again what was given back meanwhile."""
        with open(self.filler, "ab", buffering=0) as file:
            for size in (CHUNK_BYTES, 4096, 1):
                with contextlib.suppress(OSError):  # the disk is full: what this is for
                    while True:
                        if file.write(bytes(size)) < size:
                            break

    def free(self):
        self.filler.unlink(missing_ok=True)

    def unmount(self):
        atexit.unregister(self.unmount)
        subprocess.run(["umount", "-l", self.path], capture_output=True, check=False)


class SmallPostgres(Postgres):
    """A server whose folder is on one small disk, and that has a tablespace on another, of 8 MiB (small_folder)."""

    disk = table_disk = None

    def __init__(self, mib, **options):
        self.mib = mib
        super().__init__(15, options={"wal_keep_size": 0, "min_wal_size": "32MB", "max_wal_size": "48MB", "wal_recycle": "off"} | options)

    def fill(self, fresh):
        self.disk = SmallDisk(self.folder / "disk", self.mib, self.user)
        self.table_disk = SmallDisk(self.folder / "tables", 8, self.user)
        self.data = self.folder / "disk" / "data"
        super().fill(fresh)

    @property
    def small_folder(self):
        """A folder on the second disk, made for CREATE TABLESPACE."""
        path = self.table_disk.path / "space"
        path.mkdir(exist_ok=True)
        os.chown(path, self.user.pw_uid if self.user else -1, self.user.pw_gid if self.user else -1)
        return path

    def close(self):
        self.stop()
        for disk in filter(None, (self.disk, self.table_disk)):
            disk.unmount()
        super().close()


class SmallKafka(Kafka):
    """A broker whose log lies on a small disk."""

    disk = None

    def __init__(self, mib, config=None):
        super().__init__(config={"log.segment.bytes": 4 << 20} | (config or {}))
        self.disk = SmallDisk(self.folder / "data", mib, self.user)

    def close(self):
        self.stop()
        if self.disk:
            self.disk.unmount()
        super().close()
