"""One storage's place for objects of ours: keys below its prefix, create-only, checked as they pass, tried again."""

import hashlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from portal.errors import BadValue, Damaged, Missing, PortalError, Taken
from portal.storage_drivers import object_keys
from portal.storage_drivers.store import Content, Interrupted, NamedStep, Stat, Store, Upload

__all__ = ["Content", "Destination", "Stat"]

MAX_TRIES = 4
FIRST_PAUSE = 0.5
"""Seconds before the second try; each later one waits twice as long."""
MAX_PAUSE = 20.0
"""Seconds, also where the server asks for more: the job comes back later then."""
MAX_EMPTY_PAGES = 1000
"""Pages of a list in a row on which nothing is."""
ABANDONED_AFTER = timedelta(days=1)
"""Age of an unfinished upload that no run can be working on any more."""
KEY_HAS_OTHER_CONTENT = (
    "Other content lies under this key; it was left as it is. Move it away, or export under another prefix."
)
READ_BACK_DIFFERS = "The storage gives back other bytes than were sent. Check it, and do not rely on what lies there."
SOURCE_DAMAGED = (
    "The bytes to be sent are not those that were taken in. `portal reindex` names what of the archive is damaged, "
    "to be restored from a backup."
)

T = TypeVar("T")
Guard = Callable[[], None] | None


class Destination(ABC):
    """Any number of threads may share one; each gets a store of its own, since a shared driver mixes up answers.

    Raises what `Store` says. What was interrupted is tried again, `tries` times in all, with `wait` between.
    """

    together = 1
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
        """Whether the store itself refuses to write over an object; else we look before we write."""
        return bool(self._store.create_only)

    @property
    def mount(self) -> str:
        """Where its disk is mounted, once it was reached; empty for that of the system, and for what is no folder."""
        return self._store.mount

    @abstractmethod
    def expect(self, objects: int) -> None:
        """So many will be brought soon: what takes a moment to begin may begin now."""

    @abstractmethod
    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        """Write an object; it is whole and durable at its key when this returns, else nothing of it is there.

        Raises Taken where something is there already, which stays as it is, unless `overwrite`; Damaged where the
        chunks are not what `size` and `digest` (SHA-256) say; NotKept where the store has lost parts on the way. A
        store that does not refuse by itself is looked at first: of two writers at the same moment, the later one wins
        there.
        """

    @abstractmethod
    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        """Write objects and read each back; for each its error, or None for one that is there whole.

        One that was there already with the same content is no error, one with other content is. Raises what `chunks`
        and `came` of a content raise, other than PortalError.
        """

    @abstractmethod
    def refuses(self, key: str, body: bytes) -> bool:
        """Ask the store to write over an object without a look before; whether it refuses. For the test alone."""

    @abstractmethod
    def share(self, number: int) -> None:
        """From now on it is sent no more than so many large objects, or parts of them, at once."""

    @abstractmethod
    def leftovers(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:
        """Uploads under the prefix that nobody will finish, each with its key."""

    def tidy(self, ours: Callable[[str], bool], older: timedelta = ABANDONED_AFTER) -> int:
        """Abort the leftovers whose key is one of `ours` (another program may use the bucket); returns how many."""
        found = [upload for key, upload in self.leftovers(older) if ours(key)]
        for upload in found:
            self._abort(upload)
        return len(found)

    @abstractmethod
    def _abort(self, upload: Upload) -> None: ...

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
                        raise Damaged("The storage sends more than the part that was asked for. Do not use it.")
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

    def holds(self, key: str, *, size: int, digest: str, came: Callable[[int], None] = lambda _bytes: None) -> bool:
        """Whether the store gives back these bytes; `came` hears of each chunk, and may wait or raise. Raises Missing.

        What differs is read once more, in one go: a reading that broke off goes on by a range, and there are stores
        that give wrong ranges of objects that they keep well.
        """

        def is_same(chunks: Iterator[bytes]) -> bool:
            running, left = hashlib.sha256(), size
            for chunk in chunks:
                came(len(chunk))
                running.update(chunk)
                left -= len(chunk)
                if left < 0:
                    break
            return left == 0 and running.hexdigest() == digest

        name = self._name(key)
        return is_same(self.read(key)) or self._persist(lambda: is_same(self._store.read(name, 0, None)))

    def verify(self, key: str, *, size: int, digest: str) -> None:
        """Read back what was written. Raises Damaged where the store gives other bytes, Missing where none."""
        if not self.holds(key, size=size, digest=digest):
            raise Damaged("The storage gives back other bytes than were sent. Check it, and do not rely on it.")

    def stat(self, key: str) -> Stat | None:
        """What the store says of an object; None if there is none."""
        return self._stat(self._name(key))

    def delete(self, key: str) -> None:
        """Raises Missing, where the store tells."""
        name = self._name(key)
        self._persist(lambda: self._store.delete(name), settle=lambda: None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Stat]:
        """Objects whose key begins so and comes after another, in the order of their UTF-8 bytes; page by page."""
        last = self._prefix + after if after else ""
        failures = empty = 0
        while True:
            try:
                for page in self._store.pages(self._prefix + prefix, last):
                    # RGW begins its list with the name after which it should.
                    later = [found for found in page if found.key != last]
                    failures, empty = 0, 0 if later else empty + 1
                    if empty > MAX_EMPTY_PAGES or (later and self._is_circle(page, last)):
                        raise Damaged("The storage says again and again that its list goes on. It cannot be listed.")
                    for found in later:
                        last = found.key
                        yield self._ours(found)
                return
            except Interrupted as error:
                failures += 1
                if failures == self._tries:
                    raise
                self._pause(failures, error)

    def _is_circle(self, page: Sequence[Stat], last: str) -> bool:
        """Whether a page brings only what has come before it."""
        if self._store.by_name:
            return all(found.key <= last for found in page)
        return page[-1].key == last

    def steps(self) -> Sequence[NamedStep]:
        """The first steps of the test, which the provider knows."""
        return self._store.steps()

    @property
    def _store(self) -> Store:
        store: Store = self._of_this_thread()
        return store

    def _of_this_thread(self) -> Any:
        if not hasattr(self._local, "store"):
            self._local.store = self._open_store()
        return self._local.store

    def _name(self, key: str) -> str:
        """The whole name of a key. Raises BadValue for one that is no name in any store, or too long for this one."""
        if not object_keys.FORBIDDEN_SEGMENTS.isdisjoint(key.split("/")) or "\0" in key:
            raise BadValue(f"{key[:200]!r} cannot be the name of an object.")
        name = self._prefix + key
        if (length := len(name.encode(errors="surrogateescape"))) > self._store.longest:
            limit = f"it has {length:,} bytes, and the storage takes {self._store.longest:,}"
            raise BadValue(f"{key[:60]!r}… cannot be the name of an object: {limit}.")
        return name

    def _ours(self, found: Stat) -> Stat:
        return replace(found, key=found.key.removeprefix(self._prefix))

    def _stat(self, name: str) -> Stat | None:
        found = self._persist(lambda: self._store.stat(name))
        return self._ours(found) if found else None

    def _require_ours(self, content: Content, error: Taken) -> None:
        """Raises BadValue where something else lies under the key; an earlier run of ours may have written it."""
        if not self.holds(content.key, size=content.size, digest=content.digest, came=content.came):
            raise BadValue(KEY_HAS_OTHER_CONTENT) from error

    def _persist(
        self,
        request: Callable[[], T],
        *,
        settle: Callable[[], T] | None = None,
        guard: Callable[[], None] | None = None,
    ) -> T:
        """Carry out a request, again where it was interrupted.

        The first try may have succeeded without our knowing: where a later one is refused as Taken or Missing, `settle`
        decides. `guard` looks whether a later try would write over an object, in a store that refuses nothing.
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
        self._wait(min(MAX_PAUSE, max(error.after, FIRST_PAUSE * 2 ** (failures - 1))))


def checked_chunks(chunks: Iterable[bytes], *, size: int, digest: str) -> Iterator[bytes]:
    """The chunks; raises Damaged before the end of what was not announced so, and thus nothing of it appears."""
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
