"""The list of the conflicts: those of one object together, each with its patient, study and what differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal import timestamps
from portal.access import origins
from portal.ingest import conflicts
from portal.listing import LongList, contains, ordered
from portal.models import Blob, Conflict, File, Group, Instance, Project, Series, Study


@dataclass(frozen=True, kw_only=True)
class ConflictRow:
    """One conflict. `first` says that the one above it is of another object, `alike` how many below are of the same."""

    row: Conflict
    who: origins.NamedOrigin
    """Who sent it."""
    patient: str
    patient_id: str
    study: str
    """Description and date."""
    instance: str
    """Modality, series and instance number."""
    first: bool
    alike: int


def _brought_by(search: str) -> Sequence[Any]:
    """What the origin of that number (`peer 7`) brought in, and objects of a patient or a study of that name."""
    found = origins.parse_reference(search)
    if found:
        return ((File.origin_type == found[0]) & (File.origin_id == found[1]),)
    columns = (Study.patient_name, Study.patient_id, Study.description, Study.accession)
    of_study = Instance.select(Instance.id).join(Series).join(Study).where(Instance.file == Conflict.file)
    return tuple(fn.EXISTS(of_study.where(contains(column, search))) for column in columns)


def _newest_of_object() -> Any:
    """The number of the newest conflict of the same object, so that those of one object stand together."""
    other: Any = Conflict.alias("other")
    return other.select(fn.MAX(other.id)).where(other.sop_uid == Conflict.sop_uid, other.project == Conflict.project)


def _rows(found: Sequence[Conflict]) -> list[ConflictRow]:
    names = origins.names((row.file.origin_type, row.file.origin_id) for row in found)
    said = _said(found)
    keys = [(row.project_id, row.sop_uid) for row in found]
    rows = []
    for place, row in enumerate(found):
        following = next((at for at in range(place, len(keys)) if keys[at] != keys[place]), len(keys))
        who = names[row.file.origin_type, row.file.origin_id]
        first = place == 0 or keys[place - 1] != keys[place]
        rows.append(
            ConflictRow(row=row, who=who, first=first, alike=following - place - 1, **said.get(row.file_id, _NOTHING))
        )
    return rows


_NOTHING = {"patient": "", "patient_id": "", "study": "", "instance": ""}


def _said(found: Sequence[Conflict]) -> dict[int, dict[str, str]]:
    """What the index says of the objects, by their files."""
    instances = Instance.select(Instance, Series, Study).join(Series).join(Study)
    told = {}
    for instance in instances.where(Instance.file.in_([row.file_id for row in found])):
        series, study = instance.series, instance.series.study
        told[instance.file_id] = {
            "patient": study.patient_name,
            "patient_id": study.patient_id,
            "study": ", ".join(part for part in (study.description, timestamps.format_dicom(study.date)) if part),
            "instance": f"{series.modality or 'Series'} {series.number}, object {instance.number}".replace(" ,", ","),
        }
    return told


CONFLICTS = LongList(
    table=Conflict,
    rows=lambda: (
        Conflict.select(Conflict, File, Blob, Project, Group)
        .join(File)
        .join(Blob)
        .switch(Conflict)
        .join(Project)
        .join(Group)
        .where(File.deleted_at.is_null())
    ),
    counted=lambda: Conflict.select().join(File).switch(Conflict).join(Project).where(File.deleted_at.is_null()),
    views=_rows,
    state=lambda: Conflict.choice,
    searched=(Conflict.sop_uid, Conflict.message, Conflict.differs, Project.label),
    also=_brought_by,
    sorts={
        "came": _newest_of_object,
        "what": lambda: Conflict.differs,
        "project": lambda: ordered(Project.label),
        "state": lambda: Conflict.choice,
    },
    usual="-came",
    heads=(
        *("Conflict", "State", "Kind", "What happened", "Differs", "Project", "Patient", "Patient ID", "Study"),
        *("Object", "SOP Instance UID", "File", "Bytes", "SHA-256", "Origin", "Number", "Name", "By way of", "Since"),
    ),
    cells=lambda found: (
        *(
            found.row.id,
            conflicts.STATE_LABELS[found.row.choice],
            found.row.kind,
            found.row.message,
            found.row.differs,
        ),
        *(f"{found.row.project.group.code}/{found.row.project.label}", found.patient, found.patient_id, found.study),
        *(found.instance, found.row.sop_uid, found.row.file.name, found.row.file.blob.size, found.row.file.blob.digest),
        *(found.who.type, found.who.id, found.who.name, found.row.file.origin_via, found.row.file.created),
    ),
)
