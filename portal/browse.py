"""The tree as the Data pages show it: what lies where, how much of it, and who put it there."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import ModelSelect, fn

from portal import containers, frames, origins, usage
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
    files: int = 0
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
    """A container: the way to it (itself last), who made it (by name: a project), and what its objects say."""

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
    series: Series | None = None
    """Of an acquisition: what its objects say of their series."""


def projects(scope: Scope, search: str, limit: int, skip: int) -> tuple[Sequence[Row], int]:
    """The projects of a scope by group and label; `second` is the AE title."""
    found = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects))
    if search:
        found = found.where(
            Project.label.contains(search) | Group.code.contains(search) | Project.ae_title.contains(search)
        )
    rows = list(found.order_by(Group.code, Project.label).limit(limit).offset(skip))
    inside, names = _inside(Subject, Subject.project, rows), _names(rows)
    held = usage.of("project", [row.id for row in rows])
    return [
        Row(label=f"{row.group.code}/{row.label}", second=row.ae_title or "", **_common(row, inside, names, held))
        for row in rows
    ], _total(found, rows, limit, skip)


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
    series = frames.of_acquisition(row.id) if isinstance(row, Acquisition) else None
    return Place(
        level=level,
        id=row.id,
        label=row.label,
        path=path,
        way=(Step(level="project", id=project.id, label=path), *way[1:]),
        origin=origins.name(row) if level == "project" else origins.unnamed(row),
        via=row.origin_via,
        created=row.created,
        facts=tuple((name, str(value)) for name, value in _facts(row, series) if value),
        series=series,
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
    inside, names = _below(table, rows), _names(rows if table is not Acquisition else ())
    more = _series(rows) if table is Acquisition else {}
    held = usage.of(table._meta.table_name, [row.id for row in rows])
    return [
        Row(
            label=row.label,
            second=getattr(row, _second(table).name) or "",
            **more.get(row.id, {}),
            **_common(row, inside, names, held),
        )
        for row in rows
    ], _total(found, rows, limit, skip)


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
            state=states.get(row.id, ""),
            **_common(row, {}, names, {row.id: usage.Amount(1, row.blob.size)}),
        )
        for row in rows
    ], _total(found, rows, limit, skip)


def versions(file_id: int) -> list[FileVersion]:
    """What a file was before, the last one first."""
    found = FileVersion.select(FileVersion, Blob).join(Blob).where(FileVersion.file == file_id)
    return list(found.order_by(FileVersion.version.desc()))


def instances(file_id: int) -> list[Instance]:
    """The SOP Instances in a file: one, or one a member of a zip; the first `MEMBERS` of them."""
    found = Instance.select(Instance, Series, Study).join(Series).join(Study).where(Instance.file == file_id)
    return list(found.order_by(Instance.member).limit(MEMBERS))


def _total(found: Any, rows: Sequence[Any], limit: int, skip: int) -> int:
    """How many rows the whole list has; a list that ends on its first page need not be asked again."""
    return len(rows) if not skip and len(rows) < limit else int(found.count())


def _common(
    row: Any,
    inside: dict[int, int],
    names: dict[origins.Key, origins.Named],
    held: dict[int, usage.Amount],
) -> dict[str, Any]:
    amount = held.get(row.id, usage.Amount(0, 0))
    return {
        "files": amount.files,
        "size": amount.size,
        "id": row.id,
        "inside": inside.get(row.id, 0),
        "origin": names.get((row.origin_type, row.origin_id)) or origins.unnamed(row),
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
    return {}


def _series(rows: Sequence[Any]) -> dict[int, dict[str, Any]]:
    """What the objects of some acquisitions say of their series."""
    found = Series.select().where(Series.acquisition.in_([row.id for row in rows]), Series.n_instances > 0)
    return {row.acquisition_id or 0: {"series": row, "kind": frames.kind_of_modality(row.modality)} for row in found}


def _inside(table: Any, parent: Any, rows: Sequence[Any]) -> dict[int, int]:
    found = table.select(parent, fn.COUNT(table.id)).where(parent.in_([row.id for row in rows]), table.trash.is_null())
    return dict(found.group_by(parent).tuples())


def _states(rows: Sequence[File]) -> dict[int, str]:
    if not rows:
        return {}
    found: ModelSelect[Any] = Instance.select(Instance.file, Instance.state).where(
        Instance.file.in_([row.id for row in rows]), Instance.state != CURRENT
    )
    return dict(found.tuples())


def _facts(row: Any, series: Series | None) -> list[tuple[str, Any]]:
    """What the objects in a container say about it, as recorded."""
    if isinstance(row, Subject):
        return [("Patient ID", row.patient_id), ("Issuer", row.issuer)]
    if isinstance(row, Session):
        return _of_study(Study.get_or_none(Study.session == row.id))
    if isinstance(row, Acquisition):
        return _of_series(series)
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
