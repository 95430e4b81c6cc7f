"""The DICOM index: judges arriving objects, and keeps Study, Series and Instance consistent."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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
    arrivals,
)
from portal.models.arrivals import KnownObject, KnownStudy, SameObject

ContainerKey = tuple[str, int]
"""Type and row number of a container."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The relation of an arriving object to the existing ones (docs/decisions/0083)."""

    state: str
    """current | alternate | held, or `same`: then `file_id` is the file that has it already."""
    kind: str = ""
    message: str = ""
    differs: str = ""
    """Of one that is held: keywords of the elements that differ."""
    file_id: int | None = None
    member: str = ""
    """Of `same`: the member of that file, if it is a zip."""


SAME = "same"
DIFFERENT_CONTENT = "Different content, same SOP Instance UID."
_DIFFERS = {"class": "SOPClassUID", "study": "StudyInstanceUID", "patient": "PatientID"}
SHOWN_AGAIN = "It arrived again when nothing else was shown under its UID."
# Rows are found by these three texts, also those of earlier releases: a change needs a migration.
IN_TWO_PLACES = "The same object is also elsewhere in this project: peers see it once."
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
    """Judge an object by the UIDs of the project's objects. Reads only, by index.

    `within` a container, the same object elsewhere does not make it `same`: it is kept in both (docs/decisions/0068).
    `compared`: its comparison with those of its UID; objects that it was not compared with are left to a job. None:
    different bytes are different content.
    """
    same = find_same(project_id, header, dataset_digest, within)
    if same is not None:
        return Verdict(state=SAME, file_id=same.file_id, member=same.member)
    if within and arrivals.is_current_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest):
        return Verdict(state=ALTERNATE, message=IN_TWO_PLACES)
    current = arrivals.current_object(project_id, header.sop_uid)
    return _judge_beside(current, project_id, header, compared)


def judge_member(
    project_id: int,
    header: Header,
    dataset_digest: str,
    *,
    compared: DuplicateComparison | None = None,
    instead_of: int | None = None,
) -> Verdict:
    """Judge a member of a zip, which is kept whatever else has the object: it is never `same`, but an alternate.

    `instead_of`: the file whose newer version the zip is; its objects are no longer there. Reads only.
    """
    current = arrivals.current_object(project_id, header.sop_uid)
    if current is not None and current.file_id == instead_of:
        current = None
    known = arrivals.is_current_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest)
    if current is not None and (known or (compared is not None and compared.same is not None)):
        return Verdict(state=ALTERNATE, message=IN_TWO_PLACES)
    return _judge_beside(current, project_id, header, compared)


def _judge_beside(
    current: KnownObject | None, project_id: int, header: Header, compared: DuplicateComparison | None
) -> Verdict:
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


def find_same(
    project_id: int, header: Header, dataset_digest: str, within: ContainerKey | None = None
) -> SameObject | None:
    """Exactly this object, in any state: a file of a container, or a file or member of the project. Reads only."""
    if within is not None:
        known = project_id, header.sop_uid, header.transfer_syntax, dataset_digest
        file_id = arrivals.same_object_in(within, *known)
        return None if file_id is None else SameObject(file_id, "")
    return arrivals.same_object(project_id, header.sop_uid, header.transfer_syntax, dataset_digest)


def add(
    project_id: int, file: File, header: Header, dataset_digest: str, verdict: Verdict, *, member: str = ""
) -> Instance:
    """Write the rows of one object, inside the caller's write block; `member`: its name, where the file is a zip."""
    instance = Instance.create(
        project=project_id,
        series=descriptions.ensure_series(project_id, header, file, is_shown=verdict.state == CURRENT),
        file=file,
        member=member,
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
    elif verdict.state == HELD and conflict_of(file.id, member) is None:
        Conflict.create(
            file=file,
            member=member,
            project=project_id,
            sop_uid=header.sop_uid,
            kind=verdict.kind,
            message=verdict.message,
            differs=verdict.differs,
        )
    return instance


def conflict_of(file_id: int, member: str = "") -> Conflict | None:
    """The conflict of a file's object, or of a member's."""
    conflict: Conflict | None = Conflict.get_or_none(Conflict.file == file_id, Conflict.member == member)
    return conflict


def change_state(instance: Instance, state: str, reason: str) -> None:
    """Move an instance between current and the other states, with all counts, inside the caller's write block.

    The attributes of study and series follow at the next `descriptions.refresh`.
    """
    was = instance.state
    instance.state, instance.reason = state, reason
    instance.save(only=[Instance.state, Instance.reason])
    # The same object in other containers is hidden, and shown again, together with this one.
    follow = {CURRENT: (SUPERSEDED, ALTERNATE, IN_TWO_PLACES), SUPERSEDED: (ALTERNATE, SUPERSEDED, reason)}
    if state in follow:
        state_before, state_after, reason_after = follow[state]
        Instance.update(state=state_after, reason=reason_after).where(
            Instance.project == instance.project_id,
            Instance.sop_uid == instance.sop_uid,
            Instance.transfer_syntax == instance.transfer_syntax,
            Instance.dataset_digest == instance.dataset_digest,
            Instance.id != instance.id,
            Instance.state == state_before,
        ).execute()

    if (was == CURRENT) == (state == CURRENT):
        return
    _count(instance.series_id, 1 if state == CURRENT else -1)
    if state == CURRENT:
        descriptions.mark_shown(instance)
    else:
        descriptions.mark_hidden([instance.series_id], [instance.file_id])


def remove_all(files: Sequence[int]) -> None:
    """Remove the instances of some files, as `remove` does. Those of a zip may be too many for one write block."""
    remove(Instance.file.in_(list(files)))


def remove(condition: Any) -> None:
    """Remove the instances that meet a condition, inside the caller's write block: they are no longer shown.

    The oldest remaining alternate of an object that was shown is shown instead: its sender received a success as well.
    """
    shown = list(Instance.select().where(condition, Instance.state == CURRENT))
    Instance.delete().where(condition).execute()
    for series_id, number in Counter(instance.series_id for instance in shown).items():
        _count(series_id, -number)
    descriptions.mark_hidden([instance.series_id for instance in shown], [instance.file_id for instance in shown])

    uids, projects = [instance.sop_uid for instance in shown], {instance.project_id for instance in shown}
    alternates = Instance.select().where(
        Instance.sop_uid.in_(uids), Instance.project.in_(list(projects)), Instance.state == ALTERNATE
    )
    oldest: dict[tuple[int, str], Instance] = {}
    for alternate in alternates.order_by(Instance.id):
        oldest.setdefault((alternate.project_id, alternate.sop_uid), alternate)
    for alternate in oldest.values():
        change_state(alternate, CURRENT, "")


def show_again(project_id: int, file_id: int, header: Header, *, actor: Actor, member: str = "") -> bool:
    """Show an object that arrived again while nothing is shown under its UID, unless it contradicts its study.

    Inside the caller's write block; returns whether it is shown now. A conflict of the object is decided as *replace*
    by the actor who sent it again, since the object that it conflicted with is no longer there.
    """
    instance = Instance.get_or_none(Instance.project == project_id, Instance.file == file_id, Instance.member == member)
    if instance is None or not is_hidden(project_id, header) or _difference(project_id, header, None)[0]:
        return False
    change_state(instance, CURRENT, SHOWN_AGAIN)
    conflict = conflict_of(file_id, member)
    if conflict is not None and conflict.project_id == project_id:
        before, conflict.choice = conflict.choice, "replace"
        Decision.create(conflict=conflict, choice=conflict.choice, rival=None)
        conflict.save(only=[Conflict.choice])
        detail = {"choice": conflict.choice, "before": before, "sop_instance_uid": conflict.sop_uid}
        audit.record(actor, "conflict:resolved", "conflict", conflict.id, **detail)
    return True


def is_hidden(project_id: int, header: Header) -> bool:
    """Whether peers see no object under the UID of an existing one. Reads only."""
    return arrivals.current_object(project_id, header.sop_uid) is None


def current_instance(project_id: int, sop_uid: str) -> Instance | None:
    """The instance that peers see under this UID."""
    instance: Instance | None = Instance.get_or_none(
        Instance.project == project_id, Instance.sop_uid == sop_uid, Instance.state == CURRENT
    )
    return instance


def _difference(project_id: int, header: Header, current: KnownObject | None) -> tuple[str, str]:
    """Kind and message of a mismatch with the existing study, series or SOP Class; empty where there is none."""
    if current is not None and current.sop_class != header.sop_class:
        return "class", "Different SOP Class, same SOP Instance UID."
    if current is not None and (current.series_uid, current.study_uid) != (header.series_uid, header.study_uid):
        return "study", "The existing object with this SOP Instance UID belongs to another study or series."
    study = arrivals.study(project_id, header.study_uid)
    if study and study.n_instances and not patients.is_same(_patient(study), _patient(header)):
        return "patient", "The existing study belongs to another Patient ID."
    if arrivals.is_series_elsewhere(project_id, header.series_uid, header.study_uid):
        return "study", "The series exists already, in another study."
    return "", ""


def _patient(row: Header | KnownStudy) -> Patient:
    return Patient(row.patient_id, row.issuer)


def _count(series_id: int, by: int) -> None:
    """Change the counts of series and study, and the study's summary of the series that are not empty."""
    study_id, left = arrivals.add_to_counts(series_id, by)
    if left <= max(by, 1):
        descriptions.update_study_summary(study_id)
