"""The list of conflicts: those of one object together, each with its patient, its study and what differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal import timestamps
from portal.access import origins
from portal.ingest import conflicts
from portal.listing import LongList, contains, ignoring_case
from portal.models import Blob, Conflict, File, Group, Instance, Project, Series, Study


@dataclass(frozen=True, kw_only=True)
class ConflictRow:
    """One conflict. `first`: the row above is of another object. `alike`: number of rows below of the same object."""

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


_NO_INDEX = {"patient": "", "patient_id": "", "study": "", "instance": ""}
_Other: Any = Conflict.alias("other")


def _matching(search: str) -> Sequence[Any]:
    """Conditions: objects that an origin (`peer 7`) sent, or those of a patient or a study that contains the text."""
    origin = origins.parse_reference(search)
    if origin:
        return ((File.origin_type == origin[0]) & (File.origin_id == origin[1]),)
    columns = (Study.patient_name, Study.patient_id, Study.description, Study.accession)
    of_study = Instance.select(Instance.id).join(Series).join(Study)
    of_study = of_study.where(Instance.file == Conflict.file, Instance.member == Conflict.member)
    return tuple(fn.EXISTS(of_study.where(contains(column, search))) for column in columns)


def _rows(conflict_rows: Sequence[Conflict]) -> list[ConflictRow]:
    names = origins.names((row.file.origin_type, row.file.origin_id) for row in conflict_rows)
    by_object = {}
    instances = Instance.select(Instance, Series, Study).join(Series).join(Study)
    files, members = [row.file_id for row in conflict_rows], [row.member for row in conflict_rows]
    for instance in instances.where(Instance.file.in_(files), Instance.member.in_(members)):
        series, study = instance.series, instance.series.study
        by_object[instance.file_id, instance.member] = {
            "patient": study.patient_name,
            "patient_id": study.patient_id,
            "study": ", ".join(filter(None, (study.description, timestamps.format_dicom(study.date)))),
            "instance": f"{series.modality or 'Series'} {series.number}, object {instance.number}".replace(" ,", ","),
        }

    keys = [(row.project_id, row.sop_uid) for row in conflict_rows]
    rows = []
    for place, row in enumerate(conflict_rows):
        following = next((at for at in range(place, len(keys)) if keys[at] != keys[place]), len(keys))
        who = names[row.file.origin_type, row.file.origin_id]
        first = place == 0 or keys[place - 1] != keys[place]
        texts = by_object.get((row.file_id, row.member), _NO_INDEX)
        rows.append(ConflictRow(row=row, who=who, first=first, alike=following - place - 1, **texts))
    return rows


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
    also=_matching,
    sorts={
        # By the newest conflict of the same object, so that those of one object are together.
        "came": lambda: _Other.select(fn.MAX(_Other.id)).where(
            _Other.sop_uid == Conflict.sop_uid, _Other.project == Conflict.project
        ),
        "what": lambda: Conflict.differs,
        "project": lambda: ignoring_case(Project.label),
        "state": lambda: Conflict.choice,
    },
    usual="-came",
    heads=(
        *("Conflict", "State", "Kind", "What happened", "Differs", "Project", "Patient", "Patient ID", "Study"),
        *("Object", "SOP Instance UID", "File", "Bytes", "SHA-256", "Origin", "Number", "Name", "By way of", "Since"),
    ),
    cells=lambda listed: (
        *(
            listed.row.id,
            conflicts.STATE_LABELS[listed.row.choice],
            listed.row.kind,
            listed.row.message,
            listed.row.differs,
        ),
        *(
            f"{listed.row.project.group.code}/{listed.row.project.label}",
            listed.patient,
            listed.patient_id,
            listed.study,
        ),
        *(
            listed.instance,
            listed.row.sop_uid,
            "/".join(filter(None, (listed.row.file.name, listed.row.member))),
            listed.row.file.blob.size,
            listed.row.file.blob.digest,
        ),
        *(listed.who.type, listed.who.id, listed.who.name, listed.row.file.origin_via, listed.row.file.created),
    ),
)
