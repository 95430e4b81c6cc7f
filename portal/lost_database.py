"""A database that is lost beside its archive, or damaged: never taken for a new site (docs/decisions/0073)."""

from portal.errors import BadValue, Damaged
from portal.models import integrity, now
from portal.settings import Settings, has_content

CHECK_SECONDS = 10.0
"""How long a start may wait for the check: some gigabytes of database. Of a larger one the first part is checked."""
CURE = (
    "Restore it from a backup, or make it anew from what the archive recorded: portal up --rebuild. Peers, device keys,"
    " users, storages, settings, decisions and later edits do not come back that way."
)


def require_there(chosen: Settings) -> None:
    """Raise Damaged where an archive stands without its database. A new site has neither."""
    if problem := _loss(chosen):
        raise Damaged(f"{problem} {CURE}")


def require_whole(chosen: Settings) -> None:
    """Raise Damaged where the database is lost, or SQLite finds it damaged."""
    if problem := _loss(chosen) or _damage(chosen):
        raise Damaged(f"{problem} {CURE}")


def set_aside(chosen: Settings) -> None:
    """Give a lost or damaged database another name, with its write-ahead log; nothing is deleted.

    Raises BadValue where the database is whole: what only it holds would be lost.
    """
    if not (_loss(chosen) or _damage(chosen)):
        raise BadValue(f"{chosen.database} is whole, so it is not made anew. To index again: portal reindex")
    for ending in ("", "-wal", "-shm"):
        path = chosen.database.with_name(chosen.database.name + ending)
        if path.exists():
            path.rename(path.with_name(f"{chosen.database.name}.damaged-{now():%Y%m%dT%H%M%S}{ending}"))


def _loss(chosen: Settings) -> str:
    """What is missing, in a sentence; empty where nothing is."""
    path = chosen.database
    if has_content(path) and integrity.has_tables(path):
        return ""
    segments = sum(1 for segment in chosen.archive.glob("*.seg") if has_content(segment))
    if not segments:
        return ""
    number = "1 segment" if segments == 1 else f"{segments:,} segments"
    what = "is empty" if path.exists() else "is missing"
    return f"The database {path} {what}, but the archive beside it holds {number}."


def _damage(chosen: Settings) -> str:
    if not has_content(chosen.database):
        return ""
    found = integrity.complaint(chosen.database, seconds=CHECK_SECONDS)
    return f"The database {chosen.database} is damaged ({' '.join(found.split())[:200]})." if found else ""
