"""The reserve of each disk that the site writes to: below it, uploads and C-STORE are refused (docs/decisions/0087)."""

import os
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from portal import runtime, site_settings
from portal.archive import ballast
from portal.errors import NoSpace
from portal.quantities import size as in_words
from portal.settings import Settings

RESERVE_DIVISOR = 20
"""The reserve of a disk without the archive is at most its size divided by this."""
USED_BY_INGEST = frozenset({"archive", "database"})
"""The folders that an arriving object is written to."""

AMPLE_BYTES, AMPLE_SECONDS = 8 << 30, 0.25
"""With so much more free than the reserve, a disk is not looked at again for this long: it takes in less by then."""
_ample: list[tuple[Settings, int, float]] = []
"""The settings and the reserve for which the disk had that much free, and until when that counts."""

FULL = "The disk is full: uploads and C-STORE are refused. Free some space; then send again."
NEARLY_FULL = "The disk is nearly full: uploads and C-STORE are refused. Free some space; then send again."


@dataclass(frozen=True)
class FreeSpace:
    """Free bytes of a disk, and its reserve."""

    free: int
    floor: int

    @property
    def is_full(self) -> bool:
        """Whether less is free than the reserve."""
        return self.free < self.floor


@dataclass(frozen=True, kw_only=True)
class Disk:
    """One disk that the site writes to, and which of its folders are on it."""

    holds: tuple[str, ...]
    path: Path
    total: int
    room: FreeSpace

    @property
    def problem(self) -> str:
        """What is wrong, and what to do; empty where nothing is wrong."""
        if not self.room.is_full:
            return ""
        what = "uploads and C-STORE are refused" if USED_BY_INGEST & set(self.holds) else "writes to it may fail"
        folders = " and ".join(filter(None, [", ".join(self.holds[:-1]), self.holds[-1]]))
        return (
            f"The disk of {folders} ({self.path}) has {in_words(self.room.free)} free, less than the"
            f" {in_words(self.room.floor)} of its reserve: {what}. Free some space."
        )

    def view(self) -> dict[str, Any]:
        """The disk as `--json` shows it."""
        view = {"holds": list(self.holds), "path": str(self.path), "total": self.total, "problem": self.problem}
        return {**view, "free": self.room.free, "reserve": self.room.floor}


def minimum_free() -> int:
    """The machine's own reserve in bytes (`PORTAL_MIN_FREE`), or the larger one of an admin; at most a second old."""
    return max(runtime.current().min_free, int(site_settings.get_cached("disk.floor") * site_settings.GIGABYTE))


def archive_space() -> FreeSpace:
    """The free space of the archive's disk."""
    return _free_space(runtime.current().archive, minimum_free())


def disks() -> list[Disk]:
    """Each disk once, that of the archive first."""
    current = runtime.current()
    folders = {
        "archive": current.archive,
        "database": current.data,
        "logs": current.data / "logs",
        "run": current.run,
        "cache": current.data / "cache",
    }
    by_device: dict[int, tuple[Path, list[str]]] = {}
    for name, path in folders.items():
        if path.exists():
            by_device.setdefault(path.stat().st_dev, (path, []))[1].append(name)
    return [_disk(path, tuple(names)) for path, names in by_device.values()]


def ballast_warning() -> str:
    """A sentence that some of the ballast had to be released since a disk was full; empty where all of it is there.

    Each piece that is released frees space on the full disk, so the free bytes alone do not show that it was full.
    """
    state = ballast.state(runtime.current())
    if not state.is_given_up:
        return ""
    return f"The disk is full, and {in_words(state.left)} are left of the ballast that keeps the site usable."


def check_without_database() -> None:
    """As `check`, by the machine's own reserve alone: for threads without a connection to the database."""
    if ballast_warning():
        raise NoSpace(FULL)
    if _free_space(runtime.current().archive, runtime.current().min_free).is_full:
        raise NoSpace(NEARLY_FULL)


def check(size: int = 0) -> None:
    """Raise NoSpace if an object of this size would leave less free than the reserve, or the ballast is incomplete.

    A disk that has had much more free a moment ago is not looked at again.
    """
    for current, reserve, until in _ample:
        if current is runtime.current() and reserve == minimum_free() and time.monotonic() < until:
            return
    # The space of the ballast is for admins who free some; ingest must not use it up.
    if ballast_warning():
        raise NoSpace(FULL)
    space = archive_space()
    if space.free - size < space.floor:
        raise NoSpace(NEARLY_FULL)
    data = runtime.current().data
    if not _on_one_disk(data, runtime.current().archive) and _disk(data, ("database",)).room.is_full:
        raise NoSpace(
            "The database's disk is nearly full: uploads and C-STORE are refused. Free some space; then send again."
        )
    is_ample = _on_one_disk(data, runtime.current().archive) and space.free - space.floor > AMPLE_BYTES
    _ample[:] = [(runtime.current(), space.floor, time.monotonic() + AMPLE_SECONDS)] if is_ample else []


@lru_cache(maxsize=4)
def _on_one_disk(data: Path, archive: Path) -> bool:
    """Whether database and archive are on one disk; mounts are looked at once."""
    return data.stat().st_dev == archive.stat().st_dev


def _disk(path: Path, holds: tuple[str, ...]) -> Disk:
    disk = os.statvfs(path)
    total = disk.f_blocks * disk.f_frsize
    reserve = minimum_free() if "archive" in holds else min(minimum_free(), total // RESERVE_DIVISOR)
    return Disk(holds=holds, path=path, total=total, room=FreeSpace(disk.f_bavail * disk.f_frsize, reserve))


def _free_space(path: Path, reserve: int) -> FreeSpace:
    disk = os.statvfs(path)
    return FreeSpace(disk.f_bavail * disk.f_frsize, reserve)
