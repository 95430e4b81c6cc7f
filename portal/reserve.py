"""The disk's reserve: how much stays free, and what is refused so that it does (design decision 10)."""

import os
from dataclasses import dataclass

from portal import runtime, site
from portal.errors import NoSpace

NEARLY_FULL = "The disk is nearly full, so nothing is taken in. Free some space; then send again."


@dataclass(frozen=True)
class Room:
    """Bytes that are free on the archive's disk, and how many of them stay so."""

    free: int
    floor: int

    @property
    def is_full(self) -> bool:
        """Nothing is taken in."""
        return self.free < self.floor


def floor() -> int:
    """The machine's own reserve (`PORTAL_MIN_FREE`), or what an admin keeps beyond it; true within a second."""
    return max(runtime.current().min_free, int(site.recent("disk.floor") * site.GIGABYTE))


def room() -> Room:
    disk = os.statvfs(runtime.current().archive)
    return Room(disk.f_bavail * disk.f_frsize, floor())


def check_disk() -> None:
    """As `check`, by the machine's own reserve alone: for threads that have no connection to the database."""
    disk = os.statvfs(runtime.current().archive)
    if disk.f_bavail * disk.f_frsize < runtime.current().min_free:
        raise NoSpace(NEARLY_FULL)


def check(size: int = 0) -> None:
    """Raise NoSpace where an object of this size would leave less free than the reserve."""
    now = room()
    if now.free - size < now.floor:
        raise NoSpace(NEARLY_FULL)
