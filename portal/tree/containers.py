"""Containers: projects, subjects, sessions and acquisitions, read within a scope; what is below a project is added."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from peewee import ModelSelect

from portal import listing
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.dicom import uids
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.listing import WHOLE_LIST, ListInParts, PageRequest, RowPage
from portal.models import Acquisition, Group, Project, Session, Subject, writing
from portal.tree import labels, metadata_values, rest_ids

Kind = Literal["project", "subject", "session", "acquisition"]
Container = Project | Subject | Session | Acquisition
TABLES: dict[str, type[Project] | type[Subject] | type[Session] | type[Acquisition]] = {
    "project": Project,
    "subject": Subject,
    "session": Session,
    "acquisition": Acquisition,
}
SAID = ("info", "tags", "notes")
"""The columns of what programs say of a container; each may be large."""
KINDS_FROM_TOP: tuple[Kind, ...] = ("project", "subject", "session", "acquisition")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a program says of a new container besides its label. Raises BadValue if it is too much."""

    info: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()

    @property
    def columns(self) -> dict[str, Any]:
        return {"info": metadata_values.info(dict(self.info)), "tags": metadata_values.tags(self.tags)}


NOTHING_SAID = Said()


def add_subject(project_id: int, label: str, *, said: Said = NOTHING_SAID, actor: Actor) -> Subject:
    """Create a subject in a project; its label is unique there."""
    label = labels.clean(label)
    with writing():
        parent = writable("project", project_id, actor)
        same = find_subject(parent.id, label)
        if same is not None:
            raise Taken(
                "There is a subject with this label in the project already.",
                field="label",
                existing=rest_ids.encode("subject", same.id),
            )
        subject = Subject(project=parent, label=label, **said.columns, **actor.origin.fields)
        insert(subject, "subject", actor)
    return subject


def find_or_add_subject(project_id: int, label: str, *, said: Said = NOTHING_SAID, actor: Actor) -> int:
    """The row number of the subject of this label in a project that the actor writes to. Raises Missing, NotAllowed."""
    with writing():
        parent = writable("project", project_id, actor)
        found = find_subject(parent.id, labels.clean(label))
        return int((found or add_subject(parent.id, label, said=said, actor=actor)).id)


def find_subject(project_id: int, label: str) -> Subject | None:
    """The subject of this label in a project; checks no rights."""
    live = Subject.select().where(Subject.project == project_id, Subject.label == label, Subject.trash.is_null())
    found: Subject | None = live.order_by(Subject.id).first()
    return found


def add_session(
    subject_id: int,
    label: str,
    *,
    uid: str | None = None,
    timestamp: datetime | None = None,
    said: Said = NOTHING_SAID,
    actor: Actor,
) -> Session:
    """Create a session in a subject; `uid` is a Study Instance UID, unique in the subject."""
    label, uid = labels.clean(label), clean_uid(uid)
    with writing():
        parent = writable("subject", subject_id, actor)
        same: Session | None = Session.get_or_none(Session.subject == parent, Session.uid == uid) if uid else None
        if same is not None:
            raise Taken(
                "There is a session with this UID in the subject already, or in the trash.",
                field="uid",
                existing="" if same.trash else rest_ids.encode("session", same.id),
            )
        session = Session(
            subject=parent, label=label, uid=uid, timestamp=timestamp, **said.columns, **actor.origin.fields
        )
        insert(session, "session", actor)
    return session


def add_acquisition(
    session_id: int,
    label: str,
    *,
    uid: str | None = None,
    timestamp: datetime | None = None,
    said: Said = NOTHING_SAID,
    actor: Actor,
) -> Acquisition:
    """Create an acquisition in a session; `uid` is a Series Instance UID, unique in the session."""
    label, uid = labels.clean(label), clean_uid(uid)
    with writing():
        parent = writable("session", session_id, actor)
        clash = (Acquisition.session == parent, Acquisition.uid == uid)
        same: Acquisition | None = Acquisition.get_or_none(*clash) if uid else None
        if same is not None:
            raise Taken(
                "There is an acquisition with this UID in the session already, or in the trash.",
                field="uid",
                existing="" if same.trash else rest_ids.encode("acquisition", same.id),
            )
        acquisition = Acquisition(
            session=parent, label=label, uid=uid, timestamp=timestamp, **said.columns, **actor.origin.fields
        )
        insert(acquisition, "acquisition", actor)
    return acquisition


def insert(row: Group | Container, kind: str, actor: Actor, **detail: Any) -> None:
    """Write a new row and its audit event, inside the caller's write block."""
    # Labels of subjects and below may be patients' names: they stay out of the audit log.
    row.save(force_insert=True)
    audit.record(actor, f"{kind}:added", kind, row.id, **detail)


def get(kind: str, row_id: int, scope: Scope) -> Container:
    """One container, read with all those above it. Raises Missing where the scope does not reach it."""
    table = TABLES[kind]
    row: Container | None = in_scope(kind, scope).where(table.id == row_id).get_or_none()
    if row is None:
        raise Missing(f"There is no {kind} with this id, or you do not have access to it.")
    return row


def writable(kind: str, row_id: int, actor: Actor) -> Container:
    """The same for an actor who may change it. Raises Missing, NotAllowed."""
    scope = rights.scope(actor)
    row = get(kind, row_id, scope)
    if not scope.writes(project_of(row).id):
        raise NotAllowed("You can read this project but not write to it. Ask a site admin for write access.")
    return row


def get_by_path(path: Sequence[str], scope: Scope) -> Container:
    """The container at [group, project, subject, session, acquisition], as far as given; of equal labels the first."""
    if not 2 <= len(path) <= 5:
        raise BadValue("A path names a group, a project and at most a subject, a session and an acquisition.")
    kind = KINDS_FROM_TOP[len(path) - 2]
    query = in_scope(kind, scope).where(Group.code == path[0])
    for level, label in zip(KINDS_FROM_TOP, path[1:], strict=False):
        query = query.where(TABLES[level].label == unicodedata.normalize("NFC", label))
    row: Container | None = query.order_by(TABLES[kind].id).first()
    if row is None:
        raise Missing(f"There is no {kind} at this path.")
    return row


def list_all(kind: str, scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[Any]:
    """All containers of a kind that the scope reads."""
    return listing.fetch_page(in_scope(kind, scope), TABLES[kind], page)


def find_all(kind: str, scope: Scope, page: PageRequest) -> ListInParts[Any]:
    """The same, to be read in parts."""
    return listing.find_ids(in_scope(kind, scope), TABLES[kind], page)


def find_below(kind: str, row_id: int, below: str, scope: Scope, page: PageRequest = WHOLE_LIST) -> ListInParts[Any]:
    """The containers of one kind that are in a container, at any depth. Raises Missing as `get` does."""
    get(kind, row_id, scope)
    return listing.find_ids(in_scope(below, scope).where(TABLES[kind].id == row_id), TABLES[below], page)


def in_scope(kind: str, scope: Scope) -> "ModelSelect[Any]":
    """The query of the containers of one kind, each joined with those above it, so that a list costs one statement.

    What programs say of those above (info, tags, notes) is left out: it would be read again with every row.
    """
    above = (*reversed([TABLES[name] for name in KINDS_FROM_TOP[: KINDS_FROM_TOP.index(kind)]]), Group)
    fields = [field for table in above for field in table._meta.sorted_fields if field.name not in SAID]
    query: ModelSelect[Any] = TABLES[kind].select(TABLES[kind], *fields)
    for table in above:
        query = query.join(table)
    query = query.where(Project.id.in_(scope.projects))
    for table in (Subject, Session, Acquisition):
        if table is TABLES[kind] or table in above:
            query = query.where(table.trash.is_null())
    return query


def subject_info(sessions: Sequence[Session]) -> dict[int, dict[str, Any]]:
    """The info of the subjects of sessions that the caller has read, each read once."""
    numbers = {row.subject_id for row in sessions}
    return {row.id: row.info for row in Subject.select(Subject.id, Subject.info).where(Subject.id.in_(numbers))}


def kind_of(container: Container) -> Kind:
    return next(kind for kind in KINDS_FROM_TOP if isinstance(container, TABLES[kind]))


def project_of(container: Container) -> Project:
    """The project that a container is in, or is."""
    while not isinstance(container, Project):
        container = parent_of(container)
    return container


def parent_of(container: Subject | Session | Acquisition) -> Project | Subject | Session:
    if isinstance(container, Subject):
        return container.project
    return container.subject if isinstance(container, Session) else container.session


def view(row: Group | Container) -> dict[str, Any]:
    """One row for `--json`: `id` as the REST interface has it."""
    if isinstance(row, Group):
        return {"id": row.code, "label": row.label, "created": row.created.isoformat()}
    kind = kind_of(row)
    own = {"id": rest_ids.encode(kind, row.id), "label": row.label, "created": row.created.isoformat()}
    if isinstance(row, Project):
        return own | {"path": f"{row.group.code}/{row.label}", "ae_title": row.ae_title}
    above = parent_of(row)
    return own | {kind_of(above): rest_ids.encode(kind_of(above), above.id)}


def clean_uid(text: str | None) -> str | None:
    """The UID, none for an empty text. Raises BadValue."""
    return uids.clean(text, name="The uid") if text else None
