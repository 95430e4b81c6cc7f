"""Taking bytes out of a segment: a record is marked as purged, and the disk gets its blocks back."""

import ctypes
import errno
import os

from portal.archive import records

KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Hole:
    """A segment that is open for it. What it does a second time changes nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def mark(self, offset: int, size: int) -> bool:
        """Mark the record whose content is `size` bytes from `offset`; False where no such record is there.

        One byte is written, so that a power cut leaves the record as it was or marked.
        """
        start = offset - records.HEADER_SIZE
        found = os.pread(self._descriptor, records.HEADER_SIZE, start)
        purged = records.PURGED_MAGIC + records.header(size)[len(records.PURGED_MAGIC) :]
        if found not in (records.header(size), purged):
            return False
        os.pwrite(self._descriptor, records.PURGED_MAGIC, start)
        return True

    def erase(self, offset: int, size: int) -> bool:
        """Give the blocks of a marked record back, and blank its footer; its length stays, for what comes behind it.

        False where the file system makes no holes; then nothing was changed.
        """
        if size and not self._punch(offset, size):
            return False
        start, length = records.footer_place(os.pread(self._descriptor, 4, offset + size), offset + size)
        os.pwrite(self._descriptor, b" " * length, start)
        return True

    def _punch(self, offset: int, size: int) -> bool:
        """Of blocks that are not wholly in it the kernel zeroes the part that is."""
        if _libc.fallocate(self._descriptor, KEEP_SIZE | PUNCH_HOLE, offset, size) == 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise OSError(number, os.strerror(number))
