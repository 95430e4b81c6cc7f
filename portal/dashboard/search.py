"""The search box: things are found by the beginning of any of their names, labels and UIDs."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import SQL, Expression, NodeList

from portal.access.rights import Scope
from portal.devices import key_format
from portal.dicom import person_names
from portal.listing import contains, starts_with, starts_with_ignoring_case
from portal.models import (
    ApiKey,
    Caller,
    Device,
    File,
    Group,
    Instance,
    Job,
    Peer,
    Project,
    Series,
    Storage,
    Study,
    Subject,
    User,
)

MAX_HITS = 10
"""Hits of one kind; for others, one types more of the name or searches the list of that kind."""
_UID = re.compile(r"[0-9]+(\.[0-9]*)+")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{0,3}){1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One thing that was found: its id for the address of its page, and two lines about it."""

    id: int
    title: str
    second: str = ""
    level: str = ""
    """Of what is in the tree: the level of the container whose page shows it; otherwise empty."""
    day: str = ""
    """The Study Date, as in the objects."""
    project: str = ""
    """GROUP/PROJECT, if the thing can be exported on its own."""


@dataclass(frozen=True, kw_only=True)
class HitGroup:
    """The hits of one kind; `more` if there are others."""

    kind: str
    hits: tuple[Hit, ...]
    more: bool


def find(text: str, scope: Scope, *, is_admin: bool) -> list[HitGroup]:
    """What begins with this text, kind by kind; interfaces, users and jobs only for site admins.

    Each kind is one indexed look-up, or a scan of a table of some thousand rows.
    """
    if key_id := key_format.key_id_in(text):
        if not is_admin:
            return []
        keys: Any = ApiKey.select(ApiKey.key_id, ApiKey.name, Device.id, Device.label)
        keys = keys.join(Device, on=(ApiKey.owner_id == Device.id), attr="device").order_by(ApiKey.key_id)
        keys = keys.where(ApiKey.owner_type == "device", starts_with(ApiKey.key_id, key_id)).limit(MAX_HITS + 1)
        hits = [
            Hit(id=row.device.id, title=row.key_id, second=f"{row.name}, key of {row.device.label}") for row in keys
        ]
        of_users: Any = ApiKey.select(ApiKey.key_id, ApiKey.name, User.id, User.email)
        of_users = of_users.join(User, on=(ApiKey.owner_id == User.id)).where(ApiKey.owner_type == "user")
        of_users = of_users.where(starts_with(ApiKey.key_id, key_id)).order_by(ApiKey.key_id).limit(MAX_HITS + 1)
        user_hits = [
            Hit(id=number, title=key, second=f"{name}, key of {email}")
            for key, name, number, email in of_users.tuples()
        ]
        return [group for group in (_group("key", hits), _group("user_key", user_hits)) if group.hits]

    is_uid = bool(_UID.fullmatch(text))
    groups = []
    if is_admin and _NUMBER.fullmatch(text):
        rows = Job.select().where(Job.id == int(text))
        hits = [Hit(id=row.id, title=f"Job {row.id}", second=f"{row.what or row.kind}, {row.state}") for row in rows]
        groups.append(_group("job", hits))
    groups += _by_uid(text, scope) if is_uid else _by_name(text, scope)
    if is_admin and (_ADDRESS.fullmatch(text) or not is_uid):
        groups += _interfaces(text, only_address=is_uid)
    return [group for group in groups if group.hits]


def find_sessions(text: str, project_id: int, limit: int) -> list[int]:
    """The sessions of a project whose studies match this text, as in the search box."""
    matches = starts_with(Study.study_uid, text) if _UID.fullmatch(text) else _of_patient(text)
    only = Scope(projects=(project_id,), stores=frozenset())
    rows = Study.select(Study.session).where(
        matches, Study.session.is_null(False), Study.n_instances > 0, _in(Study.project, only)
    )
    return sorted({row.session_id or 0 for row in rows.limit(limit)})


def _by_uid(uid: str, scope: Scope) -> Iterator[HitGroup]:
    yield _group("study", _studies(starts_with(Study.study_uid, uid), scope))

    query: Any = (
        Series.select(Series, Study)
        .join(Study)
        .where(starts_with(Series.series_uid, uid), Series.n_instances > 0, _in(Study.project, scope))
    )
    hits = [
        Hit(
            id=row.acquisition_id,
            level="acquisition",
            title=" ".join(part for part in (row.modality, row.number, row.description) if part) or row.series_uid,
            second=_labelled(("Patient ID", row.study.patient_id), ("series", row.series_uid)),
        )
        for row in query.limit(MAX_HITS + 1)
        if row.acquisition_id
    ]
    yield _group("series", hits)

    query = (
        Instance.select(Instance.id, Instance.sop_uid, Instance.state, File.id, File.name)
        .join(File)
        .where(starts_with(Instance.sop_uid, uid), File.deleted_at.is_null(), _in(Instance.project, scope))
    )
    hits = [
        Hit(id=row.file.id, title=row.file.name, second=_labelled(("object", row.sop_uid), ("", row.state)))
        for row in query.limit(MAX_HITS + 1)
    ]
    yield _group("instance", hits)


def _by_name(text: str, scope: Scope) -> Iterator[HitGroup]:
    yield _group("study", _studies(_of_patient(text), scope))

    # Subjects project by project, which is the order of the index.
    query: Any = (
        Subject.select(Subject, Project, Group)
        .join(Project)
        .join(Group)
        .where(
            Subject.project.in_(scope.projects), Subject.trash.is_null(), starts_with_ignoring_case(Subject.label, text)
        )
    )
    hits = [
        Hit(id=row.id, level="subject", title=row.label, second=_path(row.project), project=_path(row.project))
        for row in query.limit(MAX_HITS + 1)
    ]
    yield _group("subject", hits)

    named = contains(Project.label, text) | contains(Project.ae_title, text) | contains(Group.code, text)
    path = contains(Group.code.concat("/").concat(Project.label), text)
    query = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects), named | path)
    hits = [
        Hit(id=row.id, level="project", title=_path(row), second=row.ae_title or "", project=_path(row))
        for row in query.order_by(Group.code, Project.label).limit(MAX_HITS + 1)
    ]
    yield _group("project", hits)


def _interfaces(text: str, *, only_address: bool) -> Iterator[HitGroup]:
    """What site admins also search: interfaces and users; of an address only what has one."""
    devices = Device.select().where(contains(Device.label, text) | contains(Device.last_address, text))
    devices = devices.where(Device.removed.is_null())
    hits = [
        Hit(
            id=row.id,
            title=row.label,
            second=_labelled(("", (row.type or "").capitalize()), ("", row.last_address or "")),
        )
        for row in devices.order_by(Device.label).limit(MAX_HITS + 1)
    ]
    yield _group("device", hits)

    named = contains(Peer.label, text) | contains(Peer.ae_title, text) | contains(Peer.host, text)
    peers = Peer.select().where(named | contains(Peer.addresses.cast("TEXT"), text)).order_by(Peer.label)
    hits = [
        Hit(id=row.id, title=row.label, second=_labelled(("", row.ae_title), ("at", row.host)))
        for row in peers.limit(MAX_HITS + 1)
    ]
    yield _group("peer", hits)

    callers = Caller.select().where(contains(Caller.calling, text) | contains(Caller.address, text))
    hits = [
        Hit(id=row.id, title=row.calling, second=f"{row.message} Called {row.called} from {row.address}.")
        for row in callers.order_by(Caller.last.desc()).limit(MAX_HITS + 1)
    ]
    yield _group("caller", hits)

    if not only_address:
        storages = Storage.select().where(contains(Storage.label, text)).order_by(Storage.label).limit(MAX_HITS + 1)
        yield _group("storage", [Hit(id=row.id, title=row.label, second=row.message) for row in storages])
    if not only_address and not text.isdecimal():
        users = User.select().where(contains(User.email, text)).order_by(User.email).limit(MAX_HITS + 1)
        roles = [(row, "site admin" if row.is_admin else "") for row in users]
        yield _group("user", [Hit(id=row.id, title=row.email, second=role) for row, role in roles])


def _group(kind: str, hits: Sequence[Hit]) -> HitGroup:
    return HitGroup(kind=kind, hits=tuple(hits[:MAX_HITS]), more=len(hits) > MAX_HITS)


def _of_patient(text: str) -> Any:
    """A name, a Patient ID or an accession number begins with the text, ignoring case."""
    named = starts_with(Study.patient_name_folded, person_names.fold(text) or text)
    return named | starts_with_ignoring_case(Study.patient_id, text) | starts_with_ignoring_case(Study.accession, text)


def _studies(condition: Any, scope: Scope) -> list[Hit]:
    """Without an order, so that each index stops at the first rows, whatever the number of matches."""
    names = (Study.id, Study.session, Study.patient_name, Study.patient_id, Study.accession, Study.date)
    query: Any = Study.select(*names, Study.description, Study.study_uid, Project.label, Group.code)
    # The outer joins keep SQLite from beginning with a project.
    query = query.left_outer_join(Project).left_outer_join(Group)
    rows = list(query.where(condition, Study.n_instances > 0, _in(Study.project, scope)).limit(MAX_HITS + 1))
    return [
        Hit(
            id=row.session_id,
            level="session",
            title=" ".join(part for part in (row.patient_name, row.description) if part) or row.study_uid,
            day=row.date,
            project=_path(row.project),
            second=_labelled(
                *(("", _path(row.project)), ("Patient ID", row.patient_id)),
                *(("accession", row.accession), ("study", row.study_uid)),
            ),
        )
        for row in rows
        if row.session_id
    ]


def _path(project: Project) -> str:
    return f"{project.group.code}/{project.label}"


def _in(project: Any, scope: Scope) -> Any:
    """In the scope. The plus keeps SQLite from using the index of projects, as another one finds fewer rows."""
    return Expression(NodeList((SQL("+"), project), glue=""), "IN", scope.projects)


def _labelled(*pairs: tuple[str, str]) -> str:
    """Patient ID 4711, accession A12."""
    return ", ".join(f"{name} {value}".strip() for name, value in pairs if value)
