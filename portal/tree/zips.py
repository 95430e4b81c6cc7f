"""A session as a zip: written while it is sent, without a temporary file, each file checked against its digest."""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, cast

from portal.access import audit
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import Missing
from portal.models import Blob, File, writing
from portal.storage_drivers import object_keys
from portal.tree import containers, files, walk

EARLIEST_YEAR = 1980
"""The first year that a zip can store."""
FILES_PER_QUERY = 500


@dataclass(frozen=True, kw_only=True)
class SessionZip:
    """The content of a zip; nothing is read from the archive before `chunks`."""

    name: str
    """`LABEL.zip`, with a label that every file system takes."""
    members: tuple[tuple[str, datetime, Blob], ...]

    @property
    def size(self) -> int:
        """Bytes of the files alone."""
        return sum(blob.size for _, _, blob in self.members)

    def chunks(self) -> Iterator[bytes]:
        """The zip. Raises Damaged before the last bytes of a damaged file: the zip ends there, so that nobody takes it
        for a complete one."""

        def content(blob: Blob) -> Iterator[bytes]:
            with closing(files.open_blob(blob)[0]) as chunks:
                yield from chunks

        return stream_zip((path, moment, blob.size, content(blob)) for path, moment, blob in self.members)


def stream_zip(members: Iterable[tuple[str, datetime, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """A zip of paths with moment, size and bytes, stored without compression (pixels hardly shrink)."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        for path, moment, size, content in members:
            at = moment.astimezone(UTC)
            date_time = (max(at.year, EARLIEST_YEAR), at.month, at.day, at.hour, at.minute, at.second)
            info = zipfile.ZipInfo(path, date_time)
            info.file_size = size  # given beforehand, so that a large file gets its 64-bit fields
            info.external_attr = 0o600 << 16
            with packed.open(info, "w") as member:
                for chunk in content:
                    member.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def prepare(session_id: int, scope: Scope) -> SessionZip:
    """The live files of a session in the folders of its acquisitions, without those that are held or superseded.

    Raises Missing, also for a session without files.
    """
    session = containers.get("session", session_id, scope)
    keys = walk.session_keys(session_id, session.label)
    numbers = [file_id for _, file_id in keys]
    blobs: dict[int, tuple[datetime, Blob]] = {}
    for begin in range(0, len(numbers), FILES_PER_QUERY):
        rows = File.select(File, Blob).join(Blob).where(File.id.in_(numbers[begin : begin + FILES_PER_QUERY]))
        blobs |= {row.id: (row.created, row.blob) for row in rows}
    # A file that was purged since its key was read is left out.
    members = tuple((path, *blobs[file_id]) for path, file_id in keys if file_id in blobs)
    if not members:
        raise Missing("The session has no files that could be downloaded.")
    return SessionZip(name=f"{object_keys.shorten(object_keys.segment(session.label), room=4)}.zip", members=members)


def record_download(session_id: int, packed: SessionZip, *, actor: Actor) -> None:
    """Audit a download of the files of a session."""
    with writing():
        figures = {"files": len(packed.members), "bytes": packed.size}
        audit.record(actor, "session:downloaded", "session", session_id, **figures, session=session_id)


class _Sink:
    """What the zip is written to: it keeps the bytes since the last `take`, and cannot seek."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
