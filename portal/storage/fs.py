"""The file system as a store: a Libcloud driver that never leaves its folder and never shows half an object."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from libcloud.common.base import Connection
from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.types import ObjectDoesNotExistError

from portal.errors import BadValue, Busy, NoSpace, NotAllowed, PortalError, Taken, Unreachable
from portal.storage import keys, paths
from portal.storage.destination import CHUNK, Destination

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PARTIAL = ".portico-", ".part"
_DENIED = {
    errno.EACCES: "may not be changed by the account that runs Portico; give it the right to write there",
    errno.EPERM: "may not be changed by the account that runs Portico, or its file system has no hard links",
    errno.EOPNOTSUPP: "is on a file system without hard links, on which nothing can be written safely",
    errno.EROFS: "is mounted read-only; mount it for writing",
    errno.EDQUOT: "has no quota left for the account that runs Portico; raise it",
}


def open_destination(config: dict[str, Any], prefix: str) -> Destination:
    """The destination in a folder that the site still allows. Raises BadValue."""
    folder, root = paths.inside(config["path"])
    return Destination(lambda: FileSystemDriver(folder, root), container=str(folder), prefix=prefix)


class FileSystemDriver(StorageDriver):
    """One folder is the one container; an object's name is a path below it, of which no part is followed as a link.

    The folder itself is reached the same way from `root`, which the operator allowed: a link that somebody puts into
    the path later leads nowhere. Uploads are create-only.
    """

    name = "File system"
    connectionCls = Connection

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(str(folder))  # type: ignore[no-untyped-call]
        self._path = folder
        self._root = root

    def get_container(self, container_name: str) -> Container:
        with self._explained(), self._folder(()):
            return Container(container_name, {}, self)

    def get_object(self, container_name: str, object_name: str) -> Object:
        *folders, name = _parts(object_name)
        container = Container(container_name, {}, self)
        with self._explained():
            try:
                with self._folder(folders) as folder:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    # A writer that was killed between link and unlink left its other name; no writer can need it now.
                    _remove(_partial(name), folder)
            except FileNotFoundError as error:
                raise ObjectDoesNotExistError("", self, object_name) from error  # type: ignore[no-untyped-call]
        if not stat.S_ISREG(found.st_mode):
            raise BadValue(f"{object_name} is there, but is no file.")
        return Object(object_name, found.st_size, "", {}, {}, container, self)

    def upload_object_via_stream(
        self,
        iterator: Iterable[bytes],
        container: Container,
        object_name: str,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Object:
        """Create an object, durable when this returns. Raises Taken where anything has that name."""
        *folders, name = _parts(object_name)
        with self._explained(), self._folder(folders, make=True) as folder:
            size = _create(folder, name, iterator)
        return Object(object_name, size, "", extra or {}, headers or {}, container, self)

    def download_object_as_stream(self, obj: Object, chunk_size: int | None = None) -> Iterator[bytes]:
        *folders, name = _parts(obj.name)
        with self._explained(), self._folder(folders) as folder:
            descriptor = os.open(name, _FILE, dir_fd=folder)
        with open(descriptor, "rb", buffering=0) as file:
            while True:
                with self._explained():
                    chunk = file.read(chunk_size or CHUNK)
                if not chunk:
                    return
                yield chunk

    def delete_object(self, obj: Object) -> bool:
        *folders, name = _parts(obj.name)
        with self._explained(), self._folder(folders) as folder:
            os.unlink(name, dir_fd=folder)
            os.fsync(folder)
        return True

    def iterate_container_objects(
        self, container: Container, prefix: str | None = None, ex_prefix: str | None = None
    ) -> Iterator[Object]:
        wanted = prefix or ex_prefix or ""
        above = wanted.rpartition("/")[0]
        inner = _parts(above) if above else ()
        with self._explained(), contextlib.suppress(FileNotFoundError), self._folder(inner) as folder:
            for name, size in _walk(folder, f"{above}/" if above else ""):
                if name.startswith(wanted):
                    yield Object(name, size, "", {}, {}, container, self)

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
            raise Unreachable(sentence) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

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
            if make:
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


def _create(folder: int, name: str, chunks: Iterable[bytes]) -> int:
    """Write under another name, sync, and link it to its own, which fails where that exists; returns the size.

    What is linked is the open file, not its other name: a second writer of the same object can remove that, but
    never put its own half-written file in its place.
    """
    partial = _partial(name)
    _remove(partial, folder)
    try:
        descriptor = os.open(partial, _NEW_FILE, 0o600, dir_fd=folder)
    except FileExistsError as error:
        raise Busy("Another run writes this object at the same moment.") from error
    try:
        size = sum(_write(descriptor, chunk) for chunk in chunks)
        os.fsync(descriptor)
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(descriptor)
        _remove(partial, folder)
    os.fsync(folder)
    return size


def _partial(name: str) -> str:
    """Under which name an object is written before it has its own."""
    return f"{_PARTIAL[0]}{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{_PARTIAL[1]}"


def _write(descriptor: int, chunk: bytes) -> int:
    left = memoryview(chunk)
    while left:
        left = left[os.write(descriptor, left) :]
    return len(chunk)


def _remove(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _walk(folder: int, above: str) -> Iterator[tuple[str, int]]:
    """Names and sizes of the files below, without what is being written; links are not followed."""
    for at, _folders, files, descriptor in os.fwalk(".", dir_fd=folder, onerror=_raise):
        for name in files:
            if name.startswith(_PARTIAL[0]) and name.endswith(_PARTIAL[1]):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
                found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield above + os.path.normpath(os.path.join(at, name)), found.st_size


def _raise(error: OSError) -> None:
    raise error
