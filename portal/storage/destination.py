"""One storage's place for objects of ours: keys below its prefix, create-only, checked as they pass."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from libcloud.storage.base import Container, Object, StorageDriver
from libcloud.storage.types import ObjectDoesNotExistError

from portal.errors import Damaged, Missing

CHUNK = 1 << 20


@dataclass(frozen=True)
class Stat:
    """What the store says of an object; the key is without the storage's prefix."""

    key: str
    size: int


class Destination:
    """Any number of threads may share one; each gets a driver of its own, since a shared one mixes up answers."""

    def __init__(self, make_driver: Callable[[], StorageDriver], *, container: str, prefix: str) -> None:
        self._make_driver = make_driver
        self._container = container
        self._prefix = f"{prefix}/" if prefix else ""
        self._local = threading.local()

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str) -> None:
        """Write a new object; it is whole and durable at its key when this returns, else nothing is there.

        Raises Taken where something is there already, which stays as it is; Damaged where the chunks are not what
        `size` and `digest` (SHA-256) say.
        """
        checked = _checked(chunks, size=size, digest=digest)
        self._driver.upload_object_via_stream(checked, self._folder, self._prefix + key)

    def read(self, key: str) -> Iterator[bytes]:
        """The object's bytes as they are at the store now. Raises Missing."""
        return self._driver.download_object_as_stream(self._object(key), chunk_size=CHUNK)

    def digest(self, key: str) -> tuple[int, str]:
        """Size and SHA-256 of what the store holds, by reading all of it back. Raises Missing."""
        running = hashlib.sha256()
        size = 0
        for chunk in self.read(key):
            running.update(chunk)
            size += len(chunk)
        return size, running.hexdigest()

    def stat(self, key: str) -> Stat | None:
        """What the store says of an object; None if there is none."""
        try:
            return Stat(key, self._object(key).size)
        except Missing:
            return None

    def delete(self, key: str) -> None:
        """Raises Missing."""
        self._driver.delete_object(self._object(key))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Objects whose key begins so, in no order."""
        for found in self._driver.iterate_container_objects(self._folder, prefix=self._prefix + prefix):
            yield Stat(found.name.removeprefix(self._prefix), found.size)

    @property
    def _driver(self) -> StorageDriver:
        if not hasattr(self._local, "driver"):
            self._local.driver = self._make_driver()
        driver: StorageDriver = self._local.driver
        return driver

    @property
    def _folder(self) -> Container:
        return self._driver.get_container(self._container)

    def _object(self, key: str) -> Object:
        try:
            return self._driver.get_object(self._container, self._prefix + key)
        except ObjectDoesNotExistError as error:
            raise Missing(f"There is no object {key}.") from error


def _checked(chunks: Iterable[bytes], *, size: int, digest: str) -> Iterator[bytes]:
    """The chunks; raises before the end where they are not what was announced, so that the store drops them."""
    running = hashlib.sha256()
    seen = 0
    for chunk in chunks:
        running.update(chunk)
        seen += len(chunk)
        yield chunk
    if seen != size or running.hexdigest() != digest:
        raise Damaged("The bytes to be sent are not those that were taken in. Check the archive: portal verify")
