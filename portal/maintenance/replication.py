"""Bringing closed segments to the bucket: sent, read back, compared; only then may the copy here go."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from portal import runtime
from portal.archive.bucket import Bucket
from portal.archive.remote import DIGEST_SIZE, block_spans
from portal.archive.slices import CHUNK
from portal.errors import Damaged, PortalError, Taken
from portal.jobs.bandwidth import Bandwidth
from portal.maintenance import recovery, release, segment_copies
from portal.models import Segment, now, writing

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a segment that failed is tried again; each later try waits twice as long."""
RECHECK_SECONDS = 3600.0
"""Seconds between two looks at what the bucket has lost or changed."""

Check = Callable[[], None]
"""Called between two pieces; it may raise to end the work."""


def _go_on() -> None:
    """Nobody asks for an end."""


class Replicator:
    """Brings what is closed to the bucket, one segment after the other; one of a site works at a time."""

    def __init__(self, bucket: Bucket, check: Check = _go_on, *, settled: float = recovery.SETTLED_SECONDS) -> None:
        self._bucket, self._check, self._settled = bucket, check, settled
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._looked = time.monotonic()
        self._has_begun = False
        self._drop_due = 0.0

    def begin(self) -> None:
        """What a killed run left: parts at the store, and segments that it has and no row knows."""
        try:
            self._bucket.destination().abort_unfinished(segment_copies.is_here, older=timedelta(0))
            segment_copies.adopt_unknown(self._bucket)
            self._has_begun = True
        except PortalError as error:
            log.warning("the bucket cannot be looked through: %s", error.message)

    def turn(self) -> int:
        """Bring each segment that is closed and due; returns how many are there now that were not before."""
        brought = 0
        if not self._has_begun:
            self.begin()  # the bucket was away before
        for name in closed_unverified(self._settled):
            self._check()
            if time.monotonic() < self._due.get(name, 0):
                continue
            try:
                with _readable(name):
                    brought += replicate(self._bucket, name, self._check)
            except PortalError as error:
                self._put_off(name, error)
                if not isinstance(error, (Damaged, Taken)):
                    break  # the others would meet it too
        self._learn()
        self._drop_emptied()
        if time.monotonic() - self._looked > RECHECK_SECONDS:
            self._looked = time.monotonic()
            retry_damaged(self._bucket, self._check)
        self._trim()
        return brought

    def _learn(self) -> None:
        try:
            segment_copies.read_next_digests(self._bucket, self._check)
        except PortalError as error:
            log.warning("a segment of the bucket cannot be read through: %s", error.message)

    def _drop_emptied(self) -> None:
        """An account that may delete nothing there is asked for it once an hour."""
        if time.monotonic() < self._drop_due:
            return
        try:
            release.drop_from_bucket(self._bucket, self._check)
        except PortalError as error:
            self._drop_due = time.monotonic() + RECHECK_SECONDS
            log.warning("no purged segment can be deleted in the bucket: %s", error.message)

    def _trim(self) -> None:
        try:
            segment_copies.trim(self._bucket)
        except PortalError as error:
            log.warning("no copy here can be dropped: %s", error.message)

    def _put_off(self, name: str, error: PortalError) -> None:
        log.warning("segment %s waits: %s", name, error.message)
        with writing():
            Segment.update(message=error.message).where(Segment.name == name).execute()
        pause = min(LONGEST_PAUSE, 2 * self._pauses.get(name, FIRST_PAUSE / 2))
        self._pauses[name], self._due[name] = pause, time.monotonic() + pause


def closed_unverified(settled: float = recovery.SETTLED_SECONDS) -> list[str]:
    """Segments that are here, are closed and not proved, each with a row; those that closed first come first."""
    archive = runtime.archive()
    rows: Any = Segment.select(Segment.name, Segment.verified.is_null(False) & (Segment.digest != "")).tuples()
    is_proved = {name: bool(told) for name, told in rows}
    found = []
    for name in archive.segments():
        told = segment_copies.stat(name)
        if (
            is_proved.get(name)
            or told is None
            or told.st_size <= recovery.EMPTY_SIZE
            or recovery.was_just_written(told.st_mtime, settled)
        ):
            continue
        if name not in is_proved:
            with contextlib.suppress(OSError), archive.at_rest(name) as resting:
                if not resting:
                    continue
            with writing():
                Segment.insert(name=name, size=told.st_size).on_conflict_ignore().execute()
        found.append((told.st_mtime, name))
    return [name for _, name in sorted(found)]


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """What this disk does not give is damage of one segment, and holds up no other."""
    try:
        yield
    except OSError as error:
        raise Damaged(f"Segment {name} cannot be read here: {error.strerror}. Restore it from a backup.") from error


def replicate(bucket: Bucket, name: str, check: Check = _go_on) -> bool:
    """Bring one segment to the bucket and prove that it is there; False where it is not closed after all.

    Its lock is held meanwhile, so that nobody appends to it, cuts it or takes it for at rest.
    """
    archive = runtime.archive()
    with archive.at_rest(name) as resting:
        if not resting:
            return False
        recovery.finish_segment(name)
        path = archive.path(name)
        if not path.exists() or path.stat().st_size <= recovery.EMPTY_SIZE:
            with writing():  # only a torn record was in it: nothing waits
                Segment.delete().where(Segment.name == name, Segment.verified.is_null()).execute()
            return False
        row = _row(name, path, check)
        _send(bucket, row, path, check)
        verify(bucket, row, check)
    return True


def verify(bucket: Bucket, row: Segment, check: Check = _go_on) -> None:
    """Read a segment back as it will be read, by ranges, and write down that it is there. Raises Damaged, Missing."""
    bandwidth = Bandwidth(bucket.bandwidth)
    for number, (start, size) in enumerate(block_spans(row.size)):
        check()
        bandwidth.wait(size, check)
        content = b"".join(bucket.destination().read(row.name, start, size))
        if hashlib.sha256(content).digest() != bytes(row.blocks[DIGEST_SIZE * number : DIGEST_SIZE * (number + 1)]):
            raise Damaged(
                f"The bucket gives back other bytes of segment {row.name} than were sent. Check the store; "
                "once the object is removed there, it is sent again."
            )
    with writing():
        Segment.update(verified=now(), message="", damage="").where(Segment.id == row.id).execute()


def retry_damaged(bucket: Bucket, check: Check = _go_on) -> None:
    """Try what the bucket had lost or changed: somebody may have restored it. What is here is brought there anew."""
    for row in list(Segment.select().where(Segment.damage != "")):
        try:
            if segment_copies.is_here(row.name) and segment_copies.is_intact(row.name):
                segment_copies.mark_for_replication(row.name)
            else:
                segment_copies.read_digests(bucket, row.name, check)
                verify(bucket, Segment.get_by_id(row.id), check)
        except PortalError as error:
            log.warning("segment %s: %s", row.name, error.message)


def _row(name: str, path: Path, check: Check) -> Segment:
    """What is to be sent, with its digests; a file at rest keeps them."""
    size = path.stat().st_size
    row: Segment | None = Segment.get_or_none(Segment.name == name)
    if row is not None and row.digest and row.size == size:
        return row
    whole, blocks = hashlib.sha256(), bytearray()
    with path.open("rb") as file:
        for _, length in block_spans(size):
            check()
            content = file.read(length)
            whole.update(content)
            blocks += hashlib.sha256(content).digest()
    with writing():
        told = {"size": size, "digest": whole.hexdigest(), "blocks": bytes(blocks)}
        Segment.insert(name=name, **told).on_conflict(conflict_target=[Segment.name], update=told).execute()
    made: Segment = Segment.get(Segment.name == name)
    return made


def _send(bucket: Bucket, row: Segment, path: Path, check: Check) -> None:
    """Write the object, unless it is there: a run may have been killed before it wrote that down."""
    destination = bucket.destination()
    there = destination.stat(row.name)
    if there is not None and there.size != row.size:
        raise Taken(f"Something else lies in the bucket under the name {row.name}; it was left as it is.")
    if there is None:
        try:
            destination.put(
                row.name, _chunks(path, Bandwidth(bucket.bandwidth), check), size=row.size, digest=row.digest
            )
        except Taken:
            log.info("segment %s is in the bucket already", row.name)


def _chunks(path: Path, bandwidth: Bandwidth, check: Check) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(bandwidth.piece(CHUNK)):
            check()
            bandwidth.wait(len(chunk), check)
            yield chunk
