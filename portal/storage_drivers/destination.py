"""The objects of one storage: keys below its prefix, create-only writes, content that is verified, retries."""

import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from portal.errors import BadValue, Damaged, Missing, PortalError, Taken
from portal.storage_drivers import object_keys
from portal.storage_drivers.store import (
    CHUNK_SIZE,
    ENDLESS_LIST,
    Content,
    Interrupted,
    NamedStep,
    Stat,
    Store,
    Upload,
)

__all__ = ["CHUNK_SIZE", "Content", "Destination", "Stat"]

MAX_TRIES = 4
FIRST_PAUSE = 0.5
"""Seconds before the second try; each later pause is twice as long."""
MAX_PAUSE = 20.0
"""Seconds, also where the server asks for more: the job is retried later in that case."""
MAX_EMPTY_PAGES = 1000
"""Pages of a list in a row without an object."""
ABANDONED_AFTER = timedelta(days=1)
"""Age from which no run can be working on an unfinished upload."""
KEY_HAS_OTHER_CONTENT = (
    "An object with different content has this key; it was not changed. Move it, or export under another prefix."
)
READ_BACK_DIFFERS = "The storage returned different bytes than were sent. Check it, and do not rely on its content."
SOURCE_DAMAGED = (
    "The bytes to be sent differ from those that were received. `portal reindex` names what is damaged in the archive; "
    "restore that from a backup."
)

T = TypeVar("T")
Guard = Callable[[], None] | None


class Destination(ABC):
    """Any number of threads may share one; each gets a store of its own, since a shared driver mixes up answers.

    Raises what `Store` says. What was interrupted is tried `tries` times in all, with a call of `wait` between.
    """

    batch_size = 1
    """Small objects that are best delivered by one call."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        prefix: str,
        tries: int = MAX_TRIES,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._open_store = open_store
        self._prefix = f"{prefix}/" if prefix else ""
        self._tries = tries
        self._wait = wait
        self._local = threading.local()

    @property
    def create_only(self) -> bool:
        """Whether the store itself refuses to overwrite an object; else we look before we write."""
        return bool(self._store.create_only)

    @property
    def mount(self) -> str:
        """Where its disk is mounted, once it was opened; empty for the system's own disk, and for what is no folder."""
        return self._store.mount

    def steps(self) -> Sequence[NamedStep]:
        """The first steps of the connection test, which depend on the provider."""
        return self._store.steps()

    @abstractmethod
    def expect(self, objects: int) -> None:
        """So many objects will follow soon: what takes a moment to start may start now."""

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        """Write an object; it is whole and durable at its key when this returns, else nothing of it is there.

        Raises Taken where an object exists already, which is not changed, unless `overwrite`; Damaged where the chunks
        are not what `size` and `digest` (SHA-256) say; ObjectLost where the store has lost parts on the way. In a store
        that does not refuse by itself we look first: of two writers at the same moment, the later one wins there.
        """

    @abstractmethod
    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        """Write objects and read each back; for each its error, or None for one that is there whole.

        An object that exists already is no error if it has the same content. Raises what `chunks` and `on_read` of a
        content raise, other than PortalError.
        """

    @abstractmethod
    def refuses_overwrite(self, key: str, body: bytes) -> bool:
        """Ask the store to overwrite an object without looking first; whether it refuses. For the test alone."""

    @abstractmethod
    def limit_parts(self, number: int) -> None:
        """From now on send no more than so many large objects, or parts of them, at once."""

    @abstractmethod
    def unfinished_uploads(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:
        """Uploads under the prefix that were started longer ago than `older`, each with its key."""

    @abstractmethod
    def abort_unfinished(self, is_ours: Callable[[str], bool], older: timedelta = ABANDONED_AFTER) -> int:
        """Abort the unfinished uploads whose key is ours (other programs may use the bucket); returns how many."""

    def stat(self, key: str) -> Stat | None:
        """What the store says of an object; None if there is none."""
        name = self._name(key)
        stat = self._retried(lambda: self._store.stat(name))
        return self._with_key(stat) if stat else None

    def read(self, key: str, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
        """The object's bytes as they are at the store now, or a range of them. Raises Missing."""
        name = self._name(key)
        seen = failures = 0
        while True:
            try:
                for chunk in self._store.read(name, offset + seen, None if size is None else size - seen):
                    seen += len(chunk)
                    failures = 0
                    if size is not None and seen > size:
                        raise Damaged("The storage sends more bytes than were requested. Do not use it.")
                    yield chunk
                return
            except Interrupted as error:
                failures += 1
                if failures == self._tries:
                    raise
                self._pause(failures, error)

    def digest(self, key: str, check: Callable[[], None] = lambda: None) -> tuple[int, str]:
        """Size and SHA-256 of what the store holds, by reading all of it back; `check` may raise meanwhile.

        Raises Missing.
        """
        running = hashlib.sha256()
        size = 0
        for chunk in self.read(key):
            check()
            running.update(chunk)
            size += len(chunk)
        return size, running.hexdigest()

    def holds(self, key: str, *, size: int, digest: str, on_read: Callable[[int], None] = lambda _bytes: None) -> bool:
        """Whether the store returns these bytes; `on_read` gets the length of each chunk, and may wait or raise.

        Raises Missing.
        """

        def is_same(chunks: Iterator[bytes]) -> bool:
            running, left = hashlib.sha256(), size
            for chunk in chunks:
                on_read(len(chunk))
                running.update(chunk)
                left -= len(chunk)
                if left < 0:
                    break
            return left == 0 and running.hexdigest() == digest

        # What differs is read once more in one request: an interrupted read continues with a range, and some stores
        # return wrong ranges of objects that they keep well.
        name = self._name(key)
        return is_same(self.read(key)) or self._retried(lambda: is_same(self._store.read(name, 0, None)))

    def verify(self, key: str, *, size: int, digest: str) -> None:
        """Read back what was written. Raises Damaged where the store returns other bytes, Missing where none."""
        if not self.holds(key, size=size, digest=digest):
            raise Damaged(READ_BACK_DIFFERS)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Stat]:
        """Objects whose key begins with `prefix` and comes after `after`, in the order of their UTF-8 bytes."""
        last = self._prefix + after if after else ""
        failures = empty_pages = 0
        while True:
            try:
                for page in self._store.pages(self._prefix + prefix, last):
                    # RGW begins its list with the name after which it should begin.
                    stats = [stat for stat in page if stat.key != last]
                    failures, empty_pages = 0, 0 if stats else empty_pages + 1
                    repeats = page[-1].key == last if page else False
                    if self._store.lists_by_name:
                        repeats = all(stat.key <= last for stat in page)
                    if empty_pages > MAX_EMPTY_PAGES or (stats and repeats):
                        raise Damaged(ENDLESS_LIST)
                    for stat in stats:
                        last = stat.key
                        yield self._with_key(stat)
                return
            except Interrupted as error:
                failures += 1
                if failures == self._tries:
                    raise
                self._pause(failures, error)

    def delete(self, key: str) -> None:
        """Raises Missing, where the store reports it."""
        name = self._name(key)
        self._retried(lambda: self._store.delete(name), settle=lambda: None)

    @property
    def _store(self) -> Store:
        """The store of this thread."""
        if not hasattr(self._local, "store"):
            self._local.store = self._open_store()
        store: Store = self._local.store
        return store

    def _name(self, key: str) -> str:
        """The whole name of a key. Raises BadValue for one that is no name in any store, or too long for this one."""
        if not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(key.split("/")) or "\0" in key:
            raise BadValue(f"{key[:200]!r} cannot be the name of an object.")
        name = self._prefix + key
        if (length := len(name.encode(errors="surrogateescape"))) > self._store.max_name_bytes:
            limit = f"it has {length:,} bytes, and the storage accepts {self._store.max_name_bytes:,}"
            raise BadValue(f"{key[:60]!r}… cannot be the name of an object: {limit}.")
        return name

    def _with_key(self, stat: Stat) -> Stat:
        """The same with its key instead of its whole name."""
        return replace(stat, key=stat.key.removeprefix(self._prefix))

    def _retried(self, request: Callable[[], T], *, settle: Callable[[], T] | None = None, guard: Guard = None) -> T:
        """Send a request, and again where it was interrupted.

        The first try may have succeeded without our knowing: where a later one is refused as Taken or Missing, `settle`
        decides. `guard` checks before each retry that it would not overwrite an object, in a store that refuses
        nothing.
        """
        failures = 0
        while True:
            try:
                if failures and guard is not None:
                    guard()
                return request()
            except Interrupted as error:
                failures += 1
                if failures >= self._tries:
                    raise
                self._pause(failures, error)
            except (Taken, Missing):
                if not failures or settle is None:
                    raise
                return settle()

    def _pause(self, failures: int, error: Interrupted) -> None:
        self._wait(min(MAX_PAUSE, max(error.retry_after, FIRST_PAUSE * 2 ** (failures - 1))))


def checked_chunks(chunks: Iterable[bytes], *, size: int, digest: str) -> Iterator[bytes]:
    """The chunks; raises Damaged before the end of content with another size or digest, so that it never appears."""
    running = hashlib.sha256()
    seen = 0
    for chunk in chunks:
        running.update(chunk)
        seen += len(chunk)
        if seen > size:
            break
        yield chunk
    if seen != size or running.hexdigest() != digest:
        raise Damaged(SOURCE_DAMAGED)
