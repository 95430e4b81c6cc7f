"""One storage's place for objects of ours: keys below its prefix, create-only, checked as they pass, tried again."""

import contextlib
import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from portal.errors import BadValue, Damaged, Missing, PortalError, Taken
from portal.models import now
from portal.storage.parts import Buffers, Lanes, Parts
from portal.storage.store import CHUNK, MIB, Interrupted, NotKept, Part, Stat, Step, Store, Unsupported, Upload

__all__ = ["CHUNK", "Destination", "Stat"]

TRIES = 4
PAUSE = 0.5
"""Seconds before the second try; each later one waits twice as long."""
LONGEST_PAUSE = 20.0
"""Seconds, also where the server asks for more: the job comes back later then."""
FORGOTTEN = "The storage has lost the upload, or a part of it, before its end. The object is sent again from its start."
MOST_EMPTY = 1000
"""Pages of a list in a row on which nothing is."""
LEFT_AFTER = timedelta(days=1)
"""Age of an unfinished upload that no run can be working on any more."""

T = TypeVar("T")


class Destination:
    """Any number of threads may share one; each gets a store of its own, since a shared driver mixes up answers.

    Raises what `Store` says. What was interrupted is tried again, `tries` times in all, with `wait` between.
    """

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        prefix: str,
        tries: int = TRIES,
        wait: Callable[[float], None] = time.sleep,
        lanes: int = 1,
    ) -> None:
        self._open_store = open_store
        self._prefix = f"{prefix}/" if prefix else ""
        self._tries = tries
        self._wait = wait
        self._local = threading.local()
        self._buffers = Buffers()
        self.lanes = Lanes(lanes)

    @property
    def create_only(self) -> bool:
        """Whether the store itself refuses to write over an object; else we look before we write."""
        return bool(self._store.create_only)

    @property
    def mount(self) -> str:
        """Where its disk is mounted, once it was reached; empty for that of the system, and for what is no folder."""
        return self._store.mount

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        """Write an object; it is whole and durable at its key when this returns, else nothing of it is there.

        Raises Taken where something is there already, which stays as it is, unless `overwrite`; Damaged where the
        chunks are not what `size` and `digest` (SHA-256) say; NotKept where the store has lost parts on the way. A
        store that does not refuse by itself is looked at first: of two writers at the same moment, the later one wins
        there.
        """
        name = self._name(key)
        if not overwrite:
            self._refuse_taken(name)
        checked = _checked(chunks, size=size, digest=digest)
        if size <= self._store.small:
            self._put_whole(name, b"".join(checked), digest, overwrite)
        else:
            self._put_parts(name, checked, size, digest, overwrite)

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
                    if empty > MOST_EMPTY or (later and self._is_circle(page, last)):
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

    def leftovers(self, older: timedelta = LEFT_AFTER) -> Iterator[tuple[str, Upload]]:
        """Uploads under the prefix that nobody will finish, each with its key."""
        before: datetime = now() - older
        for upload in self._store.unfinished(self._prefix):
            if upload.since is not None and upload.since < before:
                yield upload.name.removeprefix(self._prefix), upload

    def tidy(self, ours: Callable[[str], bool], older: timedelta = LEFT_AFTER) -> int:
        """Abort the leftovers whose key is one of `ours` (another program may use the bucket); returns how many."""
        found = [upload for key, upload in self.leftovers(older) if ours(key)]
        for upload in found:
            self._store.abort(upload)
        return len(found)

    def steps(self) -> Sequence[Step]:
        """The first steps of the test, which the provider knows."""
        return self._store.steps()

    def refuses(self, key: str, body: bytes) -> bool:
        """Ask the store to write over an object without a look before; whether it refuses. For the test alone."""
        name = self._name(key)
        try:
            self._store.put(name, body, digest=hashlib.sha256(body).hexdigest(), overwrite=False)
        except Taken:
            return True
        except Unsupported:
            return False
        return False

    @property
    def _store(self) -> Store:
        if not hasattr(self._local, "store"):
            self._local.store = self._open_store()
        store: Store = self._local.store
        return store

    def _name(self, key: str) -> str:
        """The whole name of a key. Raises BadValue for one that is no name in any store, or too long for this one."""
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in key:
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

    def _refuse_taken(self, name: str) -> None:
        if not self._store.create_only and self._stat(name) is not None:
            raise Taken("Something has that name there already.")

    def _put_whole(self, name: str, body: bytes, digest: str, overwrite: bool) -> None:
        def request() -> None:
            self._store.put(name, body, digest=digest, overwrite=overwrite)

        self._persist(request, settle=lambda: self._settled(name, len(body), digest), guard=not overwrite and name)

    def _put_parts(self, name: str, chunks: Iterable[bytes], size: int, digest: str, overwrite: bool) -> None:
        store = self._store
        length = max(store.part, math.ceil(size / store.most_parts / MIB) * MIB)
        upload = self._persist(lambda: store.begin(name, size=size, overwrite=overwrite))
        try:
            parts = Parts(chunks, size=size, length=length, digests=store.signs, buffers=self._buffers)
            self._send_parts(upload, parts)
            settle = lambda: self._settled(name, size, digest)  # noqa: E731
            self._persist(lambda: store.finish(upload), settle=settle, guard=not overwrite and name)
        except Missing as error:
            if not self._is_there(name, size, digest):
                self._abort(upload)
                raise NotKept(FORGOTTEN) from error
        except BaseException:
            self._abort(upload)
            raise

    def _abort(self, upload: Upload) -> None:
        with contextlib.suppress(PortalError):
            self._store.abort(upload)

    def _send_parts(self, upload: Upload, parts: Parts) -> None:
        """Several at once, where the store takes them in any order."""
        if self._store.any_order:
            self.lanes.send(parts, partial(self._send, upload))
        else:
            for part in parts:
                self._send(upload, part)

    def _send(self, upload: Upload, part: Part) -> None:
        try:
            self._persist(lambda: self._store.send(upload, part))
        finally:
            self._buffers.give_back(part)

    def _is_there(self, name: str, size: int, digest: str) -> bool:
        """Whether an upload that the store no longer knows has ended well: the answer to its end may have got lost."""
        try:
            return self.holds(name.removeprefix(self._prefix), size=size, digest=digest)
        except Missing:
            return False

    def _settled(self, name: str, size: int, digest: str) -> None:
        """An earlier try may have written it: what is there is ours if it has our content. Raises Taken or Missing."""
        if not self.holds(name.removeprefix(self._prefix), size=size, digest=digest):
            raise Taken("Something has that name there already.")

    def _persist(
        self, request: Callable[[], T], *, settle: Callable[[], T] | None = None, guard: str | bool = False
    ) -> T:
        """Carry out a request, again where it was interrupted.

        The first try may have succeeded without our knowing: where a later one is refused as Taken or Missing, `settle`
        decides. `guard` names the object that a later try would write over in a store that refuses nothing.
        """
        failures = 0
        while True:
            try:
                if failures and isinstance(guard, str):
                    self._refuse_taken(guard)
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
        self._wait(min(LONGEST_PAUSE, max(error.after, PAUSE * 2 ** (failures - 1))))


def _checked(chunks: Iterable[bytes], *, size: int, digest: str) -> Iterator[bytes]:
    """The chunks; raises before the end where they are not what was announced, so that nothing of them appears."""
    running = hashlib.sha256()
    seen = 0
    for chunk in chunks:
        running.update(chunk)
        seen += len(chunk)
        if seen > size:
            break
        yield chunk
    if seen != size or running.hexdigest() != digest:
        raise Damaged("The bytes to be sent are not those that were taken in. Check the archive: portal verify")
