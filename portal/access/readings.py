"""Who has seen or fetched data: what was viewed, downloaded, exported, and retrieved by peers, as audit entries.

A view is one entry for each person, session and hour, however many pages and images it was; so is what a program gets
file by file. All entries about a session are found by one index, also those of an export of many sessions.
docs/decisions/0100
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from peewee import chunked

from portal.access import audit
from portal.access.actors import Actor
from portal.models import (
    Acquisition,
    Audit,
    File,
    Session,
    Subject,
    database,
    now,
    skip_if_disk_full,
    writing,
)

SESSIONS_PER_ENTRY = 5_000
"""An export of more sessions has several entries, so that none is too large for a page."""
MAX_REMEMBERED = 50_000

MAX_FILES_AN_HOUR = 20
"""Downloads of single files from one session, by one actor, that have an entry each."""

_recorded: dict[tuple[str, datetime], Counter[tuple[str, ...]]] = {}
"""Counts of this hour: a page that is seen again asks the database for nothing. Threads that miss a count ask it."""


def record_view(actor: Actor, session_id: int) -> None:
    """Record that somebody sees a page or an image of a session. A full disk does not keep people from seeing it."""
    record_once_an_hour(actor, "session:viewed", "session", session_id, session=session_id)


def record_container_view(actor: Actor, kind: str, number: int) -> None:
    """Record that somebody sees what is said of a container: a view of its session, or of the subject."""
    if kind == "subject":
        record_once_an_hour(actor, "subject:viewed", "subject", number)
    elif (session_id := session_of(kind, number)) is not None:
        record_view(actor, session_id)


def record_image_view(actor: Actor, file: File) -> None:
    """Record that somebody sees an image of a file: a view of its session."""
    if (session_id := session_of(file.parent_type, file.parent_id)) is not None:
        record_view(actor, session_id)


def record_file_download(actor: Actor, file: File, version: int) -> None:
    """Record a download of one file; of many from one session, the rest of an hour is one entry.

    Otherwise a program that fetches a million files one by one would write as many entries.
    """
    # A file's name may be a patient's: the audit log has its row number alone.
    session_id = session_of(file.parent_type, file.parent_id)
    if session_id is not None and _count_of_hour(actor, session_id) > MAX_FILES_AN_HOUR:
        return record_once_an_hour(actor, "session:fetched", "session", session_id, session=session_id)
    detail = {"version": version} | ({"session": session_id} if session_id is not None else {})
    with writing():
        return audit.record(actor, "file:downloaded", "file", file.id, **detail)


def session_of(kind: str, number: int) -> int | None:
    """The session that a container is in, or is; None above the sessions."""
    if kind == "acquisition":
        row = Acquisition.select(Acquisition.session).where(Acquisition.id == number).tuples().first()
        return int(row[0]) if row else None
    return number if kind == "session" else None


def record_once_an_hour(actor: Actor, action: str, target_type: str, target_id: object, **detail: Any) -> None:
    """Record an act unless the same actor did the same to the same target before in this hour.

    For acts that change nothing: on a full disk the entry is left out.
    """
    who = actor.id or actor.name
    key = (actor.type, who, actor.via, action, target_type, str(target_id))
    hour, counts = _this_hour()
    if counts[key]:
        return
    same = (Audit.target_type == target_type) & (Audit.target_id == str(target_id)) & (Audit.action == action)
    same &= (Audit.actor_type == actor.type) & (Audit.actor_id == who) & (Audit.via == actor.via)
    with skip_if_disk_full(f"that {actor.type} {who} {action}"):
        # Asked inside the write block: several processes may show the same page at once.
        with writing():
            latest = Audit.select(Audit.at).where(same).order_by(Audit.id.desc()).first()
            if latest is None or latest.at < hour:
                audit.record(actor, action, target_type, target_id, **detail)
        counts[key] += 1


def _count_of_hour(actor: Actor, session_id: int) -> int:
    _hour, counts = _this_hour()
    key = (actor.type, actor.id or actor.name, actor.via, "file:downloaded", str(session_id))
    counts[key] += 1
    return counts[key]


def _this_hour() -> tuple[datetime, Counter[tuple[str, ...]]]:
    """The beginning of this hour, and what this process has recorded in it, of this database."""
    hour = now().replace(minute=0, second=0, microsecond=0)
    name = (str(database.obj.database), hour)
    counts = _recorded.get(name)
    if counts is None or len(counts) >= MAX_REMEMBERED:
        _recorded.clear()
        counts = _recorded[name] = Counter()
    return hour, counts


def record_disclosure(
    actor: Actor, action: str, target_type: str, target_id: object, sessions: Sequence[int], **detail: Any
) -> None:
    """Record an act by which sessions left the site; each of them finds it. Several entries if there are very many."""
    if len(sessions) == 1:
        parts: list[dict[str, Any]] = [{"session": sessions[0]}]
    else:
        parts = [{"sessions": list(part)} for part in chunked(sessions, SESSIONS_PER_ENTRY)] or [{}]
    for number, part in enumerate(parts, 1):
        of = {"part": number, "parts": len(parts)} if len(parts) > 1 else {}
        with writing():
            audit.record(actor, action, target_type, target_id, **detail, **of, **part)


def sessions_in(kind: str, number: int) -> list[int]:
    """The sessions that a container has, is, or is in, as row numbers."""
    if kind not in ("project", "subject"):
        session_id = session_of(kind, number)
        return [] if session_id is None else [session_id]
    live = Session.select(Session.id).where(Session.trash.is_null())
    if kind == "subject":
        live = live.where(Session.subject == number)
    else:
        live = live.join(Subject).where(Subject.project == number, Subject.trash.is_null())
    rows: Any = live.order_by(Session.id).tuples()
    return [session_id for (session_id,) in rows]
