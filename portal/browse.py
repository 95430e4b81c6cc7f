"""The tree as the Data pages show it: what lies where, how much of it, and who put it there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import ModelSelect, fn

from portal import containers, frames, origins
from portal.models import (
    CURRENT,
    Acquisition,
    Blob,
    File,
    FileVersion,
    Group,
    Instance,
    Project,
    Series,
    Session,
    Study,
    Subject,
)
from portal.rights import Scope

BELOW: dict[str, Any] = {"project": Subject, "subject": Session, "session": Acquisition}
"""What lies directly in a container of each level but the last."""

MEMBERS = 200
"""Instances of one file that its page names."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One container or file of a list. `second` is what the machine calls it, `inside` how many things it holds."""

    id: int
    label: str
    second: str
    inside: int
    origin: origins.Named
    via: str
    created: datetime
    size: int = 0
    state: str = ""
    series: Series | None = None
    """What an acquisition's objects say of it; None where it has none that are shown."""
    kind: frames.Kind = "other"


@dataclass(frozen=True, kw_only=True)
class Step:
    level: str
    id: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """A container: the way to it (itself last), who made it, and what its objects say."""

    level: str
    id: int
    label: str
    path: str
    """GROUP/PROJECT of its project."""
    way: tuple[Step, ...]
    origin: origins.Named
    via: str
    created: datetime
    facts: tuple[tuple[str, str], ...]


def projects(scope: Scope, search: str, limit: int, skip: int) -> tuple[Sequence[Row], int]:
    """The projects of a scope by group and label; `second` is the AE title."""
    found = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects))
    if search:
        found = found.where(
            Project.label.contains(search) | Group.code.contains(search) | Project.ae_title.contains(search)
        )
    rows = list(found.order_by(Group.code, Project.label).limit(limit).offset(skip))
    inside, names = _inside(Subject, Subject.project, rows), _names(rows)
    return [
        Row(label=f"{row.group.code}/{row.label}", second=row.ae_title or "", **_common(row, inside, names))
        for row in rows
    ], found.count()


def paths(scope: Scope) -> list[str]:
    """GROUP/PROJECT of every project of a scope, for a form to choose from."""
    found = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects))
    return [f"{row.group.code}/{row.label}" for row in found.order_by(Group.code, Project.label)]


def place(level: str, number: int, scope: Scope) -> Place:
    """One container. Raises Missing where there is none, or the scope does not reach it."""
    row = containers.get(level, number, scope)
    way = _way(row)
    project = containers.project_of(row)
    path = f"{project.group.code}/{project.label}"
    return Place(
        level=level,
        id=row.id,
        label=row.label,
        path=path,
        way=(Step(level="project", id=project.id, label=path), *way[1:]),
        origin=origins.name(row),
        via=row.origin_via,
        created=row.created,
        facts=tuple((name, str(value)) for name, value in _facts(row) if value),
    )


def children(parent: Place, search: str, limit: int, skip: int) -> tuple[Sequence[Row], int]:
    """The containers directly below one, by label; none below an acquisition."""
    table = BELOW.get(parent.level)
    if table is None:
        return [], 0
    found = table.select().where(getattr(table, parent.level) == parent.id, table.trash.is_null())
    if search:
        found = found.where(_second(table).contains(search) | table.label.contains(search))
    first = (table.label.cast("INTEGER"),) if table is Acquisition else ()
    rows = list(found.order_by(*first, table.label, table.id).limit(limit).offset(skip))
    inside, names = _below(table, rows), _names(rows)
    more = _series(rows) if table is Acquisition else {}
    return [
        Row(
            label=row.label,
            second=getattr(row, _second(table).name) or "",
            **more.get(row.id, {}),
            **_common(row, inside, names),
        )
        for row in rows
    ], found.count()


def files(parent: Place, search: str, limit: int, skip: int) -> tuple[Sequence[Row], int]:
    """The live files of one container by name; `state` is its instance's where that is not a plain current one."""
    found = (
        File.select(File, Blob)
        .join(Blob)
        .where(File.parent_type == parent.level, File.parent_id == parent.id, File.deleted_at.is_null())
    )
    if search:
        found = found.where(File.name.contains(search))
    rows = list(found.order_by(File.name, File.id).limit(limit).offset(skip))
    states, names = _states(rows), _names(rows)
    return [
        Row(
            label=row.name,
            second=row.type or row.mimetype or "",
            size=row.blob.size,
            state=states.get(row.id, ""),
            **_common(row, {}, names),
        )
        for row in rows
    ], found.count()


def versions(file_id: int) -> list[FileVersion]:
    """What a file was before, the last one first."""
    found = FileVersion.select(FileVersion, Blob).join(Blob).where(FileVersion.file == file_id)
    return list(found.order_by(FileVersion.version.desc()))


def instances(file_id: int) -> list[Instance]:
    """The SOP Instances in a file: one, or one a member of a zip; the first `MEMBERS` of them."""
    found = Instance.select(Instance, Series, Study).join(Series).join(Study).where(Instance.file == file_id)
    return list(found.order_by(Instance.member).limit(MEMBERS))


def _common(row: Any, inside: dict[int, int], names: dict[origins.Key, origins.Named]) -> dict[str, Any]:
    return {
        "id": row.id,
        "inside": inside.get(row.id, 0),
        "origin": names[row.origin_type, row.origin_id],
        "via": row.origin_via,
        "created": row.created,
    }


def _names(rows: Iterable[Any]) -> dict[origins.Key, origins.Named]:
    return origins.names((row.origin_type, row.origin_id) for row in rows)


def _way(row: Any) -> tuple[Step, ...]:
    """The containers from the project down to this one."""
    steps = [Step(level=containers.kind_of(row), id=row.id, label=row.label)]
    while not isinstance(row, Project):
        row = containers.parent_of(row)
        steps.insert(0, Step(level=containers.kind_of(row), id=row.id, label=row.label))
    return tuple(steps)


def _second(table: Any) -> Any:
    """The column that says what the machine calls a row."""
    return Subject.patient_id if table is Subject else table.uid


def _below(table: Any, rows: Sequence[Any]) -> dict[int, int]:
    if table is Subject:
        return _inside(Session, Session.subject, rows)
    if table is Session:
        return _inside(Acquisition, Acquisition.session, rows)
    ids = [row.id for row in rows]
    found: ModelSelect[Any] = File.select(File.parent_id, fn.COUNT(File.id).alias("many")).where(
        File.parent_type == "acquisition", File.parent_id.in_(ids), File.deleted_at.is_null()
    )
    return dict(found.group_by(File.parent_id).tuples())


def _series(rows: Sequence[Any]) -> dict[int, dict[str, Any]]:
    """What is known of some acquisitions beside their names: their series, and how many bytes lie in them."""
    ids = [row.id for row in rows]
    sizes: ModelSelect[Any] = (
        File.select(File.parent_id, fn.SUM(Blob.size))
        .join(Blob)
        .where(File.parent_type == "acquisition", File.parent_id.in_(ids), File.deleted_at.is_null())
        .group_by(File.parent_id)
    )
    found: dict[int, dict[str, Any]] = {number: {"size": size} for number, size in sizes.tuples()}
    for series in Series.select().where(Series.acquisition.in_(ids), Series.n_instances > 0):
        more = {"series": series, "kind": frames.kind_of_modality(series.modality)}
        found.setdefault(series.acquisition_id or 0, {}).update(more)
    return found


def _inside(table: Any, parent: Any, rows: Sequence[Any]) -> dict[int, int]:
    found = table.select(parent, fn.COUNT(table.id)).where(parent.in_([row.id for row in rows]), table.trash.is_null())
    return dict(found.group_by(parent).tuples())


def _states(rows: Sequence[File]) -> dict[int, str]:
    found: ModelSelect[Any] = Instance.select(Instance.file, Instance.state).where(
        Instance.file.in_([row.id for row in rows]), Instance.state != CURRENT
    )
    return dict(found.tuples())


def _facts(row: Any) -> list[tuple[str, Any]]:
    """What the objects in a container say about it, as recorded."""
    if isinstance(row, Subject):
        return [("Patient ID", row.patient_id), ("Issuer", row.issuer)]
    if isinstance(row, Session):
        return _of_study(Study.get_or_none(Study.session == row.id))
    if isinstance(row, Acquisition):
        return _of_series(Series.get_or_none(Series.acquisition == row.id))
    return [("AE title", row.ae_title)]


def _of_study(study: Study | None) -> list[tuple[str, Any]]:
    if study is None:
        return []
    return [
        ("Patient", study.patient_name),
        ("Patient ID", study.patient_id),
        ("Born, sex", " ".join(part for part in (study.birth_date, study.sex) if part)),
        ("Study Instance UID", study.study_uid),
        ("Study date, time", " ".join(part for part in (study.date, study.time) if part)),
        ("Accession", study.accession),
        ("Description", study.description),
        ("Modalities", ", ".join(part for part in study.modalities.split("\\") if part)),
    ]


def _of_series(series: Series | None) -> list[tuple[str, Any]]:
    if series is None:
        return []
    return [
        ("Modality", series.modality),
        ("Series", series.number),
        ("Series Instance UID", series.series_uid),
        ("Description", series.description),
        ("Body part", series.body_part),
        ("Date, time", " ".join(part for part in (series.date, series.time) if part)),
    ]
