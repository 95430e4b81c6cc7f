"""The containers that the metadata of an upload names: found by UID or label, created where they are missing."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from portal import timestamps
from portal.access import rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.dicom import uids
from portal.errors import BadValue, Missing, NotAllowed
from portal.ingest import placement
from portal.ingest.placement import Placement
from portal.models import Acquisition, Group, Project, Session, Subject, writing
from portal.tree import containers, files, groups, labels, metadata_values, projects
from portal.tree.containers import NOTHING_SAID, Said
from portal.tree.file_metadata import FileMetadata, check_json

Way = Literal["reaper", "label", "uid"]
"""What decides: a reaper's UIDs wherever they are, then its labels; labels alone; UIDs within the named project."""
Level = Literal["project", "subject", "session", "acquisition"]
LEVELS: tuple[Level, ...] = ("project", "subject", "session", "acquisition")
MAX_FILES = 1000
_COLUMNS = frozenset({"label", "uid", "timestamp", "info", "tags", "subject"})


@dataclass(frozen=True, kw_only=True)
class SentContainer:
    """What is said of one container."""

    label: str = ""
    uid: str = ""
    timestamp: datetime | None = None
    said: Said = NOTHING_SAID
    """What the tree has no column for; kept of a container that is created."""


@dataclass(frozen=True, kw_only=True)
class SentHierarchy:
    """What the part `metadata` of an upload says, checked."""

    group: str
    containers: dict[Level, SentContainer]
    files: tuple[FileMetadata, ...]
    levels: dict[str, Level]
    """By the name of a file: the container that lists it."""

    @property
    def lowest(self) -> Level:
        return [level for level in LEVELS if level in self.containers][-1]


def parse(value: Any) -> SentHierarchy:
    """From JSON. Raises BadValue; what Portico does not keep is ignored."""
    check_json(value)
    whole = _object("metadata", value)
    group = _object("group", whole.get("group"))
    session = _object("session", whole.get("session"))
    sent: dict[Level, dict[str, Any]] = {
        "project": _object("project", whole.get("project")),
        "subject": _object("subject", session.get("subject") or whole.get("subject")),
        "session": session,
        "acquisition": _object("acquisition", whole.get("acquisition")),
    }
    said, levels = [], {}
    for level, fields in sent.items():
        for one in _files(level, fields.get("files")):
            name = files.clean_name(one.name or "")
            said.append(one)
            levels[name] = level
    if not any(sent.values()):
        raise BadValue("The metadata names no project, subject, session or acquisition.", field="metadata")
    return SentHierarchy(
        group=_text("group._id", group.get("_id")),
        containers={level: _container(level, fields) for level, fields in sent.items() if fields},
        files=tuple(said),
        levels=levels,
    )


def find_or_add(sent: SentHierarchy, way: Way, *, anywhere: bool = True, actor: Actor) -> dict[Level, int]:
    """The row number of each named container; what is missing is created, all of it or nothing.

    Without `anywhere` a reaper's UIDs decide within the named project alone. A reaper's data whose UIDs are unknown,
    and whose group or project there is not, goes to `unknown/Unsorted`. Raises Missing and NotAllowed where the actor
    may not store there, and BadValue for a container without a name.
    """
    with writing():
        known = _by_uid(sent, rights.scope(actor)) if way == "reaper" and anywhere else {}
        if "session" in known or "acquisition" in known:
            project = containers.project_of(_row(*next(iter(known.items()))))
        else:
            project = _project(sent, way, actor)
        if not rights.scope(actor).writes(project.id):
            raise NotAllowed("You may not store files in this project. Ask a site admin for write access.")
        numbers: dict[Level, int] = {"project": int(project.id)}
        return numbers | _below(project, sent, way, known, actor)


def placements(sent: SentHierarchy, numbers: dict[Level, int], names: Iterable[str]) -> dict[str, Placement]:
    """Where each file goes: to the container that lists it, or to the lowest one that is named."""
    levels = {name: sent.levels.get(name, sent.lowest) for name in names}
    return {name: Placement(container_type=level, container_id=numbers[level]) for name, level in levels.items()}


def _by_uid(sent: SentHierarchy, scope: Scope) -> dict[Level, int]:
    """The acquisition, or else the session, with the UID that is sent, where the actor may store to just one.

    Of several, the one in the project that is named.
    """
    named = (
        Project.select(Project.id)
        .join(Group)
        .where(Group.code == sent.group, Project.label == sent.containers.get("project", SentContainer()).label)
    )
    preferred = {row.id for row in named}
    for level in ("acquisition", "session"):
        uid = sent.containers.get(level, SentContainer()).uid
        if not uid:
            continue
        table = containers.TABLES[level]
        found = {
            row.id: containers.project_of(row).id
            for row in containers.in_scope(level, scope).where(table.uid == uid)  # type: ignore[union-attr]
        }
        found = {number: project for number, project in found.items() if scope.writes(project)}
        if len(found) > 1:
            found = {number: project for number, project in found.items() if project in preferred}
        if len(found) == 1:
            return {level: next(iter(found))}
    return {}


def _project(sent: SentHierarchy, way: Way, actor: Actor) -> Project:
    scope = rights.scope(actor)
    label = unicodedata.normalize("NFC", sent.containers.get("project", SentContainer()).label)
    group = Group.get_or_none(Group.code == sent.group)
    found: Project | None = (
        None if group is None else Project.get_or_none(Project.group == group, Project.label == label)
    )
    if found is not None and scope.reads(found.id):
        return found
    absent = Missing(f"There is no project {sent.group[:64]}/{label[:64]}, or you do not have access to it.")
    if way == "reaper":
        unsorted = projects.ensure_unsorted()
        if not rights.scope(actor).writes(unsorted.id):
            raise absent
        return unsorted
    if group is None or not groups.is_readable(group, actor=actor):
        raise absent
    rights.require_project_creator(actor, group.id)  # before it would tell whether there is a hidden project
    if found is not None:
        raise absent
    return projects.add(f"{sent.group}/{label}", actor=actor)


def _below(project: Project, sent: SentHierarchy, way: Way, known: dict[Level, int], actor: Actor) -> dict[Level, int]:
    """Subject, session and acquisition, as far down as something is sent."""
    numbers: dict[Level, int] = {}
    if sent.lowest == "project":
        return numbers
    if "acquisition" in known:
        row: Any = _row("acquisition", known["acquisition"])
        return {"subject": row.session.subject_id, "session": row.session_id, "acquisition": row.id}
    if "session" in known:
        session: Any = _row("session", known["session"])
        numbers |= {"subject": session.subject_id, "session": session.id}
    else:
        about = sent.containers.get("session", SentContainer())
        moved = None if way == "label" or not about.uid else _session_of(project, about.uid)
        if moved is not None:  # whatever its subject is called by now
            numbers |= {"subject": moved.subject_id, "session": moved.id}
        else:
            numbers["subject"] = _subject(project, sent, actor)
            if sent.lowest == "subject":
                return numbers
            numbers["session"] = _child(Session, numbers["subject"], about, way, actor)
    if "acquisition" in sent.containers:
        numbers["acquisition"] = _child(Acquisition, numbers["session"], sent.containers["acquisition"], way, actor)
    return numbers


def _subject(project: Project, sent: SentHierarchy, actor: Actor) -> int:
    about = sent.containers.get("subject", SentContainer())
    session = sent.containers.get("session", SentContainer())
    label = about.label or f"unidentified-{session.uid or session.label}"[: labels.MAX_LABEL_LENGTH]
    label = labels.clean(label, field="subject.label")
    live = Subject.select().where(Subject.project == project, Subject.label == label, Subject.trash.is_null())
    found = live.order_by(Subject.id).first()
    return int(
        found.id if found is not None else containers.add_subject(project.id, label, said=about.said, actor=actor).id
    )


def _session_of(project: Project, uid: str) -> Session | None:
    live = (
        Session.select()
        .join(Subject)
        .where(Subject.project == project, Session.uid == uid, Session.trash.is_null(), Subject.trash.is_null())
    )
    row: Session | None = live.order_by(Session.id).first()
    return row


def _child(
    table: type[Session] | type[Acquisition], parent_id: int, about: SentContainer, way: Way, actor: Actor
) -> int:
    """A session of a subject, or an acquisition of a session: by its UID where UIDs decide, else by its label."""
    kind: Literal["session", "acquisition"] = "session" if table is Session else "acquisition"
    parent: Any = Session.subject if table is Session else Acquisition.session
    found: Any = None
    if about.uid and way != "label":
        found = table.get_or_none(parent == parent_id, table.uid == about.uid)
    elif about.label:
        live = table.select().where(parent == parent_id, table.label == about.label, table.trash.is_null())
        found = live.order_by(table.id).first()
    if found is not None:
        placement.take_out_of_trash(kind, found.id)
        return int(found.id)
    label = about.label or about.uid
    if not label:
        raise BadValue(f"The metadata names the {kind} neither by a label nor by a uid.", field=kind)
    same_uid = bool(about.uid) and table.get_or_none(parent == parent_id, table.uid == about.uid) is not None
    add = containers.add_session if table is Session else containers.add_acquisition
    uid = None if same_uid else about.uid or None
    return int(add(parent_id, label, uid=uid, timestamp=about.timestamp, said=about.said, actor=actor).id)


def _row(level: Level, number: int) -> Any:
    return containers.TABLES[level].get_by_id(number)


def _container(level: Level, fields: dict[str, Any]) -> SentContainer:
    label = _text(f"{level}.label", fields.get("label") or (fields.get("code") if level == "subject" else None))
    uid = _text(f"{level}.uid", fields.get("uid"))
    moment = _text(f"{level}.timestamp", fields.get("timestamp"))
    return SentContainer(
        label=labels.clean(label, field=f"{level}.label") if label else "",
        uid=uids.clean(uid, name=f"{level}.uid") if uid and level in ("session", "acquisition") else "",
        timestamp=timestamps.parse(moment, field=f"{level}.timestamp") if moment else None,
        said=_said(level, fields),
    )


def _said(level: Level, fields: dict[str, Any]) -> Said:
    """`info`, and the fields that no column has (`sex`, `age`, `operator` …); tags as well."""
    info = {**_object(f"{level}.info", fields.get("info")), **metadata_values.kept(fields, _COLUMNS)}
    tags = fields.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise BadValue(f"{level}.tags must be a list of texts.", field="tags")
    return Said(info=metadata_values.info(info), tags=metadata_values.tags(tags))


def _files(level: Level, value: Any) -> list[FileMetadata]:
    if not isinstance(value or [], list) or len(value or []) > MAX_FILES:
        raise BadValue(f"{level}.files must be a list of at most {MAX_FILES:,} files.", field="files")
    found = [FileMetadata.parse(one) for one in value or []]
    if not all(one.name for one in found):
        raise BadValue(f"Each entry of {level}.files needs the name of a file of the request.", field="files")
    return found


def _object(name: str, value: Any) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise BadValue(f"{name} must be an object.", field=name)
    return value or {}


def _text(name: str, value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise BadValue(f"{name} must be a text.", field=name)
    return value or ""
