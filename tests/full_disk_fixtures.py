"""A small disk of its own, in a mount namespace that a test holds, for a real `portal up` and another program."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IS_ROOT = os.geteuid() == 0
OWN = [shutil.which("unshare") or "unshare", *(() if IS_ROOT else ("--user", "--map-root-user")), "--mount"]
"""A mount namespace of its own, which takes no privileges."""
MEGABYTE = 1 << 20


@dataclass(frozen=True)
class SmallDisk:
    """Mounted at `folder` for the processes that run `within` it; this process sees it below `/proc`."""

    folder: Path
    holder: subprocess.Popen[str]

    @property
    def within(self) -> list[str]:
        """What to put before a command that is to see the disk."""
        kept = () if IS_ROOT else ("--user", "--preserve-credentials")
        return [shutil.which("nsenter") or "nsenter", "--target", str(self.holder.pid), "--mount", *kept]

    @property
    def seen(self) -> Path:
        """The folder, as this process reaches it."""
        return Path(f"/proc/{self.holder.pid}/root{self.folder}")

    @property
    def free(self) -> int:
        disk = os.statvfs(self.seen)
        return disk.f_bavail * disk.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """As another program does: to the last byte, or until so many are left."""
        with (self.seen / "lost+found").open("ab", buffering=0) as other:
            for size in (MEGABYTE, 4096, 1):
                try:
                    while True:
                        other.write(b"\0" * size)
                except OSError:
                    continue
            other.truncate(other.tell() - leave)

    def number(self, query: str) -> int:
        """What a query of the site's database counts. SQLite looks for the file by its real path, so in there."""
        script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])"
        command = [*self.within, sys.executable, "-c", script, str(self.folder / "portal.db"), query]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def empty(self) -> None:
        """The other program's file is gone."""
        (self.seen / "lost+found").unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    folder.mkdir(parents=True)
    script = 'mount -t tmpfs -o "size=$1" disk "$2" && echo mounted && exec cat'
    command = [*OWN, "sh", "-c", script, "sh", f"{megabytes}m", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "mounted\n"
        yield SmallDisk(folder, holder)
        holder.stdin.close()
