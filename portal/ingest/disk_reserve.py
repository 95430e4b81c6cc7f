"""The reserve of each disk that the site writes to: what stays free, and what is refused so (design decision 10)."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from portal import runtime, site_settings
from portal.archive import ballast
from portal.errors import NoSpace
from portal.quantities import size as in_words

RESERVE_DIVISOR = 20
"""The reserve of a disk without the archive is at most this part of it."""
USED_BY_INGEST = frozenset({"archive", "database"})
"""What an object that comes in is written to."""

FULL = "The disk is full, so nothing is taken in. Free some space; then send again."
NEARLY_FULL = "The disk is nearly full, so nothing is taken in. Free some space; then send again."


@dataclass(frozen=True)
class FreeSpace:
    """Bytes that are free on a disk, and how many of them stay so."""

    free: int
    floor: int

    @property
    def is_full(self) -> bool:
        """Nothing is taken in."""
        return self.free < self.floor


@dataclass(frozen=True, kw_only=True)
class Disk:
    """One disk that the site writes to, and what of the site lies on it."""

    holds: tuple[str, ...]
    path: Path
    total: int
    room: FreeSpace

    @property
    def problem(self) -> str:
        """What is wrong with it, and what to do; empty where nothing is."""
        if not self.room.is_full:
            return ""
        what = "nothing is taken in" if USED_BY_INGEST & set(self.holds) else "what is written there may fail"
        return (
            f"The disk of {_and(self.holds)} ({self.path}) has {in_words(self.room.free)} free, less than the"
            f" {in_words(self.room.floor)} of its reserve: {what}. Free some space."
        )

    def view(self) -> dict[str, Any]:
        """The disk as `--json` shows it."""
        told = {"holds": list(self.holds), "path": str(self.path), "total": self.total, "problem": self.problem}
        return {**told, "free": self.room.free, "reserve": self.room.floor}


def minimum_free() -> int:
    """The machine's own reserve (`PORTAL_MIN_FREE`), or what an admin keeps beyond it; true within a second."""
    return max(runtime.current().min_free, int(site_settings.get_cached("disk.floor") * site_settings.GIGABYTE))


def archive_space() -> FreeSpace:
    """That of the archive's disk."""
    return _room(runtime.current().archive, minimum_free())


def disks() -> list[Disk]:
    """Each disk once, that of the archive first."""
    found: dict[int, tuple[Path, list[str]]] = {}
    for name, path in _places():
        if path.exists():
            found.setdefault(path.stat().st_dev, (path, []))[1].append(name)
    return [_disk(path, tuple(names)) for path, names in found.values()]


def ballast_warning() -> str:
    """In a sentence, that a disk was full and some of the ballast had to be given up; empty where all of it is there.

    A full disk of the database has room again with each piece, so that its free bytes alone would not tell.
    """
    here = ballast.state(runtime.current())
    if not here.is_given_up:
        return ""
    return f"The disk is full, and {in_words(here.left)} are left of the ballast that keeps the site usable."


def check_without_database() -> None:
    """As `check`, by the machine's own reserve alone: for threads that have no connection to the database."""
    if ballast_warning():
        raise NoSpace(FULL)
    if _room(runtime.current().archive, runtime.current().min_free).is_full:
        raise NoSpace(NEARLY_FULL)


def check(size: int = 0) -> None:
    """Raise NoSpace where an object of this size would leave less free than the reserve.

    Nor is anything taken in while some of the ballast is given up: its room is for who frees space.
    """
    if ballast_warning():
        raise NoSpace(FULL)
    now = archive_space()
    if now.free - size < now.floor:
        raise NoSpace(NEARLY_FULL)
    data = runtime.current().data
    if not _on_one_disk(data, runtime.current().archive) and _disk(data, ("database",)).room.is_full:
        raise NoSpace("The database's disk is nearly full: nothing is taken in. Free some space; then send again.")


@lru_cache(maxsize=4)
def _on_one_disk(data: Path, archive: Path) -> bool:
    """Whether database and archive share their disk; what is mounted where stays as it was at the first look."""
    return data.stat().st_dev == archive.stat().st_dev


def _places() -> Iterator[tuple[str, Path]]:
    chosen = runtime.current()
    yield "archive", chosen.archive
    yield "database", chosen.data
    yield "logs", chosen.data / "logs"
    yield "run", chosen.run
    yield "cache", chosen.data / "cache"


def _disk(path: Path, holds: tuple[str, ...]) -> Disk:
    disk = os.statvfs(path)
    total = disk.f_blocks * disk.f_frsize
    kept = minimum_free() if "archive" in holds else min(minimum_free(), total // RESERVE_DIVISOR)
    return Disk(holds=holds, path=path, total=total, room=FreeSpace(disk.f_bavail * disk.f_frsize, kept))


def _room(path: Path, kept: int) -> FreeSpace:
    disk = os.statvfs(path)
    return FreeSpace(disk.f_bavail * disk.f_frsize, kept)


def _and(words: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
