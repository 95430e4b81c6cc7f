"""The tree as people and programs make it: groups, projects, subjects, sessions and acquisitions."""

import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from peewee import ModelSelect

from portal import listing, site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP, Scope
from portal.dicom import ae_titles, uids
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.listing import WHOLE_LIST, PageRequest, RowPage
from portal.models import Acquisition, Group, Project, Session, Storage, Subject, now, writing
from portal.tree import labels, rest_ids

UNSORTED = "Unsorted"
_CODE = re.compile(r"[a-z0-9._-]{2,32}")
_RESERVED = f"The group {UNKNOWN_GROUP} is reserved for what could not be placed."
_SYSTEM = Actor(type="system", name="portico", via="portal", is_admin=True)

Kind = Literal["project", "subject", "session", "acquisition"]
Container = Project | Subject | Session | Acquisition
TABLES: dict[str, type[Project] | type[Subject] | type[Session] | type[Acquisition]] = {
    "project": Project,
    "subject": Subject,
    "session": Session,
    "acquisition": Acquisition,
}
_ORDER: tuple[Kind, ...] = ("project", "subject", "session", "acquisition")


# What is added


def add_group(code: str, label: str | None = None, *, actor: Actor) -> Group:
    """A new group; its label is the code where none is given."""
    rights.require_admin(actor)
    if not _CODE.fullmatch(code) or not code[0].isalnum():
        message = "A group's code has 2 to 32 of the characters a-z 0-9 . _ - and begins with a letter or a digit."
        raise BadValue(message, field="code")
    if code == UNKNOWN_GROUP:
        raise Taken(_RESERVED, field="code")
    row = Group(code=code, label=labels.clean(code if label is None else label), **actor.origin.fields)
    with writing():
        if Group.select().where(Group.code == code).exists():
            raise Taken(f"There is a group {code} already.", field="code")
        _save(row, "group", actor, code=code)
    return row


def add_project(path: str, ae_title: str | None = None, *, actor: Actor) -> Project:
    """A new project, by `GROUP/PROJECT`, with an AE title of its own if one is given."""
    rights.require_admin(actor)
    code, label = _split(path)
    if code == UNKNOWN_GROUP:
        raise NotAllowed(f"{_RESERVED} Use another group.", field="group")
    label = labels.clean(label)
    title = ae_titles.clean(ae_title) if ae_title else None
    with writing():
        parent = group(code, actor=actor)
        _refuse_taken_label(parent, label)
        _refuse_taken_title(title)
        row = Project(group=parent, label=label, ae_title=title, **actor.origin.fields)
        _save(row, "project", actor, path=f"{code}/{label}", ae_title=title)
    return row


def add_project_in_new_group(code: str, label: str, ae_title: str | None = None, *, actor: Actor) -> Project:
    """A new group with its first project: both, or none of them."""
    with writing():
        add_group(code, actor=actor)
        return add_project(f"{code}/{label}", ae_title, actor=actor)


def add_subject(project_id: int, label: str, *, actor: Actor) -> Subject:
    """A new subject of a project; its label is unique there."""
    label = labels.clean(label)
    with writing():
        parent = _writable("project", project_id, actor)
        same = Subject.select().where(Subject.project == parent, Subject.label == label, Subject.trash.is_null())
        if same.exists():
            raise Taken("There is a subject with this label in the project already.", field="label")
        row = Subject(project=parent, label=label, **actor.origin.fields)
        _save(row, "subject", actor)
    return row


def add_session(
    subject_id: int, label: str, *, uid: str | None = None, timestamp: datetime | None = None, actor: Actor
) -> Session:
    """A new session of a subject; `uid` is a Study Instance UID, unique in the subject."""
    label, uid = labels.clean(label), _uid(uid)
    with writing():
        parent = _writable("subject", subject_id, actor)
        if uid and Session.select().where(Session.subject == parent, Session.uid == uid).exists():
            raise Taken("There is a session with this UID in the subject already, or in the trash.", field="uid")
        row = Session(subject=parent, label=label, uid=uid, timestamp=timestamp, **actor.origin.fields)
        _save(row, "session", actor)
    return row


def add_acquisition(
    session_id: int, label: str, *, uid: str | None = None, timestamp: datetime | None = None, actor: Actor
) -> Acquisition:
    """A new acquisition of a session; `uid` is a Series Instance UID, unique in the session."""
    label, uid = labels.clean(label), _uid(uid)
    with writing():
        parent = _writable("session", session_id, actor)
        if uid and Acquisition.select().where(Acquisition.session == parent, Acquisition.uid == uid).exists():
            raise Taken("There is an acquisition with this UID in the session already, or in the trash.", field="uid")
        row = Acquisition(session=parent, label=label, uid=uid, timestamp=timestamp, **actor.origin.fields)
        _save(row, "acquisition", actor)
    return row


# What is changed


def edit_project(project_id: int, *, label: str, ae_title: str, actor: Actor) -> Project:
    """Give a project another label or AE title; an empty one takes the title away.

    Storages that only this project may use go along. Raises Missing, NotAllowed for what is reserved, BadValue, Taken.
    """
    rights.require_admin(actor)
    label = labels.clean(label)
    title = ae_titles.clean(ae_title) if ae_title.strip() else None
    with writing():
        row = _editable_project(project_id)
        before, after = {"label": row.label, "ae_title": row.ae_title}, {"label": label, "ae_title": title}
        changed = {name: value for name, value in after.items() if value != before[name]}
        if not changed:
            return row
        code = row.group.code
        if "label" in changed:
            _refuse_taken_label(row.group, label)
        if "ae_title" in changed:
            _refuse_taken_title(title)
        Project.update(**changed, modified=now()).where(Project.id == row.id).execute()
        moved = Storage.update(visible=f"project:{code}/{label}", modified=now())
        moved.where(Storage.visible == f"project:{code}/{row.label}").execute()
        audit.record(
            actor, "project:changed", "project", row.id, before={name: before[name] for name in changed}, after=changed
        )
    return _editable_project(project_id)


def edit_group(code: str, *, label: str, actor: Actor) -> Group:
    """Give a group another label; its code stays, since peers and programs name it so. Raises as `edit_project`."""
    rights.require_admin(actor)
    label = labels.clean(label, field="group_label")
    with writing():
        row = group(code, actor=actor)
        if code == UNKNOWN_GROUP:
            raise NotAllowed(_RESERVED, field="group_label")
        if label != row.label:
            audit.record(
                actor, "group:changed", "group", row.id, before={"label": row.label}, after={"label": label}, code=code
            )
            row.label = label
            row.modified = now()
            row.save()
    return row


def get_or_add_project(group: Group, label: str) -> Project:
    """The project of this label, made by the system where there is none; inside the caller's write block."""
    found: Project | None = Project.get_or_none(Project.group == group, Project.label == label)
    if found is not None:
        return found
    row = Project(group=group, label=label, **_SYSTEM.origin.fields)
    _save(row, "project", _SYSTEM, path=f"{group.code}/{label}")
    return row


def ensure_unsorted() -> Project:
    """The project `unknown/Unsorted`, for what could not be placed; made when it is first needed."""
    found = _project(UNKNOWN_GROUP, UNSORTED)
    if found is not None:
        return found
    with writing():
        if (found := _project(UNKNOWN_GROUP, UNSORTED)) is not None:
            return found
        parent = Group(code=UNKNOWN_GROUP, label="Unknown", **_SYSTEM.origin.fields)
        _save(parent, "group", _SYSTEM, code=UNKNOWN_GROUP)
        row = Project(group=parent, label=UNSORTED, **_SYSTEM.origin.fields)
        _save(row, "project", _SYSTEM, path=f"{UNKNOWN_GROUP}/{UNSORTED}")
    return row


# What is there


def group(code: str, *, actor: Actor) -> Group:
    """The group with this code. Raises Missing if there is none, or none that the actor may see."""
    row: Group | None = _groups(actor).where(Group.code == code).get_or_none()
    if row is None:
        raise Missing(f"There is no group {code[:64]!r}.", field="group")
    return row


def groups(page: PageRequest = WHOLE_LIST, *, actor: Actor) -> RowPage[Group]:
    """An admin's are all; anybody else's those with a project that they may read."""
    return listing.fetch_page(_groups(actor), Group, page)


def project(path: str) -> Project:
    """The project `GROUP/PROJECT`. Raises Missing if there is none; asks for no rights."""
    code, label = _split(path)
    row = _project(code, label)
    if row is None:
        raise Missing(f"There is no project {path[:100]!r}. Write it as GROUP/PROJECT.", field="project")
    return row


def path_of(project_id: int) -> str:
    """GROUP/PROJECT as it is called now; asks for no rights. Raises Missing."""
    row = Project.select(Project, Group).join(Group).where(Project.id == project_id).get_or_none()
    if row is None:
        raise Missing("The project is not there any more.")
    return f"{row.group.code}/{row.label}"


def get(kind: str, row_id: int, scope: Scope) -> Container:
    """One container with all those above it. Raises Missing where the scope does not reach."""
    table = TABLES[kind]
    row: Container | None = _rows(kind, scope).where(table.id == row_id).get_or_none()
    if row is None:
        raise Missing(f"There is no {kind} with this id, or it is not yours to see.")
    return row


def list_all(kind: str, scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[Any]:
    """All containers of a kind that the scope reads."""
    return listing.fetch_page(_rows(kind, scope), TABLES[kind], page)


def children(kind: str, row_id: int, scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[Any]:
    """What lies directly in a container (`subject` → its sessions). Raises Missing as `get` does."""
    parent = get(kind, row_id, scope)
    below = _ORDER[_ORDER.index(kind_of(parent)) + 1]
    return listing.fetch_page(_rows(below, scope).where(TABLES[kind].id == row_id), TABLES[below], page)


def projects_of(code: str, page: PageRequest = WHOLE_LIST, *, actor: Actor) -> RowPage[Any]:
    """The projects of a group that the actor may read."""
    parent = group(code, actor=actor)
    return listing.fetch_page(_rows("project", rights.scope(actor)).where(Project.group == parent), Project, page)


def get_by_path(path: Sequence[str], scope: Scope) -> Container:
    """The container at [group, project, subject, session, acquisition], as far as given; of equal labels the first."""
    if not 2 <= len(path) <= 5:
        raise BadValue("A path names a group, a project and at most a subject, a session and an acquisition.")
    kind = _ORDER[len(path) - 2]
    query = _rows(kind, scope).where(Group.code == path[0])
    for level, label in zip(_ORDER, path[1:], strict=False):
        query = query.where(TABLES[level].label == unicodedata.normalize("NFC", label))
    row: Container | None = query.order_by(TABLES[kind].id).first()
    if row is None:
        raise Missing(f"There is no {kind} at this path.")
    return row


def kind_of(container: Container) -> Kind:
    return next(kind for kind in _ORDER if isinstance(container, TABLES[kind]))


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


def _rows(kind: str, scope: Scope) -> "ModelSelect[Any]":
    """The containers of one kind in the scope, each joined with those above it, so that a list costs one query."""
    above = (*reversed([TABLES[name] for name in _ORDER[: _ORDER.index(kind)]]), Group)
    query: ModelSelect[Any] = TABLES[kind].select(TABLES[kind], *above)
    for table in above:
        query = query.join(table)
    query = query.where(Project.id.in_(scope.projects))
    for table in (Subject, Session, Acquisition):
        if table is TABLES[kind] or table in above:
            query = query.where(table.trash.is_null())
    return query


def _groups(actor: Actor) -> "ModelSelect[Group]":
    if actor.is_admin:
        return Group.select()
    readable = Project.select(Project.group).where(Project.id.in_(rights.scope(actor).projects))
    return Group.select().where(Group.id.in_(readable))


def _project(code: str, label: str) -> Project | None:
    query = Project.select(Project, Group).join(Group).where(Group.code == code, Project.label == label)
    found: Project | None = query.get_or_none()
    return found


def _writable(kind: Kind, row_id: int, actor: Actor) -> Container:
    scope = rights.scope(actor)
    row = get(kind, row_id, scope)
    if not scope.writes(project_of(row).id):
        raise NotAllowed("You may look at this project, but not add to it. Ask a site admin for the right to write.")
    return row


def _split(path: str) -> tuple[str, str]:
    code, slash, label = path.partition("/")
    if not slash:
        raise BadValue(f"{path[:100]!r} names no project. Write it as GROUP/PROJECT.", field="project")
    return code, unicodedata.normalize("NFC", label)


def _editable_project(project_id: int) -> Project:
    row: Project | None = Project.select(Project, Group).join(Group).where(Project.id == project_id).get_or_none()
    if row is None:
        raise Missing("There is no project with this number.")
    if row.group.code == UNKNOWN_GROUP:
        raise NotAllowed(f"{_RESERVED} Its projects keep their names.", field="label")
    return row


def _refuse_taken_label(parent: Group, label: str) -> None:
    if Project.select().where(Project.group == parent, Project.label == label).exists():
        raise Taken(f"There is a project {parent.code}/{label} already.", field="label")


def _refuse_taken_title(title: str | None) -> None:
    """A called title selects one project, or the site: it can belong to one of them only (design decision 1)."""
    if title is None:
        return
    if title == site_settings.get("dimse.ae_title"):
        raise Taken(f"{title} is the site's own AE title; a project needs another one.", field="ae_title")
    if Project.select().where(Project.ae_title == title).exists():
        raise Taken(f"Another project has the AE title {title}.", field="ae_title")


def _uid(text: str | None) -> str | None:
    return uids.clean(text, name="The uid") if text else None


def _save(row: Group | Container, kind: str, actor: Actor, **detail: Any) -> None:
    """Write the row with its act. Labels of subjects and below may be patients' names: they stay out of the log."""
    row.save(force_insert=True)
    audit.record(actor, f"{kind}:added", kind, row.id, **detail)
