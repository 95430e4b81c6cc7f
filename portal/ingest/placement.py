"""Where an object is placed: its project, and its containers within that project (docs/decisions/0084)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal
from zoneinfo import ZoneInfo

from portal import site_settings
from portal.access.actors import Origin
from portal.access.rights import Scope
from portal.dicom.header import Header
from portal.errors import Missing, NotAllowed
from portal.ingest import patients, routing
from portal.ingest.patients import Patient
from portal.ingest.routing import Sender
from portal.models import Acquisition, File, Project, Session, Subject, arrivals
from portal.tree import containers, labels, projects

_UNSEEN = re.compile(r"[\x00-\x1f\x7f/]+")
_TIMEZONE = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What the sender asks for: a project by the called AE title or the peer's setting, or one container by REST."""

    called_project: int | None = None
    store_to: int | None = None
    sender: Sender | None = None
    """Of a C-STORE: routing rules place what comes by it, and nothing else."""
    container_type: Literal["project", "subject", "session", "acquisition"] | None = None
    container_id: int | None = None
    name: str | None = None
    also_here: bool = False
    """With a container: keep the object in it even if the same one is elsewhere in the project."""


def check(placement: Placement, scope: Scope) -> None:
    """Raise NotAllowed or Missing, before a byte is kept, where the sender may not store there."""
    if placement.called_project is not None and not scope.writes(placement.called_project):
        raise NotAllowed("The peer may not store to the project whose AE title it called. Grant it access.")
    if placement.container_type is not None:
        _container_project(placement, scope)


def project_for(placement: Placement, scope: Scope, header: Header | None) -> int:
    """The project's id: by the container, the called title, the study, the peer's setting, a rule, else
    `unknown/Unsorted` (docs/decisions/0134).

    Every step stays within the projects that the sender may store to. A job that fetches objects for a project
    names it as if it had been called.
    """
    if placement.container_type is not None:
        return _container_project(placement, scope)
    if placement.called_project is not None:
        return placement.called_project
    held_by = [
        project_id
        for project_id in arrivals.projects_holding(header.study_uid if header else "")
        if scope.writes(project_id)
    ]
    if len(held_by) == 1:
        return held_by[0]
    if placement.store_to is not None and scope.writes(placement.store_to):
        return placement.store_to
    if placement.sender is not None and header is not None:
        routed = routing.project_for(placement.sender, header, scope)
        if routed is not None:
            return routed
    return int(projects.ensure_unsorted().id)


def acquisition_for(project_id: int, header: Header, origin: Origin) -> int:
    """The row number of the acquisition of the object's series, created with its session and subject if they are new.

    A study of which something is shown keeps its session, so that it is never split. An object of another patient goes
    to a session of its own patient, and so does a study that comes again when nothing of it is shown any more.
    """
    study = arrivals.study(project_id, header.study_uid)
    patient = Patient(header.patient_id, header.issuer)
    if (
        study is not None
        and study.session_id is not None
        and study.n_instances
        and patients.is_same(Patient(study.patient_id, study.issuer), patient)
    ):
        session_id = study.session_id
        if header.issuer and not study.issuer:
            _learn_issuer(Session.get_by_id(session_id).subject, header.issuer)
    else:
        session_id = _session_of_patient(project_id, patient, header, origin)
    known = arrivals.acquisition(session_id, header.series_uid)
    if known is not None:
        return known
    acquisition = Acquisition.create(
        session=session_id,
        label=_label(f"{header.series_number} {header.series_description or header.modality}", header.series_uid),
        uid=header.series_uid,
        timestamp=parse_date_time(header.series_date, header.series_time, header.timezone),
        **origin.fields,
    )
    return int(acquisition.id)


def take_out_of_trash(container_type: str, container_id: int) -> None:
    """Take a container and those above it out of the trash, inside the caller's write block, for something new in it.

    Their earlier content stays in the trash.
    """
    if container_type == "project" or not arrivals.is_in_trash(container_type, container_id):
        return
    row: Any = containers.TABLES[container_type].get_by_id(container_id)
    while not isinstance(row, Project):
        row.trash = None
        row.save(only=["trash"])
        row = containers.parent_of(row)


def project_id_of(file: File) -> int:
    """The row number of the project of a file."""
    row: Any = containers.TABLES[file.parent_type].get_by_id(file.parent_id)
    return int(containers.project_of(row).id)


def free_name(container_type: str, container_id: int, name: str) -> str:
    """The name, or if a live file of the container has it, the first of `name-2`, `name-3`, … that is free."""
    stem, dot, ending = name.rpartition(".")
    if not stem:
        stem, dot, ending = name, "", ""
    candidate, number = name, 1
    while arrivals.live_file(container_type, container_id, candidate) is not None:
        number += 1
        candidate = f"{stem}-{number}{dot}{ending}"
    return candidate


def container_path(container_type: str | None, container_id: int | None) -> dict[str, Any] | None:
    """Type and labels, from the group down, of a container: how footers name it without the database."""
    if container_type is None or container_id is None:
        return None
    row: Any = containers.TABLES[container_type].get_by_id(container_id)
    path: list[str] = []
    while not isinstance(row, Project):
        path.insert(0, row.label)
        row = containers.parent_of(row)
    return {"type": container_type, "path": [row.group.code, row.label, *path]}


def parse_date_time(date: str, time: str, offset: str) -> datetime | None:
    """A DICOM date and time in UTC: by its own offset, else in the site's time zone. None if unreadable."""
    try:
        clock = time.partition(".")[0][:6].ljust(6, "0")
        local = datetime.strptime(date + clock, "%Y%m%d%H%M%S")  # noqa: DTZ007 (as recorded; the zone comes next)
        return local.replace(tzinfo=_timezone(offset)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _container_project(placement: Placement, scope: Scope) -> int:
    kind, row_id = placement.container_type, placement.container_id
    if kind is None or row_id is None:
        raise Missing("The upload names no container.")
    project_id = int(containers.project_of(containers.get(kind, row_id, scope)).id)
    if not scope.writes(project_id):
        raise NotAllowed("You can read this project but not write to it. Ask a site admin for write access.")
    return project_id


def _session_of_patient(project_id: int, patient: Patient, header: Header, origin: Origin) -> int:
    """The row number of the study's session in its patient's subject; both are created where they are new.

    There is one subject for each patient, and for objects without a Patient ID one for each study.
    """
    label = _label(header.patient_id, "") or f"unidentified-{header.study_uid}"
    subject: Subject | None = None
    if header.patient_id:
        known = {issuer: number for number, issuer in arrivals.subjects(project_id, header.patient_id)}
        number = patients.subject_of(patient, known)
        subject = None if number is None else Subject.get_by_id(number)
        if subject is not None and patient.issuer:
            _learn_issuer(subject, patient.issuer)
    else:
        subject = Subject.get_or_none(Subject.project == project_id, Subject.patient_id == "", Subject.label == label)
    if subject is None:
        subject = Subject.create(
            project=project_id, label=label, patient_id=header.patient_id, issuer=header.issuer, **origin.fields
        )

    session: Session | None = Session.get_or_none(Session.subject == subject, Session.uid == header.study_uid)
    if session is None:
        timestamp = parse_date_time(header.study_date, header.study_time, header.timezone)
        day = timestamp.astimezone(_timezone(header.timezone)).strftime("%Y-%m-%d") if timestamp else ""
        text = f"{day} {header.study_description or header.study_id or header.modality}"
        session = Session.create(
            subject=subject,
            label=_label(text, header.study_uid),
            uid=header.study_uid,
            timestamp=timestamp,
            **origin.fields,
        )
    return int(session.id)


def _learn_issuer(subject: Subject, issuer: str) -> None:
    """A subject without an issuer gets the first one that arrives, unless another subject of the Patient ID has it."""
    known = arrivals.subjects(subject.project_id, subject.patient_id)
    if not subject.issuer and known and issuer not in {other for _, other in known}:
        subject.issuer = issuer
        subject.save(only=[Subject.issuer])


def _label(text: str, fallback: str) -> str:
    """Header text as a label: invisible characters and path separators are replaced."""
    shown = (
        "".join(c if c.isprintable() else " " for c in _UNSEEN.sub("_", text))
        .strip()[: labels.MAX_LABEL_LENGTH]
        .strip()
    )
    return fallback if shown in ("", ".", "..", "_") else shown


def _timezone(offset: str) -> timezone | ZoneInfo:
    match = _TIMEZONE.fullmatch(offset)
    if match is None:
        return ZoneInfo(site_settings.get("site.time_zone"))
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
