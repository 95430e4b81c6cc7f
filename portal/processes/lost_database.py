"""A database that is lost beside its archive, or damaged: never taken for a new site (docs/decisions/0073)."""

from portal.archive.bucket import Bucket
from portal.archive.segments import SEGMENT_SUFFIX
from portal.errors import BadValue, Damaged
from portal.models import integrity, now
from portal.settings import Settings, has_content

CHECK_SECONDS = 10.0
"""How long a start may wait for the check: some gigabytes of database. Of a larger one the first part is checked."""
REMEDY = (
    "Restore it from a backup, or make it anew from what the archive recorded: portal up --rebuild. Peers, device keys,"
    " users, storages, settings, decisions and later edits do not come back that way."
)


def require_present(chosen: Settings) -> None:
    """Raise Damaged where an archive stands without its database. A new site has neither."""
    if problem := _loss(chosen):
        raise Damaged(f"{problem} {REMEDY}")


def require_intact(chosen: Settings) -> None:
    """Raise Damaged where the database is lost, or SQLite finds it damaged; Unreachable where a bucket cannot say."""
    if problem := _problem(chosen):
        raise Damaged(f"{problem} {REMEDY}")


def set_aside(chosen: Settings) -> None:
    """Give a lost or damaged database another name, with its write-ahead log; nothing is deleted.

    Raises BadValue where the database is whole: what only it holds would be lost.
    """
    if not _problem(chosen):
        raise BadValue(f"{chosen.database} is whole, so it is not made anew. To index again: portal reindex")
    for ending in ("", "-wal", "-shm"):
        path = chosen.database.with_name(chosen.database.name + ending)
        if path.exists():
            path.rename(path.with_name(f"{chosen.database.name}.damaged-{now():%Y%m%dT%H%M%S}{ending}"))


def _problem(chosen: Settings) -> str:
    return _loss(chosen) or _loss_beside_a_bucket(chosen) or _damage(chosen)


def _loss_beside_a_bucket(chosen: Settings) -> str:
    """The same as `_loss` where the whole archive lies in a bucket, which is only asked where there is no database."""
    if chosen.bucket is None or _has_tables(chosen):
        return ""
    bucket = Bucket(chosen.bucket)
    if not any(found.key.endswith(SEGMENT_SUFFIX) for found in bucket.destination(hasty=True).list()):
        return ""
    return f"The database {chosen.database} is missing, but the archive's bucket {bucket.words} holds segments."


def _has_tables(chosen: Settings) -> bool:
    return has_content(chosen.database) and integrity.has_tables(chosen.database)


def _loss(chosen: Settings) -> str:
    """What is missing, in a sentence; empty where nothing is."""
    path = chosen.database
    if _has_tables(chosen):
        return ""
    segments = sum(1 for segment in chosen.archive.glob(f"*{SEGMENT_SUFFIX}") if has_content(segment))
    if not segments:
        return ""
    number = "1 segment" if segments == 1 else f"{segments:,} segments"
    what = "is empty" if path.exists() else "is missing"
    return f"The database {path} {what}, but the archive beside it holds {number}."


def _damage(chosen: Settings) -> str:
    if not has_content(chosen.database):
        return ""
    found = integrity.find_damage(chosen.database, seconds=CHECK_SECONDS)
    return f"The database {chosen.database} is damaged ({' '.join(found.split())[:200]})." if found else ""
