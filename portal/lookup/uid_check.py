"""Which Study and Series Instance UIDs an actor's projects have already."""

from collections.abc import Sequence
from typing import Any

from portal.access.rights import Scope
from portal.models import Acquisition, Project, Session
from portal.tree import containers

MAX_UIDS = 10_000
_PER_STATEMENT = 5000

Found = dict[int, tuple[set[str], set[str]]]


def by_project(sessions: Sequence[str], acquisitions: Sequence[str], scope: Scope) -> Found:
    """By project: the UIDs of sessions and those of acquisitions that are there, and not in the trash."""
    found: Found = {}
    tables: tuple[tuple[str, Any, Sequence[str]], ...] = (
        ("session", Session, sessions),
        ("acquisition", Acquisition, acquisitions),
    )
    for place, (kind, table, uids) in enumerate(tables):
        for begin in range(0, len(uids), _PER_STATEMENT):
            some = list(uids[begin : begin + _PER_STATEMENT])
            rows = containers.in_scope(kind, scope).where(table.uid.in_(some)).select(Project.id, table.uid).tuples()
            for project, uid in rows:
                found.setdefault(project, (set(), set()))[place].add(uid)
    return found
