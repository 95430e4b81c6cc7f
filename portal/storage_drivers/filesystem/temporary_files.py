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

_NAMES = ".portico-", ".part"
_UNNAMED = os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC
_NAMED = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_UNNAMED = errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT
"""What a file system answers that has no files without names (open(2))."""
_LARGE = 8 * MIB
"""Bytes of a larger file that the disk begins to write while the rest still comes; else all waits for the end."""
_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"}
"""File systems of which syncfs(2) is known to do for all files what fsync(2) does for one."""
_libc = ctypes.CDLL(None, use_errno=True)


def is_temporary(name: str) -> bool:
    return name.startswith(_NAMES[0]) and name.endswith(_NAMES[1])


def temporary_name(name: str) -> str:
    """Under which name an object is written where the file system has no files without one."""
    return f"{_NAMES[0]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_NAMES[1]}"


def syncs_whole_file_system(kind: str, release: str) -> bool:
    """Whether `sync` may stand for an fsync of each file; before Linux 5.8 it kept what went wrong to itself."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return kind in _LOCAL and version is not None and (int(version[1]), int(version[2])) >= (5, 8)


def sync_file_system(folder: int) -> None:
    """Have all of the folder's file system on the disk (syncfs(2), which Python does not have)."""
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
        self._partial = ""
        """Its other name, where it cannot be without one."""

    def begin(self, folder: int, *, unnamed: bool) -> None:
        """Open it, in its folder; `unnamed` where the file system can that. Raises Busy where another writes it."""
        self.folder = folder
        if unnamed:
            try:
                self._file = os.open(".", _UNNAMED, 0o600, dir_fd=folder)
                return
            except OSError as error:
                if error.errno not in _NO_UNNAMED:
                    raise
        self._begin_named()

    def _begin_named(self) -> None:
        partial = temporary_name(self.name)
        try:
            self._file = os.open(partial, _NAMED, 0o600, dir_fd=self.folder)
        except FileExistsError:
            remove(partial, self.folder)  # a killed writer's
            try:
                self._file = os.open(partial, _NAMED, 0o600, dir_fd=self.folder)
            except FileExistsError as error:
                raise Busy("Another run writes this object at the same moment.") from error
        self._partial = partial

    def write(self) -> None:
        """Raises Damaged where the content is not as long as was said; what its chunks raise."""
        size, offset, begun = self.content.size, 0, 0
        for chunk in self.content.chunks():
            if offset + len(chunk) > size:
                raise Damaged(SOURCE_DAMAGED)
            self._write(chunk, offset)
            offset += len(chunk)
            if size > _LARGE and offset - begun >= MIB:
                os.posix_fadvise(self._file, begun, offset - begun, os.POSIX_FADV_DONTNEED)
                begun = offset
        if offset != size:
            raise Damaged(SOURCE_DAMAGED)

    def _write(self, chunk: bytes, offset: int) -> None:
        left = memoryview(chunk)
        while left:
            written = os.pwrite(self._file, left, offset)
            left, offset = left[written:], offset + written

    def sync(self) -> None:
        os.fsync(self._file)

    def compare(self) -> None:
        """Raises Differs where what is there is not what was meant."""
        size, running, offset = self.content.size, hashlib.sha256(), 0
        while offset < size and (chunk := os.pread(self._file, min(CHUNK_SIZE, size - offset), offset)):
            self.content.came(len(chunk))
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
        own = f"{_NAMES[0]}{secrets.token_hex(8)}{_NAMES[1]}"
        os.link(source, own, dst_dir_fd=self.folder, follow_symlinks=True)
        try:
            os.rename(own, self.name, src_dir_fd=self.folder, dst_dir_fd=self.folder)
        finally:
            remove(own, self.folder)

    def close(self) -> None:
        """Without a name nothing is left of it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            if self._partial:
                remove(self._partial, self.folder)
