"""The file system as a store: a store that never leaves its folder and never shows half an object."""

import contextlib
import errno
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from portal.errors import BadValue, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage_drivers.filesystem import allowed_paths, mounts, open_folder, temporary_files, writer_processes
from portal.storage_drivers.filesystem.allowed_paths import AllowedFolders
from portal.storage_drivers.filesystem.batch import Batch
from portal.storage_drivers.filesystem.listing import walk
from portal.storage_drivers.filesystem.open_folder import FOLDER_FLAGS, descend
from portal.storage_drivers.store import CHUNK_SIZE, ContainerMissing, Content, NamedStep, Stat

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DENIED = {
    errno.EACCES: "may not be changed by the account that runs Portico; give it the right to write there",
    errno.EPERM: "may not be changed by the account that runs Portico, or its file system has no hard links",
    errno.EOPNOTSUPP: "is on a file system without hard links, on which nothing can be written safely",
    errno.EROFS: "is mounted read-only; mount it for writing",
    errno.EDQUOT: "has no quota left for the account that runs Portico; raise it",
}
MAX_OPEN_FILES = 256
"""Files that the threads of one destination have open at once to write them, each perhaps with a folder of its own; a
process of a small machine may have 1,024 open."""


class FileSystemStore:
    """An object's name is a path below one folder, of which no part is followed as a link.

    The folder itself is reached the same way from `root`, which the operator allowed: a link that somebody puts into
    the path later leads nowhere. Where a disk is mounted above it (`mount`, or as the first look finds), nothing is
    read or written without it: the bare folder in its place is on another disk, and is hidden once it is back.
    """

    create_only: bool | None = True
    by_name = False  # by bytes, which need be no Unicode
    longest = 4000

    def __init__(
        self,
        folder: Path,
        root: Path,
        mount: str = "",
        *,
        allowed: AllowedFolders | None = None,
        lanes: int = 1,
        unnamed: bool = True,
        together: bool = True,
    ) -> None:
        self._path = folder
        self._root = root
        self._allowed_folders = allowed or AllowedFolders(data=root, roots=(root,))
        self.mount = ""
        self._needed = mount
        self._device = -1
        self._at_once = max(1, MAX_OPEN_FILES // lanes)
        self._unnamed, self._together = unnamed, together
        self._syncs_together = False

    def steps(self) -> Sequence[NamedStep]:
        return [("Folder allowed", self._allowed), ("Folder found", self._found)]

    def write(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> list[PortalError | None]:
        """Write objects durably; each is read back before it has its name. For each its error, or None.

        The disk is waited for once for all of them: that, and not the bytes, is what small ones take. What a scribe
        could not write is written here, and says what it met.
        """
        with self._explained(), self._base() as base:
            together = self._together and self._syncs_together
            is_usual = together and self._unnamed
            there = writer_processes.write(base, objects, overwrite=overwrite) if is_usual else [False] * len(objects)
            left = [each for each, is_there in zip(objects, there, strict=True) if not is_there]
            errors: list[PortalError | None] = []
            for some in (left[at : at + self._at_once] for at in range(0, len(left), self._at_once)):
                batch = Batch(base, self._in_words, unnamed=self._unnamed, together=together)
                errors += batch.write(some, overwrite=overwrite)
            told = iter(errors)
            return [None if is_there else next(told) for is_there in there]

    def stat(self, name: str) -> Stat | None:
        *above, last = open_folder.split_name(name)
        with self._explained():
            try:
                with self._folder(above) as folder:
                    found = os.stat(last, dir_fd=folder, follow_symlinks=False)
                    # A writer that was killed between link and unlink left its other name; no writer can need it now.
                    # It stays on a disk that is mounted read-only: that can be read all the same.
                    if found.st_nlink > 1:
                        with contextlib.suppress(OSError):
                            temporary_files.remove(temporary_files.temporary_name(last), folder)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(found.st_mode):
            raise BadValue(f"{name} is there, but is no file.")
        return Stat(name, found.st_size)

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        file = self._open(name)
        try:
            while size is None or size > 0:
                with self._explained():
                    chunk = os.pread(file, CHUNK_SIZE if size is None else min(CHUNK_SIZE, size), offset)
                if not chunk:
                    return
                offset += len(chunk)
                size = None if size is None else size - len(chunk)
                yield chunk
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        """A descriptor of a file. Raises Missing, and BadValue for what is none."""
        *above, last = open_folder.split_name(name)
        with self._explained():
            try:
                with self._folder(above) as folder:
                    if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise BadValue(f"{name} is there, but is no file.")
                    return os.open(last, _FILE, dir_fd=folder)
            except FileNotFoundError:
                raise Missing(f"There is no object {name}.") from None

    def delete(self, name: str) -> None:
        self._require(name)
        *above, last = open_folder.split_name(name)
        with self._explained(), self._folder(above) as folder:
            os.unlink(last, dir_fd=folder)
            os.fsync(folder)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        above = prefix.rpartition("/")[0]
        inner = open_folder.split_name(above) if above else ()
        with self._explained(), contextlib.suppress(FileNotFoundError), self._folder(inner) as folder:
            for found in walk(folder, f"{above}/" if above else "", prefix, os.fsencode(after)):
                yield (found,)

    def _allowed(self) -> str:
        allowed_paths.resolve(str(self._path), self._allowed_folders)
        return f"{self._path} lies in a folder that this site allows."

    def _found(self) -> str:
        with self._explained(), self._folder(()):
            disk = f", on the disk mounted at {self.mount}" if self.mount else ""
            return f"It is there{disk}, and no part of its path is a link."

    def _require(self, name: str) -> None:
        if self.stat(name) is None:
            raise Missing(f"There is no object {name}.")

    @contextlib.contextmanager
    def _folder(self, parts: Iterable[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of a folder below ours, reached step by step from the root."""
        with self._base() as base:
            descriptor = descend(base, parts, make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _base(self) -> Iterator[int]:
        try:
            root = os.open(self._root, FOLDER_FLAGS)
            try:
                descriptor = descend(root, self._path.relative_to(self._root).parts, make=False)
            finally:
                os.close(root)
        except FileNotFoundError as error:
            message = f"The folder {self._path} is not there. Mount its disk or create it, then test again."
            raise ContainerMissing(message, permanent=False) from error
        try:
            self._require_disk(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _require_disk(self, folder: int) -> None:
        """Raises NoPlace for the bare folder that stands where a disk was mounted."""
        device = os.fstat(folder).st_dev
        if device == self._device:
            return
        number = mounts.mount_id(folder)
        found = mounts.mount_point(number)
        if self._needed and not Path(found).is_relative_to(self._needed):
            message = f"The disk of {self._needed} is not mounted. Mount it, then test again."
            meant = f"If {self._path} is meant to lie on another disk from now on, save the storage again as it is."
            raise ContainerMissing(f"{message} {meant}", permanent=False)
        self.mount = self._needed = found
        self._device = device
        self._syncs_together = temporary_files.syncs_whole_file_system(
            mounts.file_system_type(number), platform.release()
        )

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """The file system's errors in words."""
        try:
            yield
        except OSError as error:
            raise self._in_words(error) from error

    def _in_words(self, error: OSError) -> PortalError:
        number = error.errno
        if number == errno.EEXIST:
            return Taken("Something has that name there already.")
        if number in (errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
            return BadValue(f"In {self._path} a file or a link stands where a folder should be; nothing was written.")
        if number == errno.ENAMETOOLONG:
            return BadValue(f"A name is longer than the file system of {self._path} takes.")
        if number in _DENIED:
            return NotAllowed(f"The folder {self._path} {_DENIED[number]}.")
        if number == errno.ENOSPC:
            return NoSpace(f"The disk of {self._path} is full. Free some space there.")
        return Unreachable(f"The file system of {self._path} answers: {error.strerror}.")
