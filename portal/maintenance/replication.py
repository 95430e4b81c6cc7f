"""Replication of closed segments to the bucket: sent, read back and compared before a local copy may be deleted."""

import contextlib
import hashlib
import logging
import time
from collections.abc import Iterator
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
from portal.maintenance.release import Check, no_check
from portal.models import Segment, now, writing

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a segment that failed is retried; each later try waits twice as long."""
RECHECK_SECONDS = 3600.0
"""Seconds between two tries of what the bucket has lost, changed, or refused to delete."""


class Replicator:
    """Replicates closed segments one after the other; only one process of a site does so at a time."""

    def __init__(self, bucket: Bucket, check: Check = no_check, *, settled: float = recovery.SETTLED_SECONDS) -> None:
        self._bucket, self._check, self._settled = bucket, check, settled
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}
        self._rechecked = time.monotonic()
        self._has_begun = False
        self._deletion_due = 0.0

    def begin(self) -> None:
        """Clean up after a killed run: partial objects at the store, and segments there that have no row."""
        with _logged("the bucket cannot be listed"):
            self._bucket.destination().abort_unfinished(segment_copies.is_here, older=timedelta(0))
            segment_copies.adopt_unknown(self._bucket)
            self._has_begun = True

    def turn(self) -> int:
        """Replicate each segment that is closed and due, then tidy up; returns how many were replicated."""
        replicated = 0
        if not self._has_begun:
            self.begin()  # the bucket did not answer before
        for name in closed_unverified(self._settled):
            self._check()
            if time.monotonic() < self._due.get(name, 0):
                continue
            try:
                replicated += replicate(self._bucket, name, self._check)
            except OSError as error:  # what this disk cannot read is damage of one segment
                message = f"Segment {name} cannot be read here: {error.strerror}. Restore it from a backup."
                self._put_off(name, message)
            except PortalError as error:
                self._put_off(name, error.message)
                if not isinstance(error, (Damaged, Taken)):
                    break  # the other segments would fail too

        with _logged("a segment of the bucket cannot be read"):
            segment_copies.read_next_digests(self._bucket, self._check)
        if time.monotonic() >= self._deletion_due:
            try:
                release.drop_from_bucket(self._bucket, self._check)
            except PortalError as error:
                self._deletion_due = time.monotonic() + RECHECK_SECONDS  # the account may have no right to delete
                log.warning("no purged segment can be deleted in the bucket: %s", error.message)
        if time.monotonic() - self._rechecked > RECHECK_SECONDS:
            self._rechecked = time.monotonic()
            retry_damaged(self._bucket, self._check)
        with _logged("no local copy can be deleted"):
            segment_copies.trim(self._bucket)
        return replicated

    def _put_off(self, name: str, message: str) -> None:
        """Retry a segment later, each time after twice the pause."""
        log.warning("segment %s waits: %s", name, message)
        with writing():
            Segment.update(message=message).where(Segment.name == name).execute()
        pause = min(LONGEST_PAUSE, 2 * self._pauses.get(name, FIRST_PAUSE / 2))
        self._pauses[name], self._due[name] = pause, time.monotonic() + pause


@contextlib.contextmanager
def _logged(problem: str) -> Iterator[None]:
    """Log what the bucket refuses: the next turn tries again."""
    try:
        yield
    except PortalError as error:
        log.warning("%s: %s", problem, error.message)


def closed_unverified(settled: float = recovery.SETTLED_SECONDS) -> list[str]:
    """Closed segments on this disk that are not verified in the bucket, oldest first; each has a row afterwards."""
    archive = runtime.archive()
    rows: Any = Segment.select(Segment.name, Segment.verified.is_null(False) & (Segment.digest != "")).tuples()
    is_verified = {name: bool(value) for name, value in rows}
    closed = []
    for name in archive.segments():
        status = segment_copies.stat(name)
        if (
            is_verified.get(name)
            or status is None
            or status.st_size <= recovery.EMPTY_SIZE
            or recovery.was_just_written(status.st_mtime, settled)
        ):
            continue
        if name not in is_verified:
            with contextlib.suppress(OSError), archive.at_rest(name) as resting:
                if not resting:
                    continue
            with writing():
                Segment.insert(name=name, size=status.st_size).on_conflict_ignore().execute()
        closed.append((status.st_mtime, name))
    return [name for _, name in sorted(closed)]


def replicate(bucket: Bucket, name: str, check: Check = no_check) -> bool:
    """Send one segment to the bucket and verify it there; False if it is not closed after all.

    Its lock is held meanwhile, so that nobody appends to it, cuts it or takes it for at rest.
    """
    archive = runtime.archive()
    with archive.at_rest(name) as resting:
        if not resting:
            return False
        recovery.finish_segment(name)
        path = archive.path(name)
        if not path.exists() or path.stat().st_size <= recovery.EMPTY_SIZE:
            with writing():  # it contained only a torn record: there is nothing to send
                Segment.delete().where(Segment.name == name, Segment.verified.is_null()).execute()
            return False
        row = _row_with_digests(name, path, check)
        destination = bucket.destination()
        # An object of the same size is there if an earlier run was killed before it recorded that.
        stored = destination.stat(name)
        if stored is None:
            bandwidth = Bandwidth(bucket.bandwidth)
            try:
                destination.put(name, _chunks(path, bandwidth, check), size=row.size, digest=row.digest)
            except Taken:
                log.info("segment %s is in the bucket already", name)
        elif stored.size != row.size:
            raise Taken(f"The bucket has another object under the name {name}; it was left unchanged.")
        verify(bucket, row, check)
    return True


def verify(bucket: Bucket, row: Segment, check: Check = no_check) -> None:
    """Read a segment back in blocks, compare it, and record that it is verified. Raises Damaged, Missing."""
    bandwidth = Bandwidth(bucket.bandwidth)
    for number, (start, size) in enumerate(block_spans(row.size)):
        check()
        bandwidth.wait(size, check)
        content = b"".join(bucket.destination().read(row.name, start, size))
        if hashlib.sha256(content).digest() != bytes(row.blocks[DIGEST_SIZE * number : DIGEST_SIZE * (number + 1)]):
            raise Damaged(
                f"The bucket returns other bytes of segment {row.name} than were sent. Check the store; "
                "once the object is deleted there, it is sent again."
            )
    with writing():
        Segment.update(verified=now(), message="", damage="").where(Segment.id == row.id).execute()


def retry_damaged(bucket: Bucket, check: Check = no_check) -> None:
    """Verify damaged segments again: somebody may have restored them. Those on this disk are sent again."""
    for row in list(Segment.select().where(Segment.damage != "")):
        try:
            if segment_copies.is_here(row.name) and segment_copies.is_intact(row.name):
                segment_copies.mark_for_replication(row.name)
            else:
                segment_copies.read_digests(bucket, row.name, check)
                verify(bucket, Segment.get_by_id(row.id), check)
        except PortalError as error:
            log.warning("segment %s: %s", row.name, error.message)


def _row_with_digests(name: str, path: Path, check: Check) -> Segment:
    """The row of a segment at rest, whose digests are read only once."""
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
        columns = {"size": size, "digest": whole.hexdigest(), "blocks": bytes(blocks)}
        Segment.insert(name=name, **columns).on_conflict(conflict_target=[Segment.name], update=columns).execute()
    written: Segment = Segment.get(Segment.name == name)
    return written


def _chunks(path: Path, bandwidth: Bandwidth, check: Check) -> Iterator[bytes]:
    """The bytes of a file, no faster than the bandwidth allows."""
    with path.open("rb") as file:
        while chunk := file.read(bandwidth.piece_size(CHUNK)):
            check()
            bandwidth.wait(len(chunk), check)
            yield chunk
