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
"""A zip knows no year before."""
FILES_PER_QUERY = 500


@dataclass(frozen=True, kw_only=True)
class SessionZip:
    """What a zip will hold; nothing is read from the archive before `chunks`."""

    name: str
    """`LABEL.zip`, as every file system takes it."""
    members: tuple[tuple[str, datetime, Blob], ...]

    @property
    def size(self) -> int:
        """Bytes of the files alone."""
        return sum(blob.size for _, _, blob in self.members)

    def chunks(self) -> Iterator[bytes]:
        """The zip. Raises Damaged before the last bytes of a file that is not what was received: the zip ends there,
        so that nobody takes it for a whole one."""
        return stream_zip((path, moment, blob.size, _content(blob)) for path, moment, blob in self.members)


def stream_zip(members: Iterable[tuple[str, datetime, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """A zip of paths with moment, size and bytes, stored without compression (pixels hardly shrink)."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        for path, moment, size, content in members:
            with packed.open(_member(path, moment, size), "w") as member:
                for chunk in content:
                    member.write(chunk)
                    yield sink.take()
            yield sink.take()
    yield sink.take()


def prepare(session_id: int, scope: Scope) -> SessionZip:
    """The live files of a session in the folders of its acquisitions, but for those that are held or superseded.

    Raises Missing, also for a session without files.
    """
    session = containers.get("session", session_id, scope)
    found = walk.session_keys(session_id, session.label)
    blobs = _blobs([file_id for _, file_id in found])
    members = tuple((path, *blobs[file_id]) for path, file_id in found if file_id in blobs)
    if not members:
        raise Missing("The session has no files that could be downloaded.")
    return SessionZip(name=f"{object_keys.shorten(object_keys.segment(session.label), room=4)}.zip", members=members)


def record_download(session_id: int, packed: SessionZip, *, actor: Actor) -> None:
    """Write down that somebody takes the files of a session away."""
    with writing():
        audit.record(actor, "session:downloaded", "session", session_id, files=len(packed.members), bytes=packed.size)


def _content(blob: Blob) -> Iterator[bytes]:
    with closing(files.open_blob(blob)[0]) as content:
        yield from content


def _blobs(numbers: list[int]) -> dict[int, tuple[datetime, Blob]]:
    found: dict[int, tuple[datetime, Blob]] = {}
    for begin in range(0, len(numbers), FILES_PER_QUERY):
        rows = File.select(File, Blob).join(Blob).where(File.id.in_(numbers[begin : begin + FILES_PER_QUERY]))
        found |= {row.id: (row.created, row.blob) for row in rows}
    return found


def _member(path: str, moment: datetime, size: int) -> zipfile.ZipInfo:
    """The header of a file; its size is said beforehand, so that a large one gets its 64-bit fields."""
    at = moment.astimezone(UTC)
    told = zipfile.ZipInfo(path, (max(at.year, EARLIEST_YEAR), at.month, at.day, at.hour, at.minute, at.second))
    told.file_size = size
    told.external_attr = 0o600 << 16
    return told


class _Sink:
    """Where the zip is written to: it keeps what came since it was last asked, and cannot go back."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken
