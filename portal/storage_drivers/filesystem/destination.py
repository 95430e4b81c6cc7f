"""A folder as a destination: objects are files, and small ones are written together."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, cast

from portal.errors import BadValue, PortalError, Taken
from portal.storage_drivers.destination import ABANDONED_AFTER, KEY_HAS_OTHER_CONTENT, Destination, checked_chunks
from portal.storage_drivers.filesystem import allowed_paths, writer_processes
from portal.storage_drivers.filesystem.allowed_paths import AllowedFolders
from portal.storage_drivers.filesystem.driver import FileSystemStore
from portal.storage_drivers.store import Content, ReadBackDiffers, Upload

BATCH_SIZE = 320
"""Objects of one batch, which is finished also where its run is to stop."""
MIN_OBJECTS_TO_PRESTART = 1000
"""Objects for which writer processes are started before there is anything to write."""


def open_destination(
    config: dict[str, Any],
    prefix: str,
    _secret: dict[str, str],
    *,
    allowed: AllowedFolders,
    threads: int = 1,
    unnamed: bool = True,
    together: bool = True,
    **options: Any,
) -> Destination:
    """The destination in a folder that the site still allows, for so many threads. Raises BadValue.

    Without `unnamed` or `together` its files are written as on a file system that has no files without a name, or on
    which each must be synced by itself.
    """
    folder, root = allowed_paths.resolve(config["path"], allowed)
    mount = config.get("mount") or ""
    if mount and allowed.data.resolve().is_relative_to(mount):
        mount = ""  # the site itself is on that disk and runs, or it moved to a machine with other disks
    abilities = {"unnamed": unnamed, "together": together}
    open_store = lambda: FileSystemStore(folder, root, mount, allowed=allowed, threads=threads, **abilities)  # noqa: E731
    return FolderDestination(open_store, prefix=prefix, **options)


class FolderDestination(Destination):
    """Objects as files. Nothing is retried here: a file system that fails does not fail for a moment."""

    batch_size = BATCH_SIZE

    def expect(self, objects: int) -> None:
        if objects >= MIN_OBJECTS_TO_PRESTART:
            writer_processes.start_all()

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        checked = lambda: checked_chunks(chunks, size=size, digest=digest)  # noqa: E731
        content = Content(key=key, size=size, digest=digest, chunks=checked)
        [error] = self._store.write([(self._name(key), content)], overwrite=overwrite)
        if error is not None:
            raise error

    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        """The content is hashed once, as it is on the disk: where that is right, what was sent was right too."""
        errors: dict[int, PortalError | None] = {}
        objects: dict[int, tuple[str, Content]] = {}
        for index, content in enumerate(contents):
            try:
                objects[index] = self._name(content.key), content
            except PortalError as error:
                errors[index] = error
        try:
            errors.update(zip(objects, self._store.write(list(objects.values()), overwrite=overwrite), strict=True))
        except PortalError as error:
            errors.update(dict.fromkeys(objects, error))
        return [self._final_error(content, errors[index]) for index, content in enumerate(contents)]

    def _final_error(self, content: Content, error: PortalError | None) -> PortalError | None:
        """What an error means, after a look at the object that exists, or the one that was sent."""
        try:
            if isinstance(error, Taken):
                # An earlier run of ours may have written it.
                if not self.holds(content.key, size=content.size, digest=content.digest, on_read=content.on_read):
                    raise BadValue(KEY_HAS_OTHER_CONTENT) from error
                return None
            if isinstance(error, ReadBackDiffers):
                for _chunk in checked_chunks(content.chunks(), size=content.size, digest=content.digest):
                    pass  # raises where the source is damaged
        except PortalError as other:
            return other
        return error

    def refuses_overwrite(self, key: str, body: bytes) -> bool:
        try:
            self.put(key, [body], size=len(body), digest=hashlib.sha256(body).hexdigest())
        except Taken:
            return True
        return False

    def limit_parts(self, number: int) -> None:
        """Nothing: each object is written by the thread that brings it."""

    def unfinished_uploads(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:  # noqa: ARG002 (others need it)
        """None: a file without a name disappears with its writer, another with the next look at its object."""
        return iter(())

    def abort_unfinished(self, is_ours: Callable[[str], bool], older: timedelta = ABANDONED_AFTER) -> int:  # noqa: ARG002 (others need them)
        return 0

    @property
    def _store(self) -> FileSystemStore:
        return cast(FileSystemStore, super()._store)
