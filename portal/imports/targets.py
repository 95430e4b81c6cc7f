"""The containers of imported objects, found or created: by the labels of a path, or by what a sidecar records."""

from collections.abc import Sequence
from typing import Any

from portal.access.actors import Origin
from portal.imports.recorded_metadata import Columns
from portal.ingest import patients
from portal.ingest.patients import Patient
from portal.models import Acquisition, Session, Subject, arrivals, writing

ContainerRef = tuple[Any, int]
"""Kind and number of a container."""
_LEVELS: dict[str, tuple[Any, str]] = {
    "subject": (Subject, "project"),
    "session": (Session, "subject"),
    "acquisition": (Acquisition, "session"),
}


def from_labels(labels: Sequence[str], origin: Origin) -> tuple[tuple[str, Columns], ...]:
    """Containers as `find_or_create` takes them, of which only the labels are known."""
    return tuple((level, {"label": label, **origin.fields}) for level, label in zip(_LEVELS, labels, strict=False))


def find(project_id: int, containers: Sequence[tuple[str, Columns]]) -> ContainerRef | None:
    """The last of these containers, each in the one before; None if any does not exist yet."""
    place: ContainerRef = ("project", project_id)
    for level, columns in containers:
        found = _found(level, place[1], columns)
        if found is None:
            return None
        place = (level, found)
    return place


def find_or_create(project_id: int, containers: Sequence[tuple[str, Columns]]) -> ContainerRef:
    """As `find`, but creates the containers that do not exist."""
    found = find(project_id, containers)
    if found is not None:
        return found
    with writing():
        place: ContainerRef = ("project", project_id)
        for level, columns in containers:
            number = _found(level, place[1], columns)
            if number is None:
                table, above = _LEVELS[level]
                number = int(table.create(**{above: place[1]}, **columns).id)
            place = (level, number)
        return place


def _found(level: str, above_id: int, columns: Columns) -> int | None:
    """By its UID or PatientID if it has one, which counts as used even in the trash; otherwise by its label."""
    table, above = _LEVELS[level]
    inside = getattr(table, above) == above_id
    if columns.get("patient_id"):
        patient = Patient(columns["patient_id"], columns["issuer"])
        known = {issuer: number for number, issuer in arrivals.subjects(above_id, patient.patient_id)}
        return patients.subject_of(patient, known)
    if columns.get("uid"):
        same = table.uid == columns["uid"]
    else:
        same = (table.label == columns["label"]) & table.trash.is_null()
        if "patient_id" in columns:
            same &= table.patient_id == ""
        elif "uid" in columns:
            same &= table.uid.is_null()
    row = table.select(table.id).where(inside & same).order_by(table.id).first()
    return None if row is None else int(row.id)
