"""The ballast: a file that occupies disk space while there is some, and is given up in pieces when the disk is full.

Another program may fill the disk to the last byte. The writes that are still needed then (a sign-in, the trash, the
audit) find room in the pieces that the ballast gives up; see docs/decisions/0074.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal.settings import Settings

log = logging.getLogger(__name__)

MEGABYTE = 1 << 20
FULL_SIZE = 64 * MEGABYTE
DISK_SHARE = 8
"""On a small disk the ballast takes at most this part of it."""
PIECE_SIZE = 8 * MEGABYTE
"""Bytes released at a time: the program that fills the disk can take no more than this each time."""
LOW_SPACE = 4 * MEGABYTE
"""With fewer bytes free than this, a write may find no room."""
REFILL_FACTOR = 4
"""The missing part of the ballast is made again once this many times as much is free."""


@dataclass(frozen=True, kw_only=True)
class Ballast:
    """Bytes of the ballast that are left, and how many it has when it is whole."""

    left: int
    whole: int
    was_made: bool

    @property
    def is_given_up(self) -> bool:
        """Whether some of it had to be given up. Without a ballast, the disk's own figures say how full it is."""
        return self.was_made and self.left < self.whole


def state(chosen: Settings) -> Ballast:
    try:
        left = os.stat(chosen.ballast).st_size
    except FileNotFoundError:
        return Ballast(left=0, whole=_whole(chosen), was_made=False)
    if left == FULL_SIZE:
        return Ballast(left=left, whole=left, was_made=True)  # no statvfs: this is asked for each incoming object
    return Ballast(left=left, whole=_whole(chosen), was_made=True)


def refill(chosen: Settings) -> None:
    """Make the ballast whole where the disk has room to spare. A failure is ignored: the next call tries again."""
    now = state(chosen)
    if now.left < now.whole and _free(chosen) >= REFILL_FACTOR * (now.whole - now.left):
        with contextlib.suppress(OSError), _locked(chosen, os.O_RDWR | os.O_CREAT) as descriptor:
            left = os.fstat(descriptor).st_size
            try:
                os.posix_fallocate(descriptor, 0, now.whole)
            except OSError:
                os.ftruncate(descriptor, left)


def give_up_piece(chosen: Settings) -> None:
    """Give up a piece of the ballast if the database's disk has hardly any room left; called before each write."""
    with contextlib.suppress(OSError):
        if _free(chosen) >= LOW_SPACE:
            return
        with _locked(chosen, os.O_RDWR) as descriptor:
            left = os.fstat(descriptor).st_size
            # Another process may have given up a piece while this one waited for the lock.
            if left and _free(chosen) < LOW_SPACE:
                remaining = max(0, left - PIECE_SIZE)
                os.ftruncate(descriptor, remaining)
                os.fsync(descriptor)  # some file systems free the blocks only with their next commit
                log.info("the disk is full: a piece of the ballast was given up, %d bytes are left", remaining)


def _whole(chosen: Settings) -> int:
    disk = os.statvfs(chosen.data)
    return min(FULL_SIZE, disk.f_blocks * disk.f_frsize // DISK_SHARE // MEGABYTE * MEGABYTE)


def _free(chosen: Settings) -> int:
    disk = os.statvfs(chosen.data)
    return disk.f_bavail * disk.f_frsize


@contextmanager
def _locked(chosen: Settings, flags: int) -> Iterator[int]:
    descriptor = os.open(chosen.ballast, flags | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
