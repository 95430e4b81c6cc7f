"""The bucket that closed segments are replicated to (`PORTAL_ARCHIVE`): what it holds, and reading from it."""

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from portal import settings
from portal.archive.remote import KnownSegment
from portal.errors import Damaged, Missing, NotAllowed, PortalError, Unreachable
from portal.models import Segment, connection, writing

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

CONNECT_SECONDS, READ_SECONDS, TRIES = 3.0, 20.0, 2
"""Limits of reads, for which a person or a peer waits; replication has longer ones."""
MAX_KNOWN_SEGMENTS = 64
KNOWN_SECONDS = 60.0
"""The digests of a segment are cached for this long: they change where a better copy came back to this disk."""


class Bucket:
    """Connects only when something is read or written; safe to use from any number of threads.

    While it does not answer, every read raises Unreachable, whatever the reason: wrong credentials or rights lose no
    byte. Damaged is raised for what the bucket has lost or changed.
    """

    def __init__(self, chosen: settings.BucketSettings) -> None:
        self._chosen = chosen
        self.bandwidth = chosen.bandwidth
        self._lock = threading.Lock()
        self._opened: dict[tuple[int, bool], Destination] = {}
        self._known: dict[str, tuple[float, KnownSegment]] = {}
        self._unreachable_until, self._reason = 0.0, ""

    @property
    def words(self) -> str:
        """Its address, as a person writes it."""
        config, prefix = self._chosen.config, self._chosen.prefix
        endpoint = config.get("endpoint") or f"Amazon S3 {config.get('region', '')}".strip()
        return f"s3://{config['bucket']}/{prefix}".rstrip("/") + f" at {endpoint}"

    def destination(self, *, hasty: bool = False) -> "Destination":
        """For replication; `hasty`: with short limits, for reads that somebody waits for. Each process has its own."""
        from portal.storage_drivers.http import Timeouts
        from portal.storage_drivers.s3 import driver as s3  # loads Libcloud, only with a bucket

        key = (os.getpid(), hasty)
        with self._lock:
            if key not in self._opened:
                chosen = self._chosen
                limits: dict[str, Any] = {"timeouts": Timeouts(CONNECT_SECONDS, READ_SECONDS), "tries": TRIES}
                limits = limits if hasty else {}
                self._opened[key] = s3.open_destination(chosen.config, chosen.prefix, chosen.secret, **limits)
            return self._opened[key]

    def known(self, segment: str) -> KnownSegment | None:
        """Size and digests of a segment that was verified in the bucket, else None."""
        since, kept = self._known.get(segment, (-KNOWN_SECONDS, None))
        if kept is not None and time.monotonic() - since < KNOWN_SECONDS:
            return kept
        with connection():
            row = Segment.get_or_none(Segment.name == segment, Segment.verified.is_null(False))
        if row is None:
            return None
        known = KnownSegment(size=row.size, digests=bytes(row.blocks))
        if known.digests:  # without them, another process may write them at any moment
            with self._lock:
                if len(self._known) >= MAX_KNOWN_SEGMENTS:
                    self._known.clear()
                self._known[segment] = time.monotonic(), known
        return known

    def fetch(self, segment: str, offset: int, size: int) -> bytes:
        """Exactly these bytes of a segment. Raises Unreachable, and Damaged where the bucket no longer has them."""
        if time.monotonic() < self._unreachable_until:
            raise Unreachable(self._reason)
        try:
            content = b"".join(self.destination(hasty=True).read(segment, offset, size))
        except Missing:
            self._require_bucket()
            raise self._lost(segment, "is not in the bucket") from None
        except Damaged:
            raise
        except NotAllowed as error:
            self._require_bucket()  # where it can be listed, only this segment is refused: others are still read
            raise self._unreachable(error) from error
        except PortalError as error:
            raise self._pause(error) from error
        if len(content) != size:
            raise self._lost(segment, "is shorter in the bucket than it was")
        return content

    def has(self, segment: str, size: int) -> bool:
        """Whether the bucket still has a segment of this size; if not, the damage is recorded.

        Raises as `Destination` does, and Unreachable where the whole bucket is gone.
        """
        stored = self.destination().stat(segment)
        if stored is not None and stored.size == size:
            return True
        if stored is None:
            self._require_bucket()
        self.record_damage(segment, f"Segment {segment} is missing or changed in the bucket; the local copy is kept.")
        return False

    def record_damage(self, segment: str, message: str) -> None:
        """Record what is wrong with a segment in the bucket; every page names it until it is repaired."""
        with connection():
            if Segment.select().where(Segment.name == segment, Segment.damage == message).exists():
                return
            with writing():
                Segment.update(damage=message).where(Segment.name == segment).execute()

    def _require_bucket(self) -> None:
        """Raise Unreachable where the whole bucket is gone: then it is not known to have lost a segment."""
        try:
            next(self.destination(hasty=True).list(), None)
        except PortalError as error:
            raise self._pause(error) from error

    def _pause(self, error: PortalError) -> Unreachable:
        """Let reads fail at once for a while, so that not each of them waits for a bucket that does not answer."""
        unreachable = self._unreachable(error)
        self._reason = unreachable.message
        self._unreachable_until = time.monotonic() + self._chosen.silence
        return unreachable

    def _unreachable(self, error: PortalError) -> Unreachable:
        return Unreachable(f"This part of the archive is in the bucket, which cannot be read now. {error.message}")

    def _lost(self, segment: str, what: str) -> Damaged:
        message = f"Segment {segment} {what}."
        self.record_damage(segment, message)
        return Damaged(f"{message} Restore it there, or check that PORTAL_ARCHIVE names the right bucket.")
