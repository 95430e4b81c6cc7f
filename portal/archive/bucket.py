"""The bucket in which closed segments of the archive lie (`PORTAL_ARCHIVE`): what is there, and reading it."""

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
"""A person or a peer waits for what is read; an upload may take its time."""
MAX_KNOWN_SEGMENTS = 64
KNOWN_SECONDS = 60.0
"""For so long the digests of a segment are believed without a look: they change where a better copy came back here."""


class Bucket:
    """Reached for only when something is needed of it; safe to use from any number of threads.

    While it does not answer, every read raises Unreachable, whatever the reason: credentials and rights can be mended
    without losing a byte. Damaged is said of what it has lost or changed.
    """

    def __init__(self, chosen: settings.BucketSettings) -> None:
        self._chosen = chosen
        self.bandwidth = chosen.bandwidth
        self._lock = threading.Lock()
        self._opened: dict[tuple[int, bool], Destination] = {}
        self._known: dict[str, tuple[float, KnownSegment]] = {}
        self._silent_until, self._why = 0.0, ""

    @property
    def words(self) -> str:
        """Where it is, as a person writes it."""
        config, prefix = self._chosen.config, self._chosen.prefix
        where = config.get("endpoint") or f"Amazon S3 {config.get('region', '')}".strip()
        return f"s3://{config['bucket']}/{prefix}".rstrip("/") + f" at {where}"

    def destination(self, *, hasty: bool = False) -> "Destination":
        """For uploads; in haste for what somebody waits for. Each process has its own."""
        from portal.storage_drivers.http import Timeouts
        from portal.storage_drivers.s3 import driver as s3  # with Libcloud, which a site without a bucket need not load

        key = (os.getpid(), hasty)
        with self._lock:
            if key not in self._opened:
                chosen = self._chosen
                limits: dict[str, Any] = {"timeouts": Timeouts(CONNECT_SECONDS, READ_SECONDS), "tries": TRIES}
                limits = limits if hasty else {}
                self._opened[key] = s3.open_destination(chosen.config, chosen.prefix, chosen.secret, **limits)
            return self._opened[key]

    def known(self, segment: str) -> KnownSegment | None:
        """What is known of a segment that was verified there."""
        since, kept = self._known.get(segment, (-KNOWN_SECONDS, None))
        if kept is not None and time.monotonic() - since < KNOWN_SECONDS:
            return kept
        with connection():
            row = Segment.get_or_none(Segment.name == segment, Segment.verified.is_null(False))
        if row is None:
            return None
        known = KnownSegment(size=row.size, digests=bytes(row.blocks))
        if known.digests:  # else somebody may read it through meanwhile
            with self._lock:
                if len(self._known) >= MAX_KNOWN_SEGMENTS:
                    self._known.clear()
                self._known[segment] = time.monotonic(), known
        return known

    def fetch(self, segment: str, offset: int, size: int) -> bytes:
        """Exactly these bytes of a segment. Raises Unreachable, and Damaged where the bucket has them no longer."""
        if time.monotonic() < self._silent_until:
            raise Unreachable(self._why)
        try:
            found = b"".join(self.destination(hasty=True).read(segment, offset, size))
        except Missing:
            self._look_for_itself()
            raise self._lost(segment, "is not in the bucket") from None
        except Damaged:
            raise
        except NotAllowed as error:
            self._look_for_itself()  # where it can be listed, this is of one segment: others are read on
            raise self._away(error) from error
        except PortalError as error:
            raise self._silent(error) from error
        if len(found) != size:
            raise self._lost(segment, "is shorter in the bucket than it was")
        return found

    def has(self, segment: str, size: int) -> bool:
        """Whether a segment lies there still, as far as its size tells; where not, that is written down.

        Raises as `Destination` does, and Unreachable where the bucket is gone as a whole.
        """
        there = self.destination().stat(segment)
        if there is not None and there.size == size:
            return True
        if there is None:
            self._look_for_itself()
        self.complain(segment, f"Segment {segment} is not in the bucket any more as it was; the copy here stays.")
        return False

    def complain(self, segment: str, message: str) -> None:
        """Write down what the bucket has done to a segment; it is named on every page until it is mended."""
        with connection():
            if Segment.select().where(Segment.name == segment, Segment.damage == message).exists():
                return
            with writing():
                Segment.update(damage=message).where(Segment.name == segment).execute()

    def _look_for_itself(self) -> None:
        """A bucket that is gone as a whole is away, and has lost nothing. Raises Unreachable."""
        try:
            next(self.destination(hasty=True).list(), None)
        except PortalError as error:
            raise self._silent(error) from error

    def _silent(self, error: PortalError) -> Unreachable:
        away = self._away(error)
        self._why = away.message
        self._silent_until = time.monotonic() + self._chosen.silence
        return away

    def _away(self, error: PortalError) -> Unreachable:
        return Unreachable(f"This part of the archive is in the bucket, which cannot be read just now. {error.message}")

    def _lost(self, segment: str, what: str) -> Damaged:
        message = f"Segment {segment} {what}."
        self.complain(segment, message)
        return Damaged(f"{message} Restore it there, or check that PORTAL_ARCHIVE names the right bucket.")
