"""Detecting a lost or damaged database, so that its archive is never taken for a new site (docs/decisions/0073)."""

from portal.archive.bucket import Bucket
from portal.archive.segments import SEGMENT_SUFFIX
from portal.errors import BadValue, Damaged
from portal.models import integrity, now
from portal.settings import Settings, has_content

CHECK_SECONDS = 10.0
"""How long a start may wait for the check: some gigabytes. Of a larger database only the first part is checked."""
REMEDY = (
    "Restore it from a backup, or rebuild it from the archive: portal up --rebuild. A rebuilt database has no peers,"
    " device keys, users, storages, settings, decisions and later edits."
)


def require_present(chosen: Settings) -> None:
    """Raise Damaged if there is an archive without its database. A new site has neither."""
    if problem := _loss(chosen):
        raise Damaged(f"{problem} {REMEDY}")


def require_intact(chosen: Settings) -> None:
    """Raise Damaged if the database is lost, or SQLite finds it damaged; Unreachable if the bucket does not answer."""
    if problem := _problem(chosen):
        raise Damaged(f"{problem} {REMEDY}")


def set_aside(chosen: Settings) -> None:
    """Rename a lost or damaged database with its write-ahead log; nothing is deleted.

    Raises BadValue if the database is intact: what only it contains would be lost.
    """
    if not _problem(chosen):
        raise BadValue(f"{chosen.database} is intact, so it is not rebuilt. To index again: portal reindex")
    for ending in ("", "-wal", "-shm"):
        path = chosen.database.with_name(chosen.database.name + ending)
        if path.exists():
            path.rename(path.with_name(f"{chosen.database.name}.damaged-{now():%Y%m%dT%H%M%S}{ending}"))


def _problem(chosen: Settings) -> str:
    """What is wrong with the database; empty if nothing is."""
    if loss := _loss(chosen):
        return loss
    if chosen.bucket is not None and not _has_tables(chosen):
        # The whole archive may be in the bucket, which is asked only where there is no database.
        bucket = Bucket(chosen.bucket)
        if any(stored.key.endswith(SEGMENT_SUFFIX) for stored in bucket.destination(hasty=True).list()):
            return f"The database {chosen.database} is missing, but the archive's bucket {bucket.words} has segments."
    if not has_content(chosen.database):
        return ""
    damage = integrity.find_damage(chosen.database, seconds=CHECK_SECONDS)
    return f"The database {chosen.database} is damaged ({' '.join(damage.split())[:200]})." if damage else ""


def _has_tables(chosen: Settings) -> bool:
    return has_content(chosen.database) and integrity.has_tables(chosen.database)


def _loss(chosen: Settings) -> str:
    """What is missing, if an archive on this disk has no database; else empty."""
    path = chosen.database
    if _has_tables(chosen):
        return ""
    segments = sum(1 for segment in chosen.archive.glob(f"*{SEGMENT_SUFFIX}") if has_content(segment))
    if not segments:
        return ""
    number = "1 segment" if segments == 1 else f"{segments:,} segments"
    what = "is empty" if path.exists() else "is missing"
    return f"The database {path} {what}, but the archive beside it has {number}."
