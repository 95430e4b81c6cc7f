"""A bucket or container as a destination: objects go by one request, or by parts that are on their way at once."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from portal.errors import Missing, PortalError, Taken
from portal.storage_drivers.destination import ABANDONED_AFTER, READ_BACK_DIFFERS, Destination, Guard, checked_chunks
from portal.storage_drivers.multipart import Buffers, Parts, PartSender
from portal.storage_drivers.store import (
    MIB,
    Content,
    ObjectLost,
    ObjectStore,
    Part,
    ReadBackDiffers,
    Unsupported,
    Upload,
)

UPLOAD_LOST = (
    "The storage has lost the upload, or a part of it, before its end. The object is sent again from its start."
)
OBJECT_LOST = "The storage said that it took the object, but does not have it. Check it, and do not rely on it."


class ObjectStoreDestination(Destination):
    """One that takes requests: what was interrupted is asked again, what is large goes by parts."""

    def __init__(self, open_store: Callable[[], ObjectStore], *, lanes: int = 1, **options: Any) -> None:
        super().__init__(open_store, **options)
        self._buffers = Buffers()
        self._lanes = PartSender(lanes)

    def expect(self, objects: int) -> None:
        """Nothing: a thread opens its store when it needs it."""

    def share(self, number: int) -> None:
        self._lanes.open(number)

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        name = self._name(key)
        if not overwrite:
            self._refuse_taken(name)
        sound = checked_chunks(chunks, size=size, digest=digest)
        if size <= self._store.small:
            self._put_whole(name, b"".join(sound), digest, overwrite)
        else:
            self._put_parts(name, sound, size, digest, overwrite)

    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        return [self._error_of(content, overwrite) for content in contents]

    def _error_of(self, content: Content, overwrite: bool) -> PortalError | None:
        try:
            self._deliver(content, overwrite)
        except PortalError as error:
            return error
        return None

    def _deliver(self, content: Content, overwrite: bool) -> None:
        size, digest = content.size, content.digest
        try:
            self.put(content.key, content.chunks(), size=size, digest=digest, overwrite=overwrite)
        except Taken as error:
            return self._require_ours(content, error)
        content.sent = True
        try:
            is_whole = self.holds(content.key, size=size, digest=digest, came=content.came)
        except Missing as error:
            raise ObjectLost(OBJECT_LOST) from error
        if not is_whole:
            raise ReadBackDiffers(READ_BACK_DIFFERS)
        return None

    def leftovers(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:
        before = datetime.now(UTC) - older
        for upload in self._store.unfinished(self._prefix):
            if upload.since is not None and upload.since < before:
                yield upload.name.removeprefix(self._prefix), upload

    def refuses(self, key: str, body: bytes) -> bool:
        name = self._name(key)
        try:
            self._store.put(name, body, digest=hashlib.sha256(body).hexdigest(), overwrite=False)
        except Taken:
            return True
        except Unsupported:
            return False
        return False

    @property
    def _store(self) -> ObjectStore:
        store: ObjectStore = self._of_this_thread()
        return store

    def _guard(self, name: str, overwrite: bool) -> Guard:
        return None if overwrite else lambda: self._refuse_taken(name)

    def _refuse_taken(self, name: str) -> None:
        if not self._store.create_only and self._stat(name) is not None:
            raise Taken("Something has that name there already.")

    def _put_whole(self, name: str, body: bytes, digest: str, overwrite: bool) -> None:
        def request() -> None:
            self._store.put(name, body, digest=digest, overwrite=overwrite)

        self._persist(
            request, settle=lambda: self._settled(name, len(body), digest), guard=self._guard(name, overwrite)
        )

    def _put_parts(self, name: str, chunks: Iterable[bytes], size: int, digest: str, overwrite: bool) -> None:
        store = self._store
        length = max(store.part, math.ceil(size / store.most_parts / MIB) * MIB)
        upload = self._persist(lambda: store.begin(name, size=size, overwrite=overwrite))
        try:
            parts = Parts(chunks, size=size, length=length, digests=store.signs, buffers=self._buffers)
            self._send_parts(upload, parts)
            settle = lambda: self._settled(name, size, digest)  # noqa: E731
            self._persist(lambda: store.finish(upload), settle=settle, guard=self._guard(name, overwrite))
        except Missing as error:
            if not self._is_there(name, size, digest):
                self._forget(upload)
                raise ObjectLost(UPLOAD_LOST) from error
        except BaseException:
            self._forget(upload)
            raise

    def _forget(self, upload: Upload) -> None:
        with contextlib.suppress(PortalError):
            self._abort(upload)

    def _abort(self, upload: Upload) -> None:
        self._store.abort(upload)

    def _send_parts(self, upload: Upload, parts: Parts) -> None:
        """Several at once, where the store takes them in any order."""
        if self._store.any_order:
            self._lanes.send(parts, partial(self._send, upload))
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
