"""Files that are written, made durable and read back before they have their name: nobody ever sees half of one."""

import contextlib
import ctypes
import errno
import hashlib
import os
import re
import secrets

from portal.errors import Busy, Damaged
from portal.storage_drivers.destination import READ_BACK_DIFFERS, SOURCE_DAMAGED
from portal.storage_drivers.filesystem import open_folder
from portal.storage_drivers.store import CHUNK_SIZE, MIB, Content, ReadBackDiffers

_PREFIX, _SUFFIX = ".portico-", ".part"
_UNNAMED_FLAGS = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NAMED_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNNAMED_UNSUPPORTED = errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT
"""The errors of a file system that has no files without names (open(2))."""
_LARGE_FILE = 8 * MIB
"""Bytes from which the disk begins to write while the rest is still coming; else all waits for the end."""
_SYNCFS_TYPES = {"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"}
"""File systems of which syncfs(2) is known to do for all files what fsync(2) does for one."""
_libc = ctypes.CDLL(None, use_errno=True)


def is_temporary(name: str) -> bool:
    return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def temporary_name(name: str) -> str:
    """The name under which an object is written where the file system has no files without one."""
    return f"{_PREFIX}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_SUFFIX}"


def syncs_whole_file_system(file_system_type: str, release: str) -> bool:
    """Whether `sync_file_system` may replace an fsync of each file; before Linux 5.8 it did not report errors."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return file_system_type in _SYNCFS_TYPES and version is not None and (int(version[1]), int(version[2])) >= (5, 8)


def sync_file_system(folder: int) -> None:
    """Write all of the folder's file system to the disk (syncfs(2), which Python does not have)."""
    if _libc.syncfs(folder):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


class TemporaryFile:
    """A new file of an object; raises OSError besides what its methods say."""

    def __init__(self, name: str, content: Content) -> None:
        """Raises BadValue for a name that could lead out of the folder."""
        *self.folders, self.name = open_folder.split_name(name)
        self.content = content
        self.folder = self._file = -1
        self._other_name = ""
        """The name under which it is written, where the file system has no files without one."""

    def begin(self, folder: int, *, unnamed: bool) -> None:
        """Open it in its folder, without a name where `unnamed` and the file system allow. Raises Busy where another
        run is writing it."""
        self.folder = folder
        if unnamed:
            try:
                self._file = os.open(".", _UNNAMED_FLAGS, 0o600, dir_fd=folder)
                return
            except OSError as error:
                if error.errno not in _UNNAMED_UNSUPPORTED:
                    raise

        other_name = temporary_name(self.name)
        try:
            self._file = os.open(other_name, _NAMED_FLAGS, 0o600, dir_fd=folder)
        except FileExistsError:
            remove(other_name, folder)  # of a writer that was killed
            try:
                self._file = os.open(other_name, _NAMED_FLAGS, 0o600, dir_fd=folder)
            except FileExistsError as error:
                raise Busy("Another run is writing this object at the same moment.") from error
        self._other_name = other_name

    def write(self) -> None:
        """Raises Damaged where the content is not as long as announced; what its chunks raise."""
        size, offset, flushed = self.content.size, 0, 0
        for chunk in self.content.chunks():
            if offset + len(chunk) > size:
                raise Damaged(SOURCE_DAMAGED)
            left = memoryview(chunk)
            while left:
                written = os.pwrite(self._file, left, offset)
                left, offset = left[written:], offset + written
            if size > _LARGE_FILE and offset - flushed >= MIB:
                os.posix_fadvise(self._file, flushed, offset - flushed, os.POSIX_FADV_DONTNEED)
                flushed = offset
        if offset != size:
            raise Damaged(SOURCE_DAMAGED)

    def sync(self) -> None:
        os.fsync(self._file)

    def compare(self) -> None:
        """Raises ReadBackDiffers where the file has not the content that was announced."""
        size, running, offset = self.content.size, hashlib.sha256(), 0
        while offset < size and (chunk := os.pread(self._file, min(CHUNK_SIZE, size - offset), offset)):
            self.content.on_read(len(chunk))
            running.update(chunk)
            offset += len(chunk)
        if offset != size or running.hexdigest() != self.content.digest:
            raise ReadBackDiffers(READ_BACK_DIFFERS)

    def appear(self, *, overwrite: bool) -> None:
        """Give the file its name: by a link, which fails where that exists, or in place of what is there.

        What is linked is the open file, not its other name: a second writer of the same object can remove that, but
        never put its own half-written file in its place.
        """
        source = f"/proc/self/fd/{self._file}"
        if not overwrite:
            os.link(source, self.name, dst_dir_fd=self.folder, follow_symlinks=True)
            return
        own = f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
        os.link(source, own, dst_dir_fd=self.folder, follow_symlinks=True)
        try:
            os.rename(own, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        finally:
            remove(own, self.folder)

    def close(self) -> None:
        """A file without a name is gone after this."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._other_name:
                remove(self._other_name, self.folder)
