"""A folder as a destination: objects are files, and small ones are written together."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from portal.errors import PortalError, Taken
from portal.storage_drivers.destination import ABANDONED_AFTER, Destination, checked_chunks
from portal.storage_drivers.filesystem import allowed_paths, writer_processes
from portal.storage_drivers.filesystem.allowed_paths import AllowedFolders
from portal.storage_drivers.filesystem.driver import FileSystemStore
from portal.storage_drivers.store import Content, ReadBackDiffers, Upload

BATCH_SIZE = 320
"""Objects of one bundle, which is brought to its end also where its run is to stop."""

MIN_OBJECTS_TO_PRESTART = 1000
"""Objects for which scribes are started before there is anything to write."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    _secret: dict[str, str],
    *,
    allowed: AllowedFolders,
    lanes: int = 1,
    unnamed: bool = True,
    together: bool = True,
    **options: Any,
) -> Destination:
    """The destination in a folder that the site still allows, for `lanes` threads. Raises BadValue.

    Without `unnamed` or `together` its files are written as on a file system that has none without a name, or of which
    each must be synced by itself.
    """
    folder, root = allowed_paths.resolve(config["path"], allowed)
    mount = config.get("mount") or ""
    if mount and allowed.data.resolve().is_relative_to(mount):
        mount = ""  # the site itself lies on that disk and runs, or it moved to a machine of other disks
    abilities = {"unnamed": unnamed, "together": together}
    open_store = lambda: FileSystemStore(folder, root, mount, allowed=allowed, lanes=lanes, **abilities)  # noqa: E731
    return FolderDestination(open_store, prefix=prefix, **options)


class FolderDestination(Destination):
    """Objects as files. Nothing is tried again here: a file system that fails does not do so for a moment."""

    together = BATCH_SIZE

    def expect(self, objects: int) -> None:
        if objects >= MIN_OBJECTS_TO_PRESTART:
            writer_processes.start_all()

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        content = Content(
            key=key, size=size, digest=digest, chunks=lambda: checked_chunks(chunks, size=size, digest=digest)
        )
        [error] = self._store.write([(self._name(key), content)], overwrite=overwrite)
        if error is not None:
            raise error

    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        """The content is hashed once, as it lies there: where it is right, what was sent was right too."""
        names = [self._named(content.key) for content in contents]
        objects = [(name, content) for name, content in zip(names, contents, strict=True) if isinstance(name, str)]
        found = iter(self._written(objects, overwrite=overwrite))
        errors = [next(found) if isinstance(name, str) else name for name in names]
        return [error and self._judged(content, error) for content, error in zip(contents, errors, strict=True)]

    def _written(self, objects: Sequence[tuple[str, Content]], *, overwrite: bool) -> Sequence[PortalError | None]:
        try:
            return self._store.write(objects, overwrite=overwrite)
        except PortalError as error:
            return [error] * len(objects)

    def _named(self, key: str) -> str | PortalError:
        try:
            return self._name(key)
        except PortalError as error:
            return error

    def _judged(self, content: Content, error: PortalError) -> PortalError | None:
        """What an error means, once the object that is there, or the one that was sent, was looked at."""
        try:
            if isinstance(error, Taken):
                self._require_ours(content, error)
                return None
            if isinstance(error, ReadBackDiffers):
                for _chunk in checked_chunks(content.chunks(), size=content.size, digest=content.digest):
                    pass
        except PortalError as found:
            return found
        return error

    def refuses(self, key: str, body: bytes) -> bool:
        try:
            self.put(key, [body], size=len(body), digest=hashlib.sha256(body).hexdigest())
        except Taken:
            return True
        return False

    def share(self, number: int) -> None:
        """Nothing: each object is written by the thread that brings it."""

    def leftovers(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:  # noqa: ARG002 (others need it)
        """None: a file without a name goes with its writer, and another with the next look at its object."""
        return iter(())

    def _abort(self, upload: Upload) -> None:
        raise NotImplementedError(upload)

    @property
    def _store(self) -> FileSystemStore:
        store: FileSystemStore = self._of_this_thread()
        return store
