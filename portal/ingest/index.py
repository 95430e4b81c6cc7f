"""The DICOM index: judges what arrives against what is there, and keeps Study, Series and Instance true."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from portal.access import audit
from portal.access.actors import Actor
from portal.dicom.header import Header
from portal.ingest import descriptions, patients
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.patients import Patient
from portal.models import (
    ALTERNATE,
    CURRENT,
    HELD,
    SUPERSEDED,
    Conflict,
    Decision,
    File,
    Instance,
    Series,
    Study,
    arrivals,
)
from portal.models.arrivals import KnownObject, KnownStudy

ContainerKey = tuple[str, int]
"""Type and row number of a container."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an arriving object is to those that are here (design decision 3)."""

    state: str
    """current | alternate | held, or `same`: then `file_id` names where it is already."""
    kind: str = ""
    message: str = ""
    differs: str = ""
    """Keywords of what differs, of one that is held."""
    file_id: int | None = None


SAME = "same"
DIFFERENT_CONTENT = "Other content than the object that is here under this UID."
_DIFFERS = {"class": "SOPClassUID", "study": "StudyInstanceUID", "patient": "PatientID"}
SHOWN_AGAIN = "It came again when nothing else was shown under its UID."
IN_TWO_PLACES = "The same object stands elsewhere in this project too: peers see it once."
UNCOMPARED = "The same SOP Instance UID in another transfer syntax, not compared yet."
UNCOMPARED_BYTES = "The same SOP Instance UID in other bytes, not compared yet."
PENDING_COMPARISON = (UNCOMPARED, UNCOMPARED_BYTES)


def judge(
    project_id: int,
    header: Header,
    dataset_digest: str,
    within: ContainerKey | None = None,
    *,
    compared: DuplicateComparison | None = None,
) -> Verdict:
    """Compare an object with the project's by its UIDs. Reads only; takes its rows by index.

    `within` a container, the same object elsewhere does not make it `same`: it stands in both (docs/decisions/0068).
    `compared` is what it was found to be to those under its UID; what it was not compared with is left to a job. None:
    whatever has other bytes is other content.
    """
    file_id = find_same(project_id, header, dataset_digest, within)
    if file_id is not None:
        return Verdict(state=SAME, file_id=file_id)
    if within and arrivals.is_current_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest):
        return Verdict(state=ALTERNATE, message=IN_TWO_PLACES)
    current = arrivals.current_object(project_id, header.sop_uid)
    kind, message = _difference(project_id, header, current)
    differs = compared.differs if compared else ""
    if kind:
        return Verdict(state=HELD, kind=kind, message=message, differs=differs or _DIFFERS[kind])
    if current is None:
        return Verdict(state=CURRENT)
    if current.transfer_syntax != header.transfer_syntax:
        return Verdict(state=ALTERNATE, message=UNCOMPARED)
    if compared is not None and current.file_id not in compared.different:
        return Verdict(state=ALTERNATE, message=UNCOMPARED_BYTES)
    return Verdict(state=HELD, kind="content", message=DIFFERENT_CONTENT, differs=differs)


def find_same(project_id: int, header: Header, dataset_digest: str, within: ContainerKey | None = None) -> int | None:
    """The file that holds this very object, in whatever state: of a container, or of the project. Reads only."""
    if within is not None:
        known = project_id, header.sop_uid, header.transfer_syntax, dataset_digest
        return arrivals.same_object_in(within, *known)
    return arrivals.same_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest)


def add(project_id: int, file: File, header: Header, dataset_digest: str, verdict: Verdict) -> Instance:
    """Write the rows of one object, inside the caller's write block."""
    study_id = _study(project_id, header, file, verdict)
    instance = Instance.create(
        project=project_id,
        series=_series(study_id, header, file),
        file=file,
        sop_uid=header.sop_uid,
        sop_class=header.sop_class,
        transfer_syntax=header.transfer_syntax,
        dataset_digest=dataset_digest,
        number=header.number,
        date=header.content_date,
        time=header.content_time,
        rows=header.rows,
        columns=header.columns,
        frames=header.frames,
        state=verdict.state,
        reason=verdict.message,
    )
    if verdict.state == CURRENT:
        _count(instance.series_id, 1)
    elif verdict.state == HELD and Conflict.get_or_none(Conflict.file == file) is None:
        Conflict.create(
            file=file,
            project=project_id,
            sop_uid=header.sop_uid,
            kind=verdict.kind,
            message=verdict.message,
            differs=verdict.differs,
        )
    return instance


def change_state(instance: Instance, state: str, reason: str) -> None:
    """Move an instance between current and the other states, with all counts, inside the caller's write block.

    What study and series say follows at the next `descriptions.refresh`.
    """
    was = instance.state
    instance.state, instance.reason = state, reason
    instance.save(only=[Instance.state, Instance.reason])
    _take_along(instance)
    if (was == CURRENT) == (state == CURRENT):
        return
    _count(instance.series_id, 1 if state == CURRENT else -1)
    if state == CURRENT:
        descriptions.mark_shown(instance)
    else:
        descriptions.mark_hidden([instance.series_id], [instance.file_id])


def _take_along(instance: Instance) -> None:
    """The same object in other containers gives way, and is shown again, with this one."""
    change = {CURRENT: (SUPERSEDED, ALTERNATE, IN_TWO_PLACES), SUPERSEDED: (ALTERNATE, SUPERSEDED, instance.reason)}
    if instance.state not in change:
        return
    before, after, reason = change[instance.state]
    Instance.update(state=after, reason=reason).where(
        Instance.project == instance.project_id,
        Instance.sop_uid == instance.sop_uid,
        Instance.transfer_syntax == instance.transfer_syntax,
        Instance.dataset_digest == instance.dataset_digest,
        Instance.id != instance.id,
        Instance.state == before,
    ).execute()


def remove_all(files: Sequence[int]) -> None:
    """Take the instances of some files out of the index, inside the caller's write block: they are no longer shown.

    Where one of them was shown and has an alternate that stays, the alternate is shown: it was acknowledged too.
    """
    of_files = Instance.select().where(Instance.file.in_(list(files)))
    shown = list(of_files.where(Instance.state == CURRENT))
    Instance.delete().where(Instance.file.in_(list(files))).execute()
    for series_id, number in Counter(instance.series_id for instance in shown).items():
        _count(series_id, -number)
    descriptions.mark_hidden([instance.series_id for instance in shown], [instance.file_id for instance in shown])
    for alternate in _alternates_of(shown):
        change_state(alternate, CURRENT, "")


def _alternates_of(gone: Sequence[Instance]) -> list[Instance]:
    """The oldest alternate of each object, where it has one."""
    uids, projects = [instance.sop_uid for instance in gone], {instance.project_id for instance in gone}
    found = Instance.select().where(
        Instance.sop_uid.in_(uids), Instance.project.in_(list(projects)), Instance.state == ALTERNATE
    )
    oldest: dict[tuple[int, str], Instance] = {}
    for alternate in found.order_by(Instance.id):
        oldest.setdefault((alternate.project_id, alternate.sop_uid), alternate)
    return list(oldest.values())


def show_again(project_id: int, file_id: int, header: Header, *, actor: Actor) -> bool:
    """Show an object that came again while nothing is shown under its UID, if nothing else speaks against it.

    Inside the caller's write block. It is judged as if it came for the first time; returns whether it is shown now.
    An object that was in conflict replaces, by the decision of whoever sent it again, what is no longer there.
    """
    instance = Instance.get_or_none(Instance.project == project_id, Instance.file == file_id)
    if instance is None or not is_hidden(project_id, header) or _difference(project_id, header, None)[0]:
        return False
    change_state(instance, CURRENT, SHOWN_AGAIN)
    conflict = Conflict.get_or_none(Conflict.file == file_id, Conflict.project == project_id)
    if conflict is not None:
        before, conflict.choice = conflict.choice, "replace"
        Decision.create(conflict=conflict, choice=conflict.choice, rival=None)
        conflict.save(only=[Conflict.choice])
        act = {"choice": conflict.choice, "before": before, "sop_instance_uid": conflict.sop_uid}
        audit.record(actor, "conflict:resolved", "conflict", conflict.id, **act)
    return True


def is_hidden(project_id: int, header: Header) -> bool:
    """Whether no peer sees anything under the UID of an object that is here. Reads only."""
    return arrivals.current_object(project_id, header.sop_uid) is None


def current_instance(project_id: int, sop_uid: str) -> Instance | None:
    """The instance that peers see under this UID."""
    found: Instance | None = Instance.get_or_none(
        Instance.project == project_id, Instance.sop_uid == sop_uid, Instance.state == CURRENT
    )
    return found


def _difference(project_id: int, header: Header, current: KnownObject | None) -> tuple[str, str]:
    """Kind and sentence of a mismatch with the study, the series or the class that are here; empty where none."""
    if current is not None and current.sop_class != header.sop_class:
        return "class", "Another SOP Class than the object that is here under this UID."
    if current is not None and (current.series_uid, current.study_uid) != (header.series_uid, header.study_uid):
        return "study", "The object that is here under this UID belongs to another study or series."
    study = arrivals.study(project_id, header.study_uid)
    if study and study.n_instances and not patients.is_same(_patient(study), _patient(header)):
        return "patient", "The study that is here belongs to another PatientID."
    if arrivals.is_series_elsewhere(project_id, header.series_uid, header.study_uid):
        return "study", "The series is here already, in another study."
    return "", ""


def _patient(row: Header | KnownStudy) -> Patient:
    return Patient(row.patient_id, row.issuer)


def _study(project_id: int, header: Header, file: File, verdict: Verdict) -> int:
    """The study's number. What its row says comes from its first current object, but for an issuer that it lacks."""
    known = arrivals.study(project_id, header.study_uid)
    if known is not None and known.n_instances:
        if header.issuer and not known.issuer and verdict.state == CURRENT:
            Study.update(issuer=header.issuer).where(Study.id == known.id).execute()
        return known.id
    study = Study(project=project_id, study_uid=header.study_uid) if known is None else Study.get_by_id(known.id)
    descriptions.describe_study(study, header, file)
    study.save()
    return int(study.id)


def _series(study_id: int, header: Header, file: File) -> int:
    """The series' number. What its row says comes from its first current object."""
    known = arrivals.series(study_id, header.series_uid)
    if known is not None and known.n_instances:
        return known.id
    series = Series(study=study_id, series_uid=header.series_uid) if known is None else Series.get_by_id(known.id)
    descriptions.describe_series(series, header, file)
    series.save()
    return int(series.id)


def _count(series_id: int, by: int) -> None:
    """Counts of series and study, and what follows from them: the study's series and modalities that are not empty."""
    study_id, left = arrivals.add_to_counts(series_id, by)
    if left <= max(by, 1):
        descriptions.update_study_summary(study_id)
