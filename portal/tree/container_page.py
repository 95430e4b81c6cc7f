"""One container as its Data page shows it: its path, its origin, its DICOM attributes."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from portal import timestamps
from portal.access import origins, readings
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.models import (
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
from portal.tree import containers, frames

MAX_INSTANCES = 200
"""Instances of one file that its page lists."""


@dataclass(frozen=True, kw_only=True)
class PathStep:
    level: str
    id: int
    label: str


@dataclass(frozen=True, kw_only=True)
class ContainerPage:
    """A container with its path (itself last), its origin by name, and its DICOM attributes."""

    level: str
    id: int
    label: str
    path: str
    """GROUP/PROJECT of its project."""
    steps: tuple[PathStep, ...]
    origin: origins.NamedOrigin
    via: str
    created: datetime
    facts: tuple[tuple[str, str], ...]
    series: Series | None = None
    """Of an acquisition, where it has a series that is shown."""


@dataclass(frozen=True, kw_only=True)
class OlderVersion:
    """An earlier version of a file: who sent it, and who sent the one after it."""

    row: FileVersion
    who: origins.NamedOrigin
    replaced_by: origins.NamedOrigin
    replaced_via: str


def project_paths(scope: Scope) -> list[str]:
    """GROUP/PROJECT of every project of a scope, for a form to choose from."""
    projects = Project.select(Project, Group).join(Group).where(Project.id.in_(scope.projects))
    return [f"{row.group.code}/{row.label}" for row in projects.order_by(Group.code, Project.label)]


def get(level: str, number: int, scope: Scope) -> ContainerPage:
    """One container. Raises Missing where there is none, or the scope does not reach it."""
    row = containers.get(level, number, scope)
    project = containers.project_of(row)
    path = f"{project.group.code}/{project.label}"
    steps: list[PathStep] = []
    above: Any = row
    while not isinstance(above, Project):
        steps.insert(0, PathStep(level=containers.kind_of(above), id=above.id, label=above.label))
        above = containers.parent_of(above)
    series = frames.series_of_acquisition(row.id) if isinstance(row, Acquisition) else None
    return ContainerPage(
        level=level,
        id=row.id,
        label=row.label,
        path=path,
        steps=(PathStep(level="project", id=project.id, label=path), *steps),
        origin=origins.name(row),
        via=row.origin_via,
        created=row.created,
        facts=tuple((name, str(value)) for name, value in _facts(row, series) if value),
        series=series,
    )


def record_view(here: ContainerPage, *, actor: Actor) -> None:
    """Audit that somebody sees a page of a subject, or of a session and what is in it."""
    numbers = {step.level: step.id for step in here.steps}
    for kind in ("session", "subject"):
        if kind in numbers:
            return readings.record_container_view(actor, kind, numbers[kind])
    return None


def older_versions(file: File) -> list[OlderVersion]:
    """The older versions of a file, the newest of them first, with who sent each and who replaced it."""
    query = FileVersion.select(FileVersion, Blob).join(Blob).where(FileVersion.file == file.id)
    rows: list[Any] = list(query.order_by(FileVersion.version.desc()))
    names = origins.names((row.origin_type, row.origin_id) for row in [file, *rows]) if rows else {}
    return [
        OlderVersion(
            row=row,
            who=names[row.origin_type, row.origin_id],
            replaced_by=names[newer.origin_type, newer.origin_id],
            replaced_via=newer.origin_via,
        )
        for newer, row in zip([file, *rows], rows, strict=False)
    ]


def count_instances(file_id: int) -> int:
    """Number of the SOP Instances in a file."""
    return int(Instance.select().where(Instance.file == file_id).count())


def instances(file_id: int) -> list[Instance]:
    """The SOP Instances in a file: one, or one for each member of a zip; the first `MAX_INSTANCES` of them."""
    rows = Instance.select(Instance, Series, Study).join(Series).join(Study).where(Instance.file == file_id)
    return list(rows.order_by(Instance.member).limit(MAX_INSTANCES))


def _facts(row: Any, series: Series | None) -> list[tuple[str, Any]]:
    """Names and values of the DICOM attributes of a container, as its objects have them; of a project its AE title."""
    if isinstance(row, Subject):
        return [("Patient ID", row.patient_id), ("Issuer", row.issuer)]
    if isinstance(row, Session):
        study: Study | None = Study.get_or_none(Study.session == row.id)
        if study is None:
            return []
        return [
            ("Patient", study.patient_name),
            ("Patient ID", study.patient_id),
            ("Birth date, sex", " ".join(filter(None, (timestamps.format_dicom(study.birth_date), study.sex)))),
            ("Study Instance UID", study.study_uid),
            ("Study date, time", timestamps.format_dicom(study.date, study.time)),
            ("Accession", study.accession),
            ("Description", study.description),
            ("Modalities", ", ".join(filter(None, study.modalities.split("\\")))),
        ]
    if isinstance(row, Acquisition):
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
    return [("AE title", row.ae_title)]
