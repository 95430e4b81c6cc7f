"""Purging records in place: marking them in their segment, and giving their blocks back to the disk."""

import ctypes
import errno
import os

from portal.archive import records

KEEP_SIZE, PUNCH_HOLE = 0x01, 0x02
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Hole:
    """A segment that is open for purging. Doing the same twice changes nothing."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def mark(self, offset: int, size: int) -> bool:
        """Mark the record whose content is `size` bytes from `offset`; False if there is no such record.

        One byte changes, so that after a power cut the record is either as before or marked.
        """
        start = offset - records.HEADER_SIZE
        header = os.pread(self._descriptor, records.HEADER_SIZE, start)
        purged = records.PURGED_MAGIC + records.header(size)[len(records.PURGED_MAGIC) :]
        if header not in (records.header(size), purged):
            return False
        os.pwrite(self._descriptor, records.PURGED_MAGIC, start)
        return True

    def erase(self, offset: int, size: int) -> bool:
        """Free the blocks of a marked record and blank its footer. Its length stays: it says where the next one begins.

        False if the file system cannot punch holes; then nothing was changed.
        """
        # The kernel zeroes the part of a block that is not wholly in the record.
        if size and _libc.fallocate(self._descriptor, KEEP_SIZE | PUNCH_HOLE, offset, size) != 0:
            number = ctypes.get_errno()
            if number in (errno.EOPNOTSUPP, errno.ENOSYS):
                return False
            raise OSError(number, os.strerror(number))

        start, length = records.footer_place(os.pread(self._descriptor, 4, offset + size), offset + size)
        os.pwrite(self._descriptor, b" " * length, start)
        return True
