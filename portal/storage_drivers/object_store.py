"""A bucket or container as a destination: objects are sent in one request, or in several parts at once."""

import contextlib
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast

from portal.errors import BadValue, Missing, PortalError, Taken
from portal.storage_drivers.destination import (
    ABANDONED_AFTER,
    KEY_HAS_OTHER_CONTENT,
    READ_BACK_DIFFERS,
    Destination,
    checked_chunks,
)
from portal.storage_drivers.multipart import Buffers, Parts, PartSender
from portal.storage_drivers.store import (
    MIB,
    NAME_TAKEN,
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
OBJECT_LOST = "The storage said that it accepted the object, but does not have it. Check it, and do not rely on it."


class ObjectStoreDestination(Destination):
    """A destination that is written by requests: interrupted ones are retried, large objects are sent in parts."""

    def __init__(self, open_store: Callable[[], ObjectStore], *, threads: int = 1, **options: Any) -> None:
        super().__init__(open_store, **options)
        self._buffers = Buffers()
        self._part_sender = PartSender(threads)

    def expect(self, objects: int) -> None:
        """Nothing: a thread opens its store when it needs it."""

    def put(self, key: str, chunks: Iterable[bytes], *, size: int, digest: str, overwrite: bool = False) -> None:
        name = self._name(key)
        if not overwrite:
            self._refuse_taken(key)
        chunks = checked_chunks(chunks, size=size, digest=digest)

        # An earlier try may have written it without our knowing: then what is there has our content.
        def settle() -> None:
            if not self.holds(key, size=size, digest=digest):
                raise Taken(NAME_TAKEN)

        guard = None if overwrite else lambda: self._refuse_taken(key)
        if size <= self._store.max_put_size:
            body = b"".join(chunks)
            put = lambda: self._store.put(name, body, digest=digest, overwrite=overwrite)  # noqa: E731
            self._retried(put, settle=settle, guard=guard)
            return

        upload = self._retried(lambda: self._store.begin(name, size=size, overwrite=overwrite))
        try:
            self._send_in_parts(upload, chunks)
            self._retried(lambda: self._store.finish(upload), settle=settle, guard=guard)
        except Missing as error:
            # The upload may have ended well, and only the answer to its end have got lost.
            with contextlib.suppress(Missing):
                if self.holds(key, size=size, digest=digest):
                    return
            self._forget(upload)
            raise ObjectLost(UPLOAD_LOST) from error
        except BaseException:
            self._forget(upload)
            raise

    def deliver(self, contents: Sequence[Content], *, overwrite: bool) -> list[PortalError | None]:
        errors: list[PortalError | None] = []
        for content in contents:
            try:
                self._deliver_one(content, overwrite)
                errors.append(None)
            except PortalError as error:
                errors.append(error)
        return errors

    def _deliver_one(self, content: Content, overwrite: bool) -> None:
        size, digest = content.size, content.digest
        try:
            self.put(content.key, content.chunks(), size=size, digest=digest, overwrite=overwrite)
        except Taken as error:
            # An earlier run of ours may have written it.
            if not self.holds(content.key, size=size, digest=digest, on_read=content.on_read):
                raise BadValue(KEY_HAS_OTHER_CONTENT) from error
            return
        content.sent = True
        try:
            is_whole = self.holds(content.key, size=size, digest=digest, on_read=content.on_read)
        except Missing as error:
            raise ObjectLost(OBJECT_LOST) from error
        if not is_whole:
            raise ReadBackDiffers(READ_BACK_DIFFERS)

    def refuses_overwrite(self, key: str, body: bytes) -> bool:
        name = self._name(key)
        try:
            self._store.put(name, body, digest=hashlib.sha256(body).hexdigest(), overwrite=False)
        except Taken:
            return True
        except Unsupported:
            return False
        return False

    def limit_parts(self, number: int) -> None:
        self._part_sender.limit(number)

    def unfinished_uploads(self, older: timedelta = ABANDONED_AFTER) -> Iterator[tuple[str, Upload]]:
        before = datetime.now(UTC) - older
        for upload in self._store.unfinished_uploads(self._prefix):
            if upload.started is not None and upload.started < before:
                yield upload.name.removeprefix(self._prefix), upload

    def abort_unfinished(self, is_ours: Callable[[str], bool], older: timedelta = ABANDONED_AFTER) -> int:
        uploads = [upload for key, upload in self.unfinished_uploads(older) if is_ours(key)]
        for upload in uploads:
            self._store.abort(upload)
        return len(uploads)

    @property
    def _store(self) -> ObjectStore:
        return cast(ObjectStore, super()._store)

    def _refuse_taken(self, key: str) -> None:
        if not self._store.create_only and self.stat(key) is not None:
            raise Taken(NAME_TAKEN)

    def _send_in_parts(self, upload: Upload, chunks: Iterable[bytes]) -> None:
        """Several at once, where the store accepts them in any order."""
        store = self._store
        length = max(store.min_part_size, math.ceil(upload.size / store.max_parts / MIB) * MIB)
        parts = Parts(chunks, size=upload.size, length=length, digests=store.needs_part_digest, buffers=self._buffers)
        if store.any_part_order:
            self._part_sender.send_all(parts, partial(self._send, upload))
        else:
            for part in parts:
                self._send(upload, part)

    def _send(self, upload: Upload, part: Part) -> None:
        try:
            self._retried(lambda: self._store.send(upload, part))
        finally:
            self._buffers.give_back(part)

    def _forget(self, upload: Upload) -> None:
        with contextlib.suppress(PortalError):
            self._store.abort(upload)
