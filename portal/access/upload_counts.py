"""Uploads as entries of the audit log: one for what an actor puts into a session without a long pause.

A program that uploads a million files one by one would write as many entries otherwise. They are counted in memory; a
killed process loses the entry of its last minutes, and nothing else: each file has its own origin.
"""

import logging
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from peewee import PeeweeException

from portal import models
from portal.access import audit, readings
from portal.access.actors import Actor
from portal.models import database, now, writing

log = logging.getLogger(__name__)

PAUSE = timedelta(seconds=60)
"""After a pause of this length, what was uploaded before is written."""
LONGEST = timedelta(minutes=10)
"""An upload that goes on for longer has several entries."""
MAX_WAITING = 10_000
"""Entries that wait while the database cannot be written; further uploads are not counted."""


@dataclass(frozen=True, kw_only=True)
class _Counts:
    first: datetime
    last: datetime
    files: int
    bytes: int


_Key = tuple[str, Actor, str, int]
"""Database, actor, and container."""
_lock = threading.Lock()
_waiting: dict[_Key, _Counts] = {}


def count(actor: Actor, kind: str, number: int, size: int) -> None:
    """Count one file that was uploaded to a container; never waits for the disk."""
    session_id = readings.session_of(kind, number)
    place = ("session", session_id) if session_id is not None else (kind, number)
    key = (str(database.obj.database), actor, *place)
    moment = now()
    with _lock:
        counts = _waiting.get(key, _Counts(first=moment, last=moment, files=0, bytes=0))
        if key in _waiting or len(_waiting) < MAX_WAITING:
            _waiting[key] = replace(counts, last=moment, files=counts.files + 1, bytes=counts.bytes + size)


def flush(*, everything: bool = False) -> None:
    """Write the entries of uploads that have paused or are long; what cannot be written now waits."""
    moment = now()
    with _lock:
        due = {
            key: counts
            for key, counts in _waiting.items()
            if key[0] == str(database.obj.database)
            and (everything or moment - counts.last >= PAUSE or moment - counts.first >= LONGEST)
        }
        for key in due:
            del _waiting[key]
    if not due:
        return
    try:
        with models.connection(), writing():
            for (_database, actor, kind, number), counts in due.items():
                detail: dict[str, Any] = {"files": counts.files, "bytes": counts.bytes}
                detail["began"] = counts.first.isoformat(timespec="seconds")
                if kind == "session":
                    detail["session"] = number
                noun = "session" if kind == "session" else "container"
                audit.record(actor, f"{noun}:uploaded", kind, number, **detail)
    except PeeweeException as error:
        log.warning("the audit entries of uploads could not be written: %s", error)
        with _lock:
            _waiting.update({key: counts for key, counts in due.items() if key not in _waiting})
