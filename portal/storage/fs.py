"""The file system as a store: a store that never leaves its folder and never shows half an object."""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portal import runtime
from portal.errors import BadValue, Busy, Missing, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage import keys, mounts, paths
from portal.storage.destination import Destination
from portal.storage.store import CHUNK, MIB, NoPlace, Part, Stat, Step, Upload

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PARTIAL = ".portico-", ".part"
_DEEPEST = 200
"""Folders within each other that are listed."""
_DENIED = {
    errno.EACCES: "may not be changed by the account that runs Portico; give it the right to write there",
    errno.EPERM: "may not be changed by the account that runs Portico, or its file system has no hard links",
    errno.EOPNOTSUPP: "is on a file system without hard links, on which nothing can be written safely",
    errno.EROFS: "is mounted read-only; mount it for writing",
    errno.EDQUOT: "has no quota left for the account that runs Portico; raise it",
}


def open_destination(config: dict[str, Any], prefix: str, _secret: dict[str, str], **options: Any) -> Destination:
    """The destination in a folder that the site still allows. Raises BadValue."""
    folder, root = paths.inside(config["path"])
    mount = config.get("mount") or ""
    if mount and runtime.current().data.resolve().is_relative_to(mount):
        mount = ""  # the site itself lies on that disk and runs, or it moved to a machine of other disks
    return Destination(lambda: FileSystemStore(folder, root, mount), prefix=prefix, **options)


@dataclass
class _Writing(Upload):
    """The open file of an object that has no name of its own yet, and its folder."""

    folder: int = -1
    file: int = -1


class FileSystemStore:
    """An object's name is a path below one folder, of which no part is followed as a link.

    The folder itself is reached the same way from `root`, which the operator allowed: a link that somebody puts into
    the path later leads nowhere. Where a disk is mounted above it (`mount`, or as the first look finds), nothing is
    read or written without it: the bare folder in its place is on another disk, and is hidden once it is back.
    """

    create_only: bool | None = True
    small = 8 * MIB
    part = MIB
    any_order = False
    signs = False
    by_name = False  # by bytes, which need be no Unicode
    most_parts = 1 << 40
    longest = 4000

    def __init__(self, folder: Path, root: Path, mount: str = "") -> None:
        self._path = folder
        self._root = root
        self.mount = ""
        self._needed = mount
        self._device = -1

    def steps(self) -> Sequence[Step]:
        return [("Folder allowed", self._allowed), ("Folder found", self._found)]

    def put(self, name: str, body: bytes, *, digest: str, overwrite: bool) -> None:  # noqa: ARG002 (others send it)
        upload = self.begin(name, size=len(body), overwrite=overwrite)
        try:
            self.send(upload, Part(0, 0, memoryview(body)))
            self.finish(upload)
        finally:
            self.abort(upload)

    def begin(self, name: str, *, size: int, overwrite: bool) -> Upload:
        *folders, last = _parts(name)
        with self._explained():
            with self._folder(folders, make=True) as folder:
                kept = os.dup(folder)
            try:
                file = _begin(kept, last)
            except BaseException:
                os.close(kept)
                raise
        return _Writing(name, last, size, overwrite, folder=kept, file=file)

    def send(self, upload: Upload, part: Part) -> None:
        """Of a large object the disk begins to write each part at once: else all of it waits for the end."""
        offset, left, file = part.offset, part.body, _writing(upload).file
        with self._explained():
            while left:
                written = os.pwrite(file, left, offset)
                if upload.size > self.small:
                    os.posix_fadvise(file, offset, written, os.POSIX_FADV_DONTNEED)
                left, offset = left[written:], offset + written

    def finish(self, upload: Upload) -> None:
        writing = _writing(upload)
        with self._explained():
            os.fsync(writing.file)
            _name(writing)
            _remove(_partial(writing.id), writing.folder)
            os.fsync(writing.folder)
        _close(writing)

    def abort(self, upload: Upload) -> None:
        writing = _writing(upload)
        if writing.file >= 0:
            try:
                with self._explained():
                    _remove(_partial(writing.id), writing.folder)
            finally:
                _close(writing)

    def unfinished(self, prefix: str) -> Iterator[Upload]:  # noqa: ARG002 (others ask for it)
        """None: what a killed writer left goes with the next look at its object."""
        return iter(())

    def stat(self, name: str) -> Stat | None:
        *folders, last = _parts(name)
        with self._explained():
            try:
                with self._folder(folders) as folder:
                    found = os.stat(last, dir_fd=folder, follow_symlinks=False)
                    # A writer that was killed between link and unlink left its other name; no writer can need it now.
                    # It stays on a disk that is mounted read-only: that can be read all the same.
                    if found.st_nlink > 1:
                        with contextlib.suppress(OSError):
                            _remove(_partial(last), folder)
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
                    chunk = os.pread(file, CHUNK if size is None else min(CHUNK, size), offset)
                if not chunk:
                    return
                offset += len(chunk)
                size = None if size is None else size - len(chunk)
                yield chunk
        finally:
            os.close(file)

    def _open(self, name: str) -> int:
        """A descriptor of a file. Raises Missing, and BadValue for what is none."""
        *folders, last = _parts(name)
        with self._explained():
            try:
                with self._folder(folders) as folder:
                    if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
                        raise BadValue(f"{name} is there, but is no file.")
                    return os.open(last, _FILE, dir_fd=folder)
            except FileNotFoundError:
                raise Missing(f"There is no object {name}.") from None

    def delete(self, name: str) -> None:
        self._require(name)
        *folders, last = _parts(name)
        with self._explained(), self._folder(folders) as folder:
            os.unlink(last, dir_fd=folder)
            os.fsync(folder)

    def pages(self, prefix: str, after: str) -> Iterator[Sequence[Stat]]:
        above = prefix.rpartition("/")[0]
        inner = _parts(above) if above else ()
        with self._explained(), contextlib.suppress(FileNotFoundError), self._folder(inner) as folder:
            for found in _walk(folder, f"{above}/" if above else "", prefix, os.fsencode(after)):
                yield (found,)

    def _allowed(self) -> str:
        paths.inside(str(self._path))
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
            descriptor = _descend(base, parts, make=make)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _base(self) -> Iterator[int]:
        try:
            root = os.open(self._root, _FOLDER)
            try:
                descriptor = _descend(root, self._path.relative_to(self._root).parts, make=False)
            finally:
                os.close(root)
        except FileNotFoundError as error:
            sentence = f"The folder {self._path} is not there. Mount its disk or create it, then test again."
            raise NoPlace(sentence, permanent=False) from error
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
        found = mounts.point(mounts.number(folder))
        if self._needed and not Path(found).is_relative_to(self._needed):
            sentence = f"The disk of {self._needed} is not mounted. Mount it, then test again."
            meant = f"If {self._path} is meant to lie on another disk from now on, save the storage again as it is."
            raise NoPlace(f"{sentence} {meant}", permanent=False)
        self.mount = self._needed = found
        self._device = device

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """The file system's errors in words."""
        try:
            yield
        except FileExistsError as error:
            raise Taken("Something has that name there already.") from error
        except OSError as error:
            raise self._in_words(error) from error

    def _in_words(self, error: OSError) -> PortalError:
        number = error.errno
        if number in (errno.ENOTDIR, errno.ELOOP, errno.EISDIR):
            return BadValue(f"In {self._path} a file or a link stands where a folder should be; nothing was written.")
        if number == errno.ENAMETOOLONG:
            return BadValue(f"A name is longer than the file system of {self._path} takes.")
        if number in _DENIED:
            return NotAllowed(f"The folder {self._path} {_DENIED[number]}.")
        if number == errno.ENOSPC:
            return NoSpace(f"The disk of {self._path} is full. Free some space there.")
        return Unreachable(f"The file system of {self._path} answers: {error.strerror}.")


def _parts(name: str) -> list[str]:
    """The segments of an object's name. Raises BadValue for one that could lead out of the folder."""
    parts = name.split("/")
    for part in parts:
        if part in ("", ".", "..") or "\0" in part or len(os.fsencode(part)) > keys.LONGEST:
            raise BadValue(f"{name[:200]!r} cannot be the name of an object.")
    return parts


def _descend(start: int, parts: Iterable[str], *, make: bool) -> int:
    """A new descriptor of the folder below; no part is followed as a link."""
    descriptor = os.dup(start)
    try:
        for part in parts:
            try:
                deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            except FileNotFoundError:
                if not make:
                    raise
                _make(part, descriptor)
                deeper = os.open(part, _FOLDER, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _make(name: str, folder: int) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=folder)
        os.fsync(folder)


def _begin(folder: int, name: str) -> int:
    """A new file under another name, which `_name` links to its own.

    What is linked is the open file, not its other name: a second writer of the same object can remove that, but
    never put its own half-written file in its place.
    """
    partial = _partial(name)
    with contextlib.suppress(FileExistsError):
        return os.open(partial, _NEW_FILE, 0o600, dir_fd=folder)
    _remove(partial, folder)  # a killed writer's
    try:
        return os.open(partial, _NEW_FILE, 0o600, dir_fd=folder)
    except FileExistsError as error:
        raise Busy("Another run writes this object at the same moment.") from error


def _close(writing: _Writing) -> None:
    os.close(writing.file)
    os.close(writing.folder)
    writing.file = writing.folder = -1


def _name(writing: _Writing) -> None:
    """Give the open file its name: by a link, which fails where that exists, or in place of what is there."""
    source = f"/proc/self/fd/{writing.file}"
    if not writing.overwrite:
        os.link(source, writing.id, dst_dir_fd=writing.folder, follow_symlinks=True)
        return
    own = f"{_PARTIAL[0]}{secrets.token_hex(8)}{_PARTIAL[1]}"
    os.link(source, own, dst_dir_fd=writing.folder, follow_symlinks=True)
    try:
        os.rename(own, writing.id, src_dir_fd=writing.folder, dst_dir_fd=writing.folder)
    finally:
        _remove(own, writing.folder)


def _writing(upload: Upload) -> _Writing:
    if not isinstance(upload, _Writing):
        raise TypeError("this upload was begun by another store")
    return upload


def _partial(name: str) -> str:
    """Under which name an object is written before it has its own."""
    return f"{_PARTIAL[0]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_PARTIAL[1]}"


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _walk(folder: int, above: str, prefix: str, after: bytes) -> Iterator[Stat]:
    """The files below in the order of their paths, without what is being written; links are not followed."""
    for key, is_folder in _entries(folder, above):
        name = key.removeprefix(above).rstrip("/")
        if not (key.startswith(prefix) or (is_folder and prefix.startswith(key))):
            continue
        with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
            if is_folder and (os.fsencode(key) > after or after.startswith(os.fsencode(key))):
                if key.count("/") > _DEEPEST:
                    raise BadValue(f"{key[:60]}… lies more than {_DEEPEST} folders deep. Move it, or choose a prefix.")
                descriptor = os.open(name, _FOLDER, dir_fd=folder)
                try:
                    yield from _walk(descriptor, key, prefix, after)
                finally:
                    os.close(descriptor)
            elif not is_folder and os.fsencode(key) > after:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield Stat(key, found.st_size)


def _entries(folder: int, above: str) -> list[tuple[str, bool]]:
    """Path and kind of what lies in a folder, in order; a folder's path ends with a slash."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                found.append((f"{above}{entry.name}/", True))
            elif not (entry.name.startswith(_PARTIAL[0]) and entry.name.endswith(_PARTIAL[1])):
                found.append((above + entry.name, False))
    return sorted(found, key=lambda entry: os.fsencode(entry[0]))
