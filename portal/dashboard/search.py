"""The one search box: a thing is found by the beginning of any name that a machine or a person gives it."""

import re
from collections.abc import Callable, Iterator, Sequence
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
"""Hits of one kind; whoever needs more types more, or searches the list of that kind."""
_UID = re.compile(r"[0-9]+(\.[0-9]*)+")
_ADDRESS = re.compile(r"[0-9]{1,3}(\.[0-9]{0,3}){1,3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]*")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One thing that was found: its row number for the address of its page, and two lines about it."""

    id: int
    title: str
    second: str = ""
    level: str = ""
    """For what lies in the tree: the level of the container whose page shows it; else empty."""
    day: str = ""
    """The date of a study, as its objects have it."""
    project: str = ""
    """GROUP/PROJECT of what can be exported by itself."""


@dataclass(frozen=True, kw_only=True)
class HitGroup:
    """The hits of one kind; `more` says that there are others."""

    kind: str
    hits: tuple[Hit, ...]
    more: bool


def find(text: str, scope: Scope, *, is_admin: bool) -> list[HitGroup]:
    """What begins with this text, kind by kind; the interfaces, users and jobs only for site admins.

    Each kind is one indexed look-up, or a look through a table of some thousand rows.
    """
    return [group for group in _groups(text, scope, is_admin=is_admin) if group.hits]


def find_sessions(text: str, project_id: int, limit: int) -> list[int]:
    """The sessions of a project whose studies are found by this text, as the search box finds studies."""
    found = starts_with(Study.study_uid, text) if _UID.fullmatch(text) else _of_patient(text)
    only = Scope(projects=(project_id,), stores=frozenset())
    rows = Study.select(Study.session).where(
        found, Study.session.is_null(False), Study.n_instances > 0, _in(Study.project, only)
    )
    return sorted({row.session_id or 0 for row in rows.limit(limit)})


def _groups(text: str, scope: Scope, *, is_admin: bool) -> Iterator[HitGroup]:
    if key_id := key_format.key_id_in(text):
        if is_admin:
            yield _group("key", _keys(key_id))
        return
    is_address = bool(_ADDRESS.fullmatch(text))
    is_uid = bool(_UID.fullmatch(text))
    if is_admin and _NUMBER.fullmatch(text):
        yield _group("job", _jobs(int(text)))
    if is_uid:
        yield from _by_uid(text, scope)
    if is_address or not is_uid:
        yield from _by_name(text, scope, only_address=is_uid, is_admin=is_admin)


def _by_uid(uid: str, scope: Scope) -> Iterator[HitGroup]:
    yield _group("study", _studies(starts_with(Study.study_uid, uid), scope))
    yield _group("series", _series(uid, scope))
    yield _group("instance", _instances(uid, scope))


def _by_name(text: str, scope: Scope, *, only_address: bool, is_admin: bool) -> Iterator[HitGroup]:
    if not only_address:
        yield _group("study", _studies(_of_patient(text), scope))
        yield _group("subject", _subjects(text, scope))
        yield _group("project", _projects(text, scope))
    if not is_admin:
        return
    looks: tuple[tuple[str, Callable[[str], list[Hit]]], ...]
    looks = (("device", _devices), ("peer", _peers), ("caller", _callers))
    if not only_address:
        looks += (("storage", _storages),)
    if not only_address and not text.isdecimal():
        looks += (("user", _users),)
    for kind, look in looks:
        yield _group(kind, look(text))


def _group(kind: str, hits: Sequence[Hit]) -> HitGroup:
    return HitGroup(kind=kind, hits=tuple(hits[:MAX_HITS]), more=len(hits) > MAX_HITS)


def _of_patient(text: str) -> Any:
    """The beginning of a name, of a Patient ID or of an accession number, whatever its case."""
    named = starts_with(Study.patient_name_folded, person_names.fold(text) or text)
    return named | starts_with_ignoring_case(Study.patient_id, text) | starts_with_ignoring_case(Study.accession, text)


def _studies(condition: Any, scope: Scope) -> list[Hit]:
    """Without an order: each index stops at the first rows, whatever the number of those that fit.

    The outer joins keep SQLite from beginning with a project.
    """
    names = (Study.id, Study.session, Study.patient_name, Study.patient_id, Study.accession, Study.date)
    query: Any = Study.select(*names, Study.description, Study.study_uid, Project.label, Group.code)
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


def _series(uid: str, scope: Scope) -> list[Hit]:
    query: Any = (
        Series.select(Series, Study)
        .join(Study)
        .where(starts_with(Series.series_uid, uid), Series.n_instances > 0, _in(Study.project, scope))
    )
    return [
        Hit(
            id=row.acquisition_id,
            level="acquisition",
            title=" ".join(part for part in (row.modality, row.number, row.description) if part) or row.series_uid,
            second=_labelled(("Patient ID", row.study.patient_id), ("series", row.series_uid)),
        )
        for row in query.limit(MAX_HITS + 1)
        if row.acquisition_id
    ]


def _instances(uid: str, scope: Scope) -> list[Hit]:
    query: Any = (
        Instance.select(Instance.id, Instance.sop_uid, Instance.state, File.id, File.name)
        .join(File)
        .where(starts_with(Instance.sop_uid, uid), File.deleted_at.is_null(), _in(Instance.project, scope))
    )
    return [
        Hit(id=row.file.id, title=row.file.name, second=_labelled(("object", row.sop_uid), ("", row.state)))
        for row in query.limit(MAX_HITS + 1)
    ]


def _subjects(text: str, scope: Scope) -> list[Hit]:
    """By label; project by project, for that is how the index has them."""
    query: Any = (
        Subject.select(Subject, Project, Group)
        .join(Project)
        .join(Group)
        .where(
            Subject.project.in_(scope.projects), Subject.trash.is_null(), starts_with_ignoring_case(Subject.label, text)
        )
    )
    return [
        Hit(id=row.id, level="subject", title=row.label, second=_path(row.project), project=_path(row.project))
        for row in query.limit(MAX_HITS + 1)
    ]


def _projects(text: str, scope: Scope) -> list[Hit]:
    named = contains(Project.label, text) | contains(Project.ae_title, text) | contains(Group.code, text)
    path = contains(Group.code.concat("/").concat(Project.label), text)
    query: Any = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects), named | path)
    return [
        Hit(id=row.id, level="project", title=_path(row), second=row.ae_title or "", project=_path(row))
        for row in query.order_by(Group.code, Project.label).limit(MAX_HITS + 1)
    ]


def _devices(text: str) -> list[Hit]:
    query = Device.select().where(contains(Device.label, text) | contains(Device.last_address, text))
    return [
        Hit(
            id=row.id,
            title=row.label,
            second=_labelled(("", (row.type or "").capitalize()), ("", row.last_address or "")),
        )
        for row in query.order_by(Device.label).limit(MAX_HITS + 1)
    ]


def _keys(begin: str) -> list[Hit]:
    query: Any = (
        ApiKey.select(ApiKey.key_id, ApiKey.name, Device.id, Device.label)
        .join(Device, on=(ApiKey.owner_id == Device.id), attr="device")
        .where(ApiKey.owner_type == "device", starts_with(ApiKey.key_id, begin))
    )
    return [
        Hit(id=row.device.id, title=row.key_id, second=f"{row.name}, key of {row.device.label}")
        for row in query.order_by(ApiKey.key_id).limit(MAX_HITS + 1)
    ]


def _peers(text: str) -> list[Hit]:
    named = contains(Peer.label, text) | contains(Peer.ae_title, text) | contains(Peer.host, text)
    query = Peer.select().where(named | contains(Peer.addresses.cast("TEXT"), text)).order_by(Peer.label)
    return [
        Hit(id=row.id, title=row.label, second=_labelled(("", row.ae_title), ("at", row.host)))
        for row in query.limit(MAX_HITS + 1)
    ]


def _callers(text: str) -> list[Hit]:
    query = Caller.select().where(contains(Caller.calling, text) | contains(Caller.address, text))
    return [
        Hit(id=row.id, title=row.calling, second=f"{row.message} Called {row.called} from {row.address}.")
        for row in query.order_by(Caller.last.desc()).limit(MAX_HITS + 1)
    ]


def _storages(text: str) -> list[Hit]:
    query = Storage.select().where(contains(Storage.label, text)).order_by(Storage.label).limit(MAX_HITS + 1)
    return [Hit(id=row.id, title=row.label, second=row.message) for row in query]


def _users(text: str) -> list[Hit]:
    query = User.select().where(contains(User.email, text)).order_by(User.email).limit(MAX_HITS + 1)
    return [Hit(id=row.id, title=row.email, second="site admin" if row.is_admin else "") for row in query]


def _jobs(number: int) -> list[Hit]:
    return [
        Hit(id=row.id, title=f"Job {row.id}", second=_labelled(("", row.what or row.kind), ("", row.state)))
        for row in Job.select().where(Job.id == number)
    ]


def _path(project: Project) -> str:
    return f"{project.group.code}/{project.label}"


def _in(project: Any, scope: Scope) -> Any:
    """In the scope; the plus keeps SQLite from going through a project where another index finds the few."""
    return Expression(NodeList((SQL("+"), project), glue=""), "IN", scope.projects)


def _labelled(*pairs: tuple[str, str]) -> str:
    """Patient ID 4711, accession A12."""
    return ", ".join(f"{name} {value}".strip() for name, value in pairs if value)
