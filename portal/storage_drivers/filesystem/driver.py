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
from portal.storage_drivers.store import CHUNK_SIZE, NAME_TAKEN, ContainerMissing, Content, NamedStep, Stat

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
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

    The folder itself is reached the same way from `root`, which the operator allowed: a link that is put into the path
    later leads nowhere. Where a disk is mounted above it (`mount`, or as found when it is opened first), nothing is
    read or written without it: the bare folder in its place is on another disk, and is hidden once the disk is back.
    """

    create_only: bool | None = True
    lists_by_name = False  # by bytes, which need not be Unicode
    max_name_bytes = 4000

    def __init__(
        self,
        folder: Path,
        root: Path,
        mount: str = "",
        *,
        allowed: AllowedFolders | None = None,
        threads: int = 1,
        unnamed: bool = True,
        together: bool = True,
    ) -> None:
        self.mount = ""
        self._path = folder
        self._root = root
        self._allowed_folders = allowed or AllowedFolders(data=root, roots=(root,))
        self._required_mount = mount
        self._device = -1
        self._files_per_batch = max(1, MAX_OPEN_FILES // threads)
        self._unnamed, self._together = unnamed, together
        self._syncs_whole_file_system = False

    def steps(self) -> Sequence[NamedStep]:
        return [("Folder allowed", self._check_allowed), ("Folder found", self._check_found)]

    def _check_allowed(self) -> str:
        allowed_paths.resolve(str(self._path), self._allowed_folders)
        return f"{self._path} is in a folder that this site allows."

    def _check_found(self) -> str:
        with self._translated_errors(), self._folder(()):
            disk = f", on the disk mounted at {self.mount}" if self.mount else ""
            return f"It exists{disk}, and no part of its path is a link."

    def stat(self, name: str) -> Stat | None:
        *above, last = open_folder.split_name(name)
        with self._translated_errors():
            try:
                with self._folder(above) as folder:
                    status = os.stat(last, dir_fd=folder, follow_symlinks=False)
                    # A writer that was killed between link and unlink left its other name; no writer can need it now.
                    # It stays on a disk that is mounted read-only, which can be read all the same.
                    if status.st_nlink > 1:
                        with contextlib.suppress(OSError):
                            temporary_files.remove(temporary_files.temporary_name(last), folder)
            except FileNotFoundError:
                return None
        if not stat.S_ISREG(status.st_mode):
            raise BadValue(f"{name} exists, but is not a file.")
        return Stat(name, status.st_size)

    def read(self, name: str, offset: int, size: int | None) -> Iterator[bytes]:
        *above, last = open_folder.split_name(name)
        with self._translated_errors():
            try:
                with self._folder(above) as folder:
                    if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise BadValue(f"{name} exists, but is not a file.")
                    file = os.open(last, _FILE_FLAGS, dir_fd=folder)
            except FileNotFoundError:
                raise Missing(f"There is no object {name}.") from None

        try:
            while size is None or size > 0:
                with self._translated_errors():
                    chunk = os.pread(file, CHUNK_SIZE if size is None else min(CHUNK_SIZE, size), offset)
                if not chunk:
                    return
                offset += len(chunk)
                size = None if size is None else size - len(chunk)
                yield chunk
        finally:
            os.close(file)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        above = prefix.rpartition("/")[0]
        parts = open_folder.split_name(above) if above else ()
        with self._translated_errors(), contextlib.suppress(FileNotFoundError), self._folder(parts) as folder:
            for found in walk(folder, f"{above}/" if above else "", prefix, os.fsencode(after)):
                yield (found,)

    def delete(self, name: str) -> None:
        if self.stat(name) is None:
            raise Missing(f"There is no object {name}.")
        *above, last = open_folder.split_name(name)
        with self._translated_errors(), self._folder(above) as folder:
            os.unlink(last, dir_fd=folder)
            os.fsync(folder)

    def write(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> list[PortalError | None]:
        """Write objects durably; each is read back before it has its name. For each its error, or None.

        The disk is waited for once for all of them: that, and not the bytes, is what small ones cost. What a writer
        process could not write is written here, and its error reported.
        """
        with self._translated_errors(), self._base() as base:
            together = self._together and self._syncs_whole_file_system
            written: Sequence[bool] = [False] * len(objects)
            if together and self._unnamed:
                written = writer_processes.write(base, objects, overwrite=overwrite)
            left = [each for each, is_written in zip(objects, written, strict=True) if not is_written]
            errors: list[PortalError | None] = []
            for start in range(0, len(left), self._files_per_batch):
                batch = Batch(base, self._translate_error, unnamed=self._unnamed, together=together)
                errors += batch.write(left[start : start + self._files_per_batch], overwrite=overwrite)
            left_errors = iter(errors)
            return [None if is_written else next(left_errors) for is_written in written]

    @contextlib.contextmanager
    def _folder(self, parts: Iterable[str]) -> Iterator[int]:
        """A descriptor of a folder below ours, reached step by step from the root."""
        with self._base() as base:
            descriptor = descend(base, parts, create=False)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _base(self) -> Iterator[int]:
        """A descriptor of our folder."""
        try:
            root = os.open(self._root, FOLDER_FLAGS)
            try:
                descriptor = descend(root, self._path.relative_to(self._root).parts, create=False)
            finally:
                os.close(root)
        except FileNotFoundError as error:
            message = f"The folder {self._path} does not exist. Mount its disk or create it, then test again."
            raise ContainerMissing(message, permanent=False) from error
        try:
            self._require_disk(descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    def _require_disk(self, folder: int) -> None:
        """Raises ContainerMissing for the bare folder that is in the place of a disk that is not mounted."""
        device = os.fstat(folder).st_dev
        if device == self._device:
            return
        mount = mounts.mount_id(folder)
        mount_point = mounts.mount_point(mount)
        if self._required_mount and not Path(mount_point).is_relative_to(self._required_mount):
            message = f"The disk of {self._required_mount} is not mounted. Mount it, then test again."
            moved = f"If {self._path} is on another disk from now on, save the storage again without a change."
            raise ContainerMissing(f"{message} {moved}", permanent=False)
        self.mount = self._required_mount = mount_point
        self._device = device
        self._syncs_whole_file_system = temporary_files.syncs_whole_file_system(
            mounts.file_system_type(mount), platform.release()
        )

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise the file system's errors as ours."""
        try:
            yield
        except OSError as error:
            raise self._translate_error(error) from error

    def _translate_error(self, error: OSError) -> PortalError:
        number = error.errno
        if number == errno.EEXIST:
            return Taken(NAME_TAKEN)
        if number in (errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
            return BadValue(f"In {self._path} there is a file or a link in place of a folder; nothing was written.")
        if number == errno.ENAMETOOLONG:
            return BadValue(f"A name is longer than the file system of {self._path} accepts.")
        if number in _DENIED:
            return NotAllowed(f"The folder {self._path} {_DENIED[number]}.")
        if number == errno.ENOSPC:
            return NoSpace(f"The disk of {self._path} is full. Free some space there.")
        return Unreachable(f"The file system of {self._path} reports: {error.strerror}.")
