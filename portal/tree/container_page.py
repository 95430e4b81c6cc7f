"""One place of the tree as its Data page shows it: the way to it, who made it, what its objects say."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal import timestamps
from portal.access import origins
from portal.access.rights import Scope
from portal.models import (
    Acquisition,
    Blob,
    FileVersion,
    Group,
    Instance,
    Project,
    Series,
    Session,
    Study,
    Subject,
)
from portal.tree import containers, frames

MAX_INSTANCES = 200
"""Instances of one file that its page names."""


@dataclass(frozen=True, kw_only=True)
class PathStep:
    level: str
    id: int
    label: str


@dataclass(frozen=True, kw_only=True)
class ContainerPage:
    """A container: the way to it (itself last), who made it (by name: a project), and what its objects say."""

    level: str
    id: int
    label: str
    path: str
    """GROUP/PROJECT of its project."""
    way: tuple[PathStep, ...]
    origin: origins.NamedOrigin
    via: str
    created: datetime
    facts: tuple[tuple[str, str], ...]
    series: Series | None = None
    """Of an acquisition: what its objects say of their series."""


def project_paths(scope: Scope) -> list[str]:
    """GROUP/PROJECT of every project of a scope, for a form to choose from."""
    found = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects))
    return [f"{row.group.code}/{row.label}" for row in found.order_by(Group.code, Project.label)]


def get(level: str, number: int, scope: Scope) -> ContainerPage:
    """One container. Raises Missing where there is none, or the scope does not reach it."""
    row = containers.get(level, number, scope)
    way = _way(row)
    project = containers.project_of(row)
    path = f"{project.group.code}/{project.label}"
    series = frames.series_of_acquisition(row.id) if isinstance(row, Acquisition) else None
    return ContainerPage(
        level=level,
        id=row.id,
        label=row.label,
        path=path,
        way=(PathStep(level="project", id=project.id, label=path), *way[1:]),
        origin=origins.name(row) if level == "project" else origins.without_name(row),
        via=row.origin_via,
        created=row.created,
        facts=tuple((name, str(value)) for name, value in _facts(row, series) if value),
        series=series,
    )


def older_versions(file_id: int) -> list[FileVersion]:
    """What a file was before, the last one first."""
    found = FileVersion.select(FileVersion, Blob).join(Blob).where(FileVersion.file == file_id)
    return list(found.order_by(FileVersion.version.desc()))


def instances(file_id: int) -> list[Instance]:
    """The SOP Instances in a file: one, or one a member of a zip; the first `MEMBERS` of them."""
    found = Instance.select(Instance, Series, Study).join(Series).join(Study).where(Instance.file == file_id)
    return list(found.order_by(Instance.member).limit(MAX_INSTANCES))


def _way(row: Any) -> tuple[PathStep, ...]:
    """The containers from the project down to this one."""
    steps = [PathStep(level=containers.kind_of(row), id=row.id, label=row.label)]
    while not isinstance(row, Project):
        row = containers.parent_of(row)
        steps.insert(0, PathStep(level=containers.kind_of(row), id=row.id, label=row.label))
    return tuple(steps)


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
        ("Born, sex", " ".join(part for part in (timestamps.format_dicom(study.birth_date), study.sex) if part)),
        ("Study Instance UID", study.study_uid),
        ("Study date, time", timestamps.format_dicom(study.date, study.time)),
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
        ("Date, time", timestamps.format_dicom(series.date, series.time)),
    ]
